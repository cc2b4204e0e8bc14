"""Quadratic activations and the penalty that keeps their inputs in range.

An activation returns `(y, excess)`: `excess` is ||x - clamp(x, -B, B)||_2 over the whole batch while training
with a range, else None. Its knobs (`range`, `clamp`, `noise`) belong to the training recipe, not to the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fit_rectifier(bound: float, bits: int | None = None) -> tuple[float, float, float]:
    """Least-squares quadratic (c, b, a) of ReLU on [-bound, bound], rounded to `bits` fractional bits.

    ReLU = x/2 + |x|/2; projecting |x| on even Legendre polynomials gives a = 15/(32 B), c = 3 B/32, b = 1/2.
    """
    if bound <= 0:
        raise ValueError(f"activation bound {bound}: must be positive")
    exact = (3 * bound / 32, 0.5, 15 / (32 * bound))
    if bits is None:
        return exact
    return tuple(round(value * 2**bits) / 2**bits for value in exact)


class Quadratic(nn.Module):
    """y = c + b x + a x^2, with one (c, b, a) for all channels, or one a channel."""

    def __init__(self, coefficients: tuple[float, float, float], channels: int | None = None, learned: bool = False):
        super().__init__()
        value = torch.tensor(coefficients, dtype=torch.float32)
        if channels is not None:
            value = value.repeat(channels, 1)
        if learned:
            self.coefficients = nn.Parameter(value)
        else:
            self.register_buffer("coefficients", value)
        self.fixed = None if learned or channels is not None else tuple(map(float, coefficients))
        self.range: float | None = None
        self.clamp: float | None = None
        self.noise: float = 0.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        excess = None
        if self.training:
            if self.range is not None:
                excess = excess_norm(x, self.range)
            if self.noise:
                x = x + self.noise * cheap_noise(x)
            if self.clamp is not None:
                x = x.clamp(-self.clamp, self.clamp)
        if self.fixed is not None:
            c, b, a = self.fixed
        else:
            c, b, a = (k.view(1, -1, 1, 1) for k in self.coefficients.unbind(1))
        return c + x * (b + a * x), excess


class Rectifier(nn.Module):
    """ReLU, for baselines and teachers; cannot be exported."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return torch.relu(x), None


def excess_norm(x: Tensor, bound: float) -> Tensor:
    """||x - clamp(x, -bound, bound)||_2, with a finite gradient where nothing exceeds."""
    excess = (x - x.clamp(-bound, bound)).float()
    return (excess.square().sum() + 1e-12).sqrt()


def cheap_noise(x: Tensor) -> Tensor:
    """Zero mean, unit variance, from the low bits of `x` itself: a Gaussian generator would cost four times the network on a CPU.

    The sum of two uniform variables (fractions of two incommensurable multiples of x). No gradient flows through it.
    """
    z = x.detach().float()
    u, v = z * 4093.0, z * 2411.7
    return ((u - u.floor()) + (v - v.floor()) - 1.0) * 6.0**0.5


def activation(spec: dict, channels: int) -> nn.Module:
    """From a recipe's `[activation]` table."""
    match spec["kind"]:
        case "relu":
            return Rectifier()
        case "relu-fit":
            return Quadratic(fit_rectifier(spec["bound"], spec.get("bits")))
        case "fixed":
            return Quadratic(tuple(spec["coefficients"]))
        case "square-plus":
            return Quadratic((0.0, 1.0, 1.0))
        case "learned":
            return Quadratic(fit_rectifier(spec["bound"]), channels, learned=True)
        case kind:
            raise ValueError(f"activation kind {kind!r}: use relu, relu-fit, fixed, square-plus, hermite or learned")
