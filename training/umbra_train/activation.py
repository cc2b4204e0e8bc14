"""Quadratic activations and the penalty that keeps their inputs in range.

An activation returns `(y, excess)`: `excess` is ||x - clamp(x, -B, B)||_2 over the whole batch while training
with a range, else None. Its knobs (`range`, `clamp`, `noise`) belong to the training recipe, not to the weights.
"""

from __future__ import annotations

import math

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


class Activation(nn.Module):
    """What the recipe may ask of any quadratic activation while it trains: a range, a clamp, noise."""

    fixed: tuple[float, float, float] | None = None
    """(c, b, a) if one polynomial serves all channels and is not learned."""

    def __init__(self):
        super().__init__()
        self.range: float | None = None
        self.clamp: float | None = None
        self.noise: float = 0.0

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """-> the polynomial's input, and what of it exceeds the range."""
        if not self.training:
            return x, None
        excess = excess_norm(x, self.range) if self.range is not None else None
        if self.noise:
            x = x + self.noise * cheap_noise(x)
        if self.clamp is not None:
            x = x.clamp(-self.clamp, self.clamp)
        return x, excess


class Quadratic(Activation):
    """y = c + b x + a x^2: one fixed (c, b, a), or one a channel, learned."""

    def __init__(self, coefficients: tuple[float, float, float], channels: int | None = None):
        super().__init__()
        if channels is None:
            self.fixed = tuple(map(float, coefficients))
        else:
            self.coefficients = nn.Parameter(torch.tensor(coefficients, dtype=torch.float32).repeat(channels, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        x, excess = self.prepare(x)
        c, b, a = self.fixed or (k.view(1, -1, 1, 1) for k in self.coefficients.unbind(1))
        return c + x * (b + a * x), excess


class Hermite(Activation):
    """ReLU's Hermite expansion to degree 2 with a batch norm for each term (AESPA): g (f1 bn(x) + f2 bn(h2(x))) + s,
    h2 = (x^2 - 1) / sqrt 2, f1 = 1/2, f2 = 1/sqrt(4 pi). The constant term is what a batch norm removes: `shift` learns it."""

    FIRST, SECOND = 0.5, (4 * math.pi) ** -0.5

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.BatchNorm2d(channels, affine=False) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.full((channels,), (2 * math.pi) ** -0.5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        x, excess = self.prepare(x)
        y = self.FIRST * self.first(x) + self.SECOND * self.second((x * x - 1) / 2**0.5)
        return y * self.scale.view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1), excess

    @property
    def coefficients(self) -> Tensor:
        """[channels, 3] of (c, b, a) at inference: the batch statistics folded in."""
        s1, s2 = ((n.running_var + n.eps).sqrt() for n in (self.first, self.second))
        b = self.scale * self.FIRST / s1
        a = self.scale * self.SECOND / (2**0.5 * s2)
        c = self.shift - b * self.first.running_mean - a * (1 + 2**0.5 * self.second.running_mean)
        return torch.stack([c, b, a], 1)


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
            return Quadratic((0.0, 1.0, 1.0))  # Ali, So, Avestimehr
        case "learned":
            return Quadratic(fit_rectifier(spec["bound"]), channels)
        case "hermite":
            return Hermite(channels)
        case kind:
            raise ValueError(f"activation kind {kind!r}: use relu, relu-fit, fixed, square-plus, hermite or learned")
