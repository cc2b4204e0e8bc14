"""Training steps on a CPU through kernels.cpp: batch norm with the activation after it in two passes, the circular padding in one.

In bfloat16 under autocast, else in single precision. The modules remain the definition: a `Network` told to `use_kernels` calls these
while it trains, and its modules for what they do not cover (other activations, channels that are no multiple of 16, evaluation).
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from .activation import Quadratic, Rectifier

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi"]
LANES = 16
NAMES = {torch.bfloat16: "bfloat16", torch.float32: "float"}


class KernelError(RuntimeError):
    """The kernels cannot be compiled here; the message says why."""


class Knobs(ctypes.Structure):
    """`Activation` of kernels.cpp."""

    _fields_ = [(name, ctypes.c_float) for name in ("c", "b", "a", "noise", "low", "high", "range")]


@cache
def kernels() -> ctypes.CDLL:
    """Compiled once for this processor, into the user's cache folder."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise KernelError("no C++ compiler: install g++, or set CXX")
    text = SOURCE.read_bytes()
    name = hashlib.sha256(text + " ".join([compiler, *FLAGS, processor()]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "umbra-train"
    library = folder / f"kernels-{name}.so"
    if not library.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                subprocess.run([compiler, *FLAGS, "-o", f"{work}/k.so", str(SOURCE)], check=True, capture_output=True, text=True)
                os.replace(f"{work}/k.so", library)
        except OSError as error:
            raise KernelError(f"{folder}: {error.strerror}") from error
        except subprocess.CalledProcessError as error:
            raise KernelError(f"{compiler} refuses {SOURCE.name}: {error.stderr.strip().splitlines()[:1]}; GCC 9 or later compiles it") from error
    return ctypes.CDLL(str(library))


def processor() -> str:
    try:
        return "\n".join(sorted({line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.machine()


def address(t: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(t.data_ptr())


def rows(x: Tensor) -> Tensor:
    """As the kernels read it: channels last, in the type that autocast computes in."""
    kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
    return x.to(kind).contiguous(memory_format=torch.channels_last)


def call(name: str, x: Tensor, *arguments) -> None:
    """Calls the kernel for the element type of `x`, its first argument."""
    getattr(kernels(), f"{name}_{NAMES[x.dtype]}")(address(x), *arguments)


class NormActivation(torch.autograd.Function):
    """(x, weight, bias, epsilon, knobs) -> y, norm of what exceeds the range, batch mean, batch variance (biased)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, knobs: Knobs):
        x = rows(x)
        channels, count = x.shape[1], x.numel() // x.shape[1]
        sums = torch.empty(2, channels, dtype=torch.float64)
        size = ctypes.c_long(count), ctypes.c_long(channels)
        call("moments", x, *size, address(sums))
        mean, square = sums / count
        variance = (square - mean * mean).clamp_min(0)
        inverse = (variance + epsilon).rsqrt()
        scale = (weight.double() * inverse).float()
        shift = (bias.double() - mean * weight.double() * inverse).float()
        y = torch.empty_like(x)
        call("forward", x, *size, address(scale), address(shift), ctypes.byref(knobs), address(y), address(sums))
        norm = math.sqrt(sums[0].sum().item() + 1e-12)
        ctx.save_for_backward(x, weight, mean, inverse, scale, shift)
        ctx.knobs, ctx.norm, ctx.size = knobs, norm, size
        mean, variance = mean.float(), variance.float()
        ctx.mark_non_differentiable(mean, variance)
        return y, torch.tensor(norm), mean, variance

    @staticmethod
    def backward(ctx, dy: Tensor, d_norm: Tensor, *_):
        x, weight, mean, inverse, scale, shift = ctx.saved_tensors
        dy = dy.to(x.dtype).contiguous(memory_format=torch.channels_last)
        penalty = ctypes.c_float(d_norm.item() / ctx.norm)
        sums = torch.empty(2, len(mean), dtype=torch.float64)
        g = torch.empty_like(x)
        call("backward", x, address(dy), *ctx.size, address(scale), address(shift), ctypes.byref(ctx.knobs), penalty, address(g), address(sums))
        count = x.numel() // len(mean)
        d_bias, d_weight = sums[0].clone(), inverse * (sums[1] - mean * sums[0])
        of_gradient = weight.double() * inverse
        of_input = -of_gradient * inverse * d_weight / count
        constant = -of_gradient * d_bias / count - of_input * mean
        factors = [factor.float() for factor in (of_gradient, of_input, constant)]
        call("backward_norm", x, *ctx.size, *map(address, factors), address(g), address(sums))
        return g, d_weight.float(), d_bias.float(), None, None


def knobs_of(activation: Quadratic | Rectifier) -> Knobs:
    free = math.inf
    if isinstance(activation, Rectifier):
        return Knobs(0.0, 1.0, 0.0, 0.0, 0.0, free, free)
    if not activation.training:
        return Knobs(*activation.fixed, 0.0, -free, free, free)
    bound = free if activation.clamp is None else activation.clamp
    return Knobs(*activation.fixed, activation.noise, -bound, bound, free if activation.range is None else activation.range)


def norm_activation(norm: nn.BatchNorm2d, activation: Quadratic | Rectifier, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """`activation(norm(x))`. While both train, moves the norm's running statistics; else, as in a teacher, has no gradient."""
    knobs = knobs_of(activation)
    if not norm.training:
        return inference(norm, knobs, x), None
    y, excess, mean, variance = NormActivation.apply(x, norm.weight, norm.bias, norm.eps, knobs)
    with torch.no_grad():
        count = x.numel() // x.shape[1]
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
    return y, excess if math.isfinite(knobs.range) else None


@torch.no_grad()
def inference(norm: nn.BatchNorm2d, knobs: Knobs, x: Tensor) -> Tensor:
    """By the norm's running statistics."""
    x = rows(x)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    y, sums = torch.empty_like(x), torch.empty(2, x.shape[1], dtype=torch.float64)
    size = ctypes.c_long(x.numel() // x.shape[1]), ctypes.c_long(x.shape[1])
    call("forward", x, *size, address(scale), address(shift), ctypes.byref(knobs), address(y), address(sums))
    return y


class Pad(torch.autograd.Function):
    """`convolution.helical_pad`."""

    @staticmethod
    def forward(ctx, x: Tensor, margin: int, dilation: int):
        x = rows(x)
        n, c, h, w = x.shape
        ctx.shape, ctx.numbers = x.shape, [ctypes.c_long(v) for v in (n, h, w, c, margin, dilation)]
        y = torch.empty((n, c, h + 2 * margin * dilation, w + 2 * margin), dtype=x.dtype, memory_format=torch.channels_last)
        call("pad", x, *ctx.numbers, address(y))
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty(ctx.shape, dtype=dy.dtype, memory_format=torch.channels_last)
        call("pad_backward", dy, *ctx.numbers, address(dx))
        return dx, None, None


def covers(norm: nn.Module, activation: nn.Module) -> bool:
    fixed = isinstance(activation, Rectifier) or isinstance(activation, Quadratic) and activation.fixed is not None
    return (isinstance(norm, nn.BatchNorm2d) and fixed and norm.training == activation.training and norm.momentum is not None
            and norm.num_features % LANES == 0)


def applies(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_grad_enabled()
