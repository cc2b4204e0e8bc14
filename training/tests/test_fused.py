"""The kernels of training steps against the modules they replace."""

import pytest
import torch

from umbra_train import fused, networks, recipe, train
from umbra_train.activation import Quadratic, Rectifier
from umbra_train.convolution import helical_pad

CHANNELS_LAST = torch.channels_last

try:
    fused.kernels()
except fused.KernelError as error:
    pytest.skip(f"training goes through torch.compile here: {error}", allow_module_level=True)


TYPES = [(torch.bfloat16, 1.0), (torch.float32, 1e-3)]
"""What steps compute in, and a factor of tolerances that suit bfloat16 and its 8 bits."""


def close(a, b, tolerance):
    """Relative to the largest value."""
    assert a.shape == b.shape
    assert (a.float() - b.float()).abs().max() <= tolerance * b.float().abs().max(), (a - b).abs().max()


@pytest.mark.parametrize("channels", [16, 48])
@pytest.mark.parametrize("margin, dilation", [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("kind, part", TYPES)
def test_padding(channels, margin, dilation, kind, part):
    torch.manual_seed(0)
    x = torch.randn(3, channels, 8, 4).to(kind).to(memory_format=CHANNELS_LAST)
    mine, theirs = x.clone().requires_grad_(), x.float().requires_grad_()
    y, expected = fused.Pad.apply(mine, margin, dilation), helical_pad(theirs, margin, dilation)
    assert torch.equal(y.float(), expected)
    g = torch.randn(y.shape).to(kind)
    y.backward(g)
    expected.backward(g.float())
    close(mine.grad, theirs.grad, 0.01 * part)


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("knobs", [dict(), dict(range=1.0), dict(range=1.0, clamp=1.5), dict(range=2.0, clamp=2.0, noise=0.05), None])
@pytest.mark.parametrize("kind, part", TYPES)
def test_norm_and_activation(channels, knobs, kind, part):
    """No knobs: a ReLU."""
    torch.manual_seed(1)
    x = (2 * torch.randn(4, channels, 6, 10) + 1).to(kind).to(memory_format=CHANNELS_LAST)
    g, weight = torch.randn(x.shape).to(kind), torch.rand(channels) + 0.5
    make, knobs = (Rectifier, {}) if knobs is None else (lambda: Quadratic((0.2, 0.5, 0.2)), knobs)
    results = []
    for kernel in (True, False):
        norm, activation = torch.nn.BatchNorm2d(channels), make()
        norm.weight.data.copy_(weight)
        norm.bias.data.fill_(0.3)
        for name, value in knobs.items():
            setattr(activation, name, value)
        mine = (x.clone() if kernel else x.float()).requires_grad_()
        assert fused.covers(norm, activation)
        y, excess = fused.norm_activation(norm, activation, mine) if kernel else activation(norm(mine))
        loss = (y.float() * g.float()).sum() + (0 if excess is None else 30 * excess)
        loss.backward()
        results.append((y, mine.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var, excess))
    for mine, theirs in zip(*results):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            # Noise comes from the lowest bits, which differ; where the clamp acts, so does the gradient of a few elements.
            if "noise" in knobs:
                assert (mine.float() - theirs.float()).square().mean() <= 0.02 * theirs.float().square().mean()
            else:
                close(mine, theirs, 0.02 * part)


def test_noise_has_the_deviation_asked_for():
    torch.manual_seed(2)
    x = torch.randn(64, 16, 16, 16).bfloat16().to(memory_format=CHANNELS_LAST)
    values = []
    for noise in (0.0, 0.1):
        norm, activation = torch.nn.BatchNorm2d(16), Quadratic((0.0, 1.0, 0.0))
        activation.noise = noise
        values.append(fused.norm_activation(norm, activation, x)[0].float())
    difference = values[1] - values[0]
    assert abs(difference.std().item() - 0.1) < 0.005 and abs(difference.mean().item()) < 0.002


def test_a_step_of_a_whole_network():
    """Same loss, same gradients up to what bfloat16 leaves of 20 layers."""
    gradients, losses = [], []
    for kernel in (True, False):
        torch.manual_seed(3)
        network = networks.build("R8-16", classes=list("ab"), dataset="CIFAR-10", padding="circular", normalisation={"kind": "per_image", "min_std": 0.05},
                                 activation={"kind": "relu-fit", "bound": 2.0, "initial_scale": 0.5}).to(memory_format=CHANNELS_LAST)
        network.thin = True
        if kernel:
            network.use_kernels()
        for activation in network.activations():
            activation.range, activation.clamp = 2.0, 2.0
        x = torch.randn(8, 3, 32, 32).to(memory_format=CHANNELS_LAST)
        with torch.autocast("cpu", torch.bfloat16):
            logits, excesses = network.run(x)
        loss = logits.float().square().mean() + 0.03 * torch.stack(excesses).mean()
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    for name, mine in gradients[0].items():
        theirs = gradients[1][name]
        similarity = torch.nn.functional.cosine_similarity(mine.flatten(), theirs.flatten(), 0)
        assert similarity > 0.98, (name, similarity)


@pytest.mark.parametrize("kind, padding", [("relu", "zero"), ("relu-fit", "circular")])
def test_a_teacher_of_a_whole_network(kind, padding, monkeypatch):
    """In evaluation, where batch statistics stay as they are and activations do not clamp."""
    torch.manual_seed(4)
    network = networks.build("R8-16", classes=list("ab"), dataset="CIFAR-10", padding=padding, normalisation={"kind": "per_image", "min_std": 0.05},
                             activation={"kind": kind, "bound": 2.0, "initial_scale": 0.5}).to(memory_format=CHANNELS_LAST)
    x = torch.randn(8, 3, 32, 32).to(memory_format=CHANNELS_LAST)
    network.train()(x)
    for activation in network.activations():
        activation.range, activation.clamp, activation.noise = 0.5, 0.5, 0.1
    network.eval().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = network(x)
    calls, inference = [], fused.inference
    monkeypatch.setattr(fused, "inference", lambda *arguments: calls.append(1) or inference(*arguments))
    network.use_kernels()
    found = network(x)
    assert len(calls) == 7
    close(found - found.mean(0), expected - expected.mean(0), 1e-3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_compiler_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "absent"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused.kernels.cache_clear()
    with pytest.raises(fused.KernelError, match="No such file"):
        fused.kernels()
    fused.kernels.cache_clear()


@pytest.mark.parametrize("name, kind, covered", [("R8-16", "relu-fit", True), ("R8-16", "relu", True), ("R8-16", "learned", False), ("R8-8", "relu-fit", False)])
def test_only_networks_that_the_kernels_cover_go_without_the_compiler(name, kind, covered, data_root, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda step: compiled.append(step) or step)
    r = recipe.read("umbra")
    for change in (f"network.name='{name}'", f"activation.kind='{kind}'", "training.held_out=200", "training.batch=50"):
        r.change(change)
    run = train.Run(r, data_root, tmp_path, 1)
    assert (run.network.fused, compiled == []) == (covered, covered)
