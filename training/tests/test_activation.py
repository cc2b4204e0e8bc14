import math

import numpy as np
import pytest
import torch

from umbra_train.activation import Hermite, Quadratic, cheap_noise, excess_norm, fit_rectifier


@pytest.mark.parametrize("bound", [0.5, 2.0, 7.0])
def test_fit_is_the_least_squares_fit(bound):
    x = np.linspace(-bound, bound, 20001)
    a, b, c = np.polyfit(x, np.maximum(x, 0), 2)
    assert np.allclose(fit_rectifier(bound), (c, b, a), atol=1e-3 * bound)


def test_fit_is_rounded_to_bits():
    assert fit_rectifier(2.0) == (0.1875, 0.5, 0.234375)
    assert fit_rectifier(3.0, 4) == (round(9 / 32 * 16) / 16, 0.5, round(15 / 96 * 16) / 16)
    with pytest.raises(ValueError, match="positive"):
        fit_rectifier(0.0)


def test_penalty_is_the_norm_of_what_exceeds():
    x = torch.tensor([[-5.0, -2.0, 0.0], [1.0, 3.0, 6.0]], requires_grad=True)
    excess = excess_norm(x, 2.0)
    assert math.isclose(excess.item(), math.sqrt(9 + 1 + 16), rel_tol=1e-6)
    excess.backward()
    assert torch.allclose(x.grad, torch.tensor([[-3.0, 0, 0], [0, 1, 4]]) / math.sqrt(26))
    inside = torch.zeros(4, requires_grad=True)
    excess_norm(inside, 2.0).backward()
    assert torch.equal(inside.grad, torch.zeros(4))


def test_clamp_and_noise_act_in_training_only():
    layer = Quadratic((0.5, 1.0, 2.0))
    layer.range, layer.clamp = 2.0, 2.0
    x = torch.tensor([-3.0, 0.5, 10.0]).view(1, 1, 1, 3)
    y, excess = layer(x)
    assert y.flatten().tolist() == [6.5, 1.5, 10.5]
    assert math.isclose(excess.item(), math.sqrt(65), rel_tol=1e-6)
    layer.noise = 0.1
    assert not torch.equal(layer(x)[0], y)
    y, excess = layer.eval()(x)
    assert y.flatten().tolist() == [15.5, 1.5, 210.5] and excess is None


def test_noise_is_centred_of_unit_variance_and_not_correlated():
    x = torch.randn(200_000)
    n = cheap_noise(x)
    assert abs(n.mean()) < 0.01 and abs(n.var() - 1) < 0.02
    assert abs((n * x).mean()) < 0.01 and abs((n[1:] * n[:-1]).mean()) < 0.01


def test_learned_coefficients_are_per_channel():
    layer = Quadratic(fit_rectifier(2.0), 3)
    with torch.no_grad():
        layer.coefficients[1] = torch.tensor([1.0, 0.0, 0.0])
    y, _ = layer(torch.full((1, 3, 2, 2), 2.0))
    assert torch.allclose(y[0, :, 0, 0], torch.tensor([2.125, 1.0, 2.125]))


def test_hermite_folds_into_one_polynomial():
    torch.manual_seed(0)
    layer = Hermite(4)
    with torch.no_grad():
        layer.scale.uniform_(0.5, 2)
        layer.shift.uniform_(-1, 1)
    for _ in range(20):
        layer(torch.randn(8, 4, 5, 5) * 1.5 + 0.3)
    x = torch.randn(2, 4, 3, 3)
    y, _ = layer.eval()(x)
    c, b, a = (k.view(1, 4, 1, 1) for k in layer.coefficients.unbind(1))
    assert torch.allclose(y, c + b * x + a * x * x, atol=1e-5)
