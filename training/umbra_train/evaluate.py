"""Plain inference: no clamp, no noise, float32, the network with circular padding in full."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from .graph import Network

OUT_OF_RANGE = 8.0
"""An activation input beyond this counts its image as out of range: four times the range [-2, 2] that training aims at."""


@dataclass
class Result:
    accuracy: float
    sound: float
    """In percent: right, and of images in range."""
    out_of_range: int
    """Images with an activation input beyond `OUT_OF_RANGE`."""
    worst: float
    """Largest magnitude of any activation input."""
    ranges: dict[str, tuple[float, float]] = field(repr=False)
    """Inputs of each polynomial over the images in range."""
    logits: tuple[float, float] = (0.0, 0.0)
    """Over the images in range."""

    def summary(self) -> dict:
        """As JSON has it: no number for what is not finite."""
        return {"accuracy": round(self.accuracy, 2), "out_of_range": self.out_of_range, "worst": round(self.worst, 3) if isfinite(self.worst) else None}


@torch.no_grad()
def evaluate(network: Network, inputs: Tensor, labels: Tensor, batch: int = 250, noise: float = 0.0) -> Result:
    """`noise`: standard deviation of Gaussian noise added to every activation input, as encryption would."""
    thin, training = network.thin, network.training
    network.eval()
    network.thin = False
    hooks = []
    if noise:
        hooks = [a.register_forward_pre_hook(lambda _, x: (x[0] + noise * torch.randn_like(x[0]),)) for a in network.activations()]
    result = Result(0.0, 0.0, 0, 0.0, {}, NOTHING)
    for x, y in zip(inputs.split(batch), labels.split(batch)):
        record = {}
        logits, _ = network.run(x.contiguous(memory_format=torch.channels_last), record)
        right = logits.argmax(1) == y
        result.accuracy += 100 * right.sum().item() / len(labels)
        worst = torch.stack([value.abs().amax((1, 2, 3)) for value in record.values()]).amax(0).nan_to_num(nan=float("inf"))
        inside = worst <= OUT_OF_RANGE
        result.sound += 100 * (right & inside).sum().item() / len(labels)
        result.out_of_range += (~inside).sum().item()
        result.worst = max(result.worst, worst.max().item())
        if inside.any():
            for name, value in record.items():
                result.ranges[name] = union(result.ranges.get(name, NOTHING), value[inside])
            result.logits = union(result.logits, logits[inside])
    for hook in hooks:
        hook.remove()
    network.thin = thin
    network.train(training)
    return result


NOTHING = (float("inf"), float("-inf"))


def union(range: tuple[float, float], values: Tensor) -> tuple[float, float]:
    return min(range[0], values.min().item()), max(range[1], values.max().item())
