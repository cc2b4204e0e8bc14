"""Convolutions with circular padding against the definition: one sum per position of the flattened image, indices modulo the length."""

import pytest
import torch

from umbra_train.convolution import CircularConvolution, CircularPool


def naive(x, weight, bias, stride, pitch):
    """x [channels, positions] -> [channels out, positions / stride]."""
    positions, margin = x.shape[1], weight.shape[2] // 2
    y = torch.zeros(weight.shape[0], positions // stride)
    for p in range(positions // stride):
        y[:, p] = bias
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                tap = pitch * (i - margin) + (j - margin)
                y[:, p] += weight[:, :, i, j] @ x[:, (stride * p + tap) % positions]
    return y


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("image", [(8, 8), (4, 16)])
def test_equals_the_definition(kernel, stride, stage, image):
    torch.manual_seed(kernel + 10 * stride + 100 * stage)
    layer = CircularConvolution(3, 5, kernel, stride, True, image).double()
    rows, columns = image[0], image[1] >> stage
    x = torch.randn(2, 3, rows, columns, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (2, 5, rows, columns // stride)
    for i in range(2):
        expected = naive(x[i].flatten(1).float(), layer.weight.detach().float(), layer.bias.detach().float(), stride, image[1])
        assert torch.allclose(y[i].flatten(1).float(), expected, atol=1e-4)


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("image", [(8, 8), (4, 16)])
def test_pools_equal_the_definition(stage, image):
    rows, columns = image[0], image[1] >> stage
    x = torch.randn(2, 3, rows, columns)
    y = CircularPool(image)(x).flatten(2)
    flat = x.flatten(2)
    for p in range(y.shape[2]):
        window = [(2 * p + tap) % flat.shape[2] for tap in (0, 1, image[1], image[1] + 1)]
        assert torch.allclose(y[:, :, p], flat[:, :, window].mean(2), atol=1e-6)


def test_thin_pools_are_one_row_phase():
    layer = CircularPool((16, 16))
    x = torch.randn(1, 2, 16, 16)
    assert torch.allclose(layer(x)[:, :, ::2], layer(x, thin=True), atol=1e-6)


def test_constants_pass_exactly():
    layer = CircularConvolution(1, 1, 3, 2, False, (8, 8))
    y = layer(torch.full((1, 1, 8, 8), 2.0))
    assert torch.allclose(y, 2 * layer.weight.sum().expand_as(y))


def test_thin_is_one_row_phase_away_from_the_edges():
    layer = CircularConvolution(2, 3, 3, 1, False, (16, 16))
    x = torch.randn(1, 2, 16, 8)
    full, thin = layer(x), layer(x[:, :, ::2], thin=True)
    assert torch.allclose(full[:, :, ::2, 1:-1], thin[..., 1:-1], atol=1e-5)
