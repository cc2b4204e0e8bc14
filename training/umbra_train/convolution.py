"""Convolutions of the two geometries, on tensors [batch, channels, rows, columns]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from . import fused as kernels


class TextbookConvolution(nn.Conv2d):
    """Zero padding, stride in both directions."""

    def __init__(self, channels_in, channels_out, kernel, stride, bias, picture):
        super().__init__(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias)

    def forward(self, x: Tensor, thin: bool = False) -> Tensor:
        return super().forward(x)


class CyclicConvolution(nn.Conv2d):
    """Convolution of the flattened picture, position p = W * row + column, modulo the number of positions.

    Taps lie at W * dr + dc with W the pitch of the *picture*, at every stage; stride 2 halves the flat index,
    so columns. As rows x columns: columns wrap into the neighbouring row (helix), rows wrap around, and
    rows are dilated by the accumulated stride.
    """

    def __init__(self, channels_in, channels_out, kernel, stride, bias, picture):
        super().__init__(channels_in, channels_out, kernel, stride, bias=bias)
        self.picture = picture
        self.fused = False

    def forward(self, x: Tensor, thin: bool = False) -> Tensor:
        stride = (self.stride[0] if thin else 1, self.stride[1])
        if self.kernel_size == (1, 1):
            return conv2d(x[:, :, :: stride[0], :: stride[1]], self.weight, self.bias)
        dilation = row_dilation(x, self.picture)
        pad = kernels.Pad.apply if self.fused and kernels.applies(x) and x.shape[1] % kernels.LANES == 0 else helical_pad
        padded = pad(x, self.kernel_size[0] // 2, dilation)
        return conv2d(padded, self.weight, self.bias, stride, 0, (dilation, 1))


class CyclicPool(nn.Module):
    """Mean of 2 x 2 positions at stride 2 on the flattened picture: of 2 p + {0, 1, W, W + 1}."""

    def __init__(self, picture):
        super().__init__()
        self.picture = picture

    def forward(self, x: Tensor, thin: bool = False) -> Tensor:
        if thin:
            return avg_pool2d(x, 2)
        x, dilation = avg_pool2d(x, (1, 2)), row_dilation(x, self.picture)
        return (x + x.roll(-dilation, 2)) / 2


def row_dilation(x: Tensor, picture: tuple[int, int]) -> int:
    """The accumulated stride: rows so far apart are neighbours."""
    return x.shape[2] * picture[1] // (x.shape[3] * picture[0])


def helical_pad(x: Tensor, margin: int, dilation: int) -> Tensor:
    """`margin` columns each side, taken from the rows before and after; `margin * dilation` rows, circular."""
    left, right = x[..., -margin:].roll(1, 2), x[..., :margin].roll(-1, 2)
    x = torch.cat([left, x, right], 3)
    rows = margin * dilation
    return torch.cat([x[:, :, -rows:], x, x[:, :, :rows]], 2)
