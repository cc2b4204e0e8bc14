"""Convolutions with zero and with circular padding, on tensors [batch, channels, rows, columns]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from . import fused as kernels


class ZeroPaddedConvolution(nn.Conv2d):
    """Zero padding, stride in both directions."""

    def __init__(self, channels_in, channels_out, kernel, stride, bias, image):
        super().__init__(channels_in, channels_out, kernel, stride, kernel // 2, bias=bias)

    def forward(self, x: Tensor, thin: bool = False) -> Tensor:
        return super().forward(x)


class CircularConvolution(nn.Conv2d):
    """Convolution of the flattened image, position p = W * row + column, modulo the number of positions.

    Taps lie at W * dr + dc with W the pitch of the *image*, at every stage; stride 2 halves the flat index,
    so columns. As rows x columns: columns wrap into the neighbouring row (helix), rows wrap around, and
    rows are dilated by the accumulated stride.
    """

    def __init__(self, channels_in, channels_out, kernel, stride, bias, image):
        super().__init__(channels_in, channels_out, kernel, stride, bias=bias)
        self.image = image
        self.fused = False

    def forward(self, x: Tensor, thin: bool = False) -> Tensor:
        stride = (self.stride[0] if thin else 1, self.stride[1])
        if self.kernel_size == (1, 1):
            return conv2d(x[:, :, :: stride[0], :: stride[1]], self.weight, self.bias)
        dilation = row_dilation(x, self.image)
        pad = kernels.Pad.apply if self.fused and kernels.applies(x) and x.shape[1] % kernels.LANES == 0 else helical_pad
        padded = pad(x, self.kernel_size[0] // 2, dilation)
        return conv2d(padded, self.weight, self.bias, stride, 0, (dilation, 1))


class CircularPool(nn.Module):
    """Mean of 2 x 2 positions at stride 2 on the flattened image: of 2 p + {0, 1, W, W + 1}."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def forward(self, x: Tensor, thin: bool = False) -> Tensor:
        if thin:
            return avg_pool2d(x, 2)
        x, dilation = avg_pool2d(x, (1, 2)), row_dilation(x, self.image)
        return (x + x.roll(-dilation, 2)) / 2


def row_dilation(x: Tensor, image: tuple[int, int]) -> int:
    """The accumulated stride: rows so far apart are neighbours."""
    return x.shape[2] * image[1] // (x.shape[3] * image[0])


def helical_pad(x: Tensor, margin: int, dilation: int) -> Tensor:
    """`margin` columns each side, taken from the rows before and after; `margin * dilation` rows, circular."""
    left, right = x[..., -margin:].roll(1, 2), x[..., :margin].roll(-1, 2)
    x = torch.cat([left, x, right], 3)
    rows = margin * dilation
    return torch.cat([x[:, :, -rows:], x, x[:, :, :rows]], 2)
