"""Node lists of the networks of the zoo."""

from __future__ import annotations

from .graph import GraphError, Network


class Builder:
    """Appends nodes; every method returns the new node's name."""

    def __init__(self, initial_scale: float):
        self.nodes, self.initial_scale = [], initial_scale

    def add(self, op: str, name: str, source: str, **fields) -> str:
        self.nodes.append({"name": name, "op": op, "input": source, **fields})
        return name

    def convolution(self, name: str, source: str, channels: int, kernel: int = 3, stride: int = 1) -> str:
        return self.add("convolution", name, source, channels=channels, kernel=kernel, stride=stride)

    def batch_norm(self, name: str, source: str) -> str:
        return self.add("batch_norm", name, source, initial_scale=self.initial_scale)

    def activation(self, name: str, source: str) -> str:
        return self.add("polynomial", name, source)

    def sum(self, name: str, *inputs: str) -> str:
        self.nodes.append({"name": name, "op": "add", "inputs": list(inputs)})
        return name


def resnet(builder: Builder, blocks: list[int], widths: list[int], norm: str) -> str:
    """Basic blocks. `norm = "input"`: one batch norm at every activation input, the residual sum included;
    `"branch"`: after every convolution, before the sum, as published; `"none"`: left to the activation."""
    b = builder

    def normed(name: str, source: str, where: tuple[str, ...]) -> str:
        return b.batch_norm(name, source) if norm in where else source

    x = normed("stem.bn", b.convolution("stem.conv", "input", widths[0]), ("input", "branch"))
    x = b.activation("stem.act", x)
    index, channels = 0, widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths)):
        for i in range(count):
            p, stride = f"l{index}", 2 if stage and not i else 1
            y = normed(f"{p}.bn1", b.convolution(f"{p}.conv1", x, width, stride=stride), ("input", "branch"))
            y = b.convolution(f"{p}.conv2", b.activation(f"{p}.act1", y), width)
            y = normed(f"{p}.bn2", y, ("branch",))
            if stride != 1 or channels != width:
                x = normed(f"{p}.bn3", b.convolution(f"{p}.shortcut", x, width, kernel=1, stride=stride), ("branch",))
            y = normed(f"{p}.bn2", b.sum(f"{p}.add", y, x), ("input",))
            x = b.activation(f"{p}.act2", y)
            index, channels = index + 1, width
    return x


def vgg16(builder: Builder, norm: str) -> str:
    """13 convolutions; average pooling in place of the maximum, which has no polynomial."""
    x, index = "input", 0
    for block, (count, width) in enumerate(zip([2, 2, 3, 3, 3], [64, 128, 256, 512, 512])):
        for _ in range(count):
            x = builder.convolution(f"c{index}.conv", x, width)
            x = builder.activation(f"c{index}.act", x if norm == "none" else builder.batch_norm(f"c{index}.bn", x))
            index += 1
        x = builder.add("average_pool", f"pool{block}", x, kernel=2)
    return x


def build(name: str, *, classes: list[str], dataset: str, padding: str, normalisation: dict, activation: dict,
          norm: str = "input", pool: int | str = "global") -> Network:
    """By zoo name: VGG16, R18 or R18-<width of the first stage> (64), or R<depth>-<width> of any depth 6 n + 2 (R20-16, R32-64, ...).

    `pool`: "global", or k for k x k average pooling before the classifier (zero padding).
    """
    if padding not in ("circular", "zero"):
        raise GraphError(f"padding {padding!r}: use circular or zero")
    if norm not in ("input", "branch", "none"):
        raise GraphError(f"norm {norm!r}: use input, branch or none")
    builder = Builder(activation.get("initial_scale", 1.0))
    if name == "VGG16":
        x = vgg16(builder, norm)
    else:
        blocks, widths = shape(name)
        x = resnet(builder, blocks, widths, norm)
    x = builder.add("average_pool", "pool", x, kernel=pool)
    builder.add("linear", "fc", x, features=len(classes))
    return Network(builder.nodes, describe(name, classes=classes, dataset=dataset, padding=padding, normalisation=normalisation), activation)


def describe(name: str, *, classes: list[str], dataset: str, padding: str, normalisation: dict) -> dict:
    """The manifest's fields that are not nodes, for images of CIFAR."""
    return {"name": name, "dataset": dataset, "classes": list(classes), "padding": padding,
            "input": {"channels": 3, "height": 32, "width": 32, "normalisation": dict(normalisation)}}


def shape(name: str) -> tuple[list[int], list[int]]:
    """-> residual blocks and width of each stage."""
    try:
        depth, width = (int(part) for part in ("R18-64" if name == "R18" else name).removeprefix("R").split("-"))
    except ValueError as error:
        raise GraphError(f"network {name!r}: use R18, VGG16, or R<depth>-<width> such as R20-16") from error
    stages = 4 if depth == 18 else 3
    if width < 1 or depth != 18 and (depth < 8 or (depth - 2) % 6):
        raise GraphError(f"network {name!r}: a CIFAR ResNet has depth 18, or 6 n + 2, and a positive width")
    return [(depth - 2) // (2 * stages)] * stages, [width << stage for stage in range(stages)]
