"""Node lists of the networks of the zoo."""

from __future__ import annotations

from .graph import Network

CLASSES = {"CIFAR-10": 10, "CIFAR-100": 100}



def resnet(name, blocks, widths, *, classes, dataset, geometry, normalisation, activation, norm="input") -> Network:
    """Basic-block ResNet. `norm = "input"`: one batch norm at every activation input, the residual sum included;
    `norm = "branch"`: after every convolution, before the sum, as published."""
    nodes, scale = [], activation.get("initial_scale", 1.0)

    def add(op, name, source, **fields):
        nodes.append({"name": name, "op": op, "input": source, **fields})
        return name

    def convolution(name, source, channels, kernel=3, stride=1):
        return add("convolution", name, source, channels=channels, kernel=kernel, stride=stride)

    def batch_norm(name, source):
        return add("batch_norm", name, source, initial_scale=scale)

    x = convolution("stem.conv", "input", widths[0])
    x = add("polynomial", "stem.act", batch_norm("stem.bn", x))
    index, channels = 0, widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths)):
        for i in range(count):
            p, stride = f"l{index}", 2 if stage and not i else 1
            y = batch_norm(f"{p}.bn1", convolution(f"{p}.conv1", x, width, stride=stride))
            y = convolution(f"{p}.conv2", add("polynomial", f"{p}.act1", y), width)
            if norm == "branch":
                y = batch_norm(f"{p}.bn2", y)
            if stride != 1 or channels != width:
                x = convolution(f"{p}.shortcut", x, width, kernel=1, stride=stride)
                if norm == "branch":
                    x = batch_norm(f"{p}.bn3", x)
            nodes.append({"name": f"{p}.add", "op": "add", "inputs": [y, x]})
            y = f"{p}.add"
            if norm == "input":
                y = batch_norm(f"{p}.bn2", y)
            x = add("polynomial", f"{p}.act2", y)
            index, channels = index + 1, width
    x = add("average_pool", "pool", x, kernel="global")
    add("linear", "fc", x, features=len(classes))
    description = {
        "name": name, "dataset": dataset, "classes": list(classes), "geometry": geometry,
        "input": {"channels": 3, "height": 32, "width": 32, "normalisation": normalisation},
    }
    return Network(nodes, description, activation)


def build(name: str, *, width: int | None = None, **kw) -> Network:
    """By zoo name: R18, R20-16, R20-64, R32-16, R32-64, or RD-W of any depth D = 6 n + 2 and width W."""
    if name == "R18":
        return resnet(name, [2, 2, 2, 2], [64, 128, 256, 512], **kw)
    try:
        depth, width = (int(part) for part in name.removeprefix("R").split("-"))
    except ValueError as error:
        raise ValueError(f"network {name!r}: use R18, VGG16, or R<depth>-<width> such as R20-16") from error
    if depth < 8 or (depth - 2) % 6 or width < 1:
        raise ValueError(f"network {name!r}: a CIFAR ResNet has depth 6 n + 2 and a positive width")
    return resnet(name, [(depth - 2) // 6] * 3, [width, 2 * width, 4 * width], **kw)
