"""A network as a list of manifest nodes, and the module that runs it.

The node list is the single description: it is built by `networks`, trained here, written by `export`
and read back by the Rust side. Node fields are those of the manifest (`docs` of the `model` crate).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import fused
from .activation import Activation, activation
from .convolution import CircularConvolution, CircularPool, ZeroPaddedConvolution

INPUT = "input"
THINNED = (CircularConvolution, CircularPool, ZeroPaddedConvolution)
"""What has a thin version."""


class GraphError(ValueError):
    """The node list does not describe a network; the message names the node."""


class Network(nn.Module):
    """Runs `nodes` in order. `description` holds the manifest fields that are not nodes.

    `thin = True` (circular padding only) strides over rows too: it computes one of the row phases that the network
    averages at the end, at the cost of one with zero padding. A training speed-up: the weights are
    the same, only the wrap-around at the image's left and right edge differs.
    """

    def __init__(self, nodes: list[dict], description: dict, activation_spec: dict):
        super().__init__()
        self.nodes, self.description = sort(nodes), description
        self.output = self.nodes[-1]["name"]
        self.thin = self.fused = False
        self.parts = nn.ModuleDict()
        channels = {INPUT: description["input"]["channels"]}
        size = (description["input"]["height"], description["input"]["width"])
        circular = description["padding"] == "circular"
        shapes = {INPUT: size}
        for node in self.nodes:
            source = sources(node)[0]
            name, c, (h, w) = node["name"], channels[source], shapes[source]
            match node["op"]:
                case "convolution":
                    if circular and node["kernel"] // 2 > w:
                        raise GraphError(f"node {name}: a kernel of {node['kernel']} reaches past the rows before and after, of {w} columns; use "
                                         f"at most {2 * w + 1}, or zero padding")
                    kind = CircularConvolution if circular else ZeroPaddedConvolution
                    part = kind(c, node["channels"], node["kernel"], node["stride"], bool(node.get("bias")), size)
                    c, w = node["channels"], w // node["stride"]
                    h = h if circular else h // node["stride"]
                case "batch_norm":
                    part = nn.BatchNorm2d(c, eps=node.get("epsilon", 1e-5))
                    nn.init.constant_(part.weight, node.get("initial_scale", 1.0))
                case "polynomial":
                    part = activation(activation_spec, c)
                case "average_pool":
                    if circular and (node["kernel"] not in ("global", 2) or (node["kernel"] == 2 and w < 2)):
                        raise GraphError(f"node {name}: circular padding has no {node['kernel']} x {node['kernel']} pooling of {h} x {w}; use 'global', 2 where "
                                         "there are columns to halve, or zero padding")
                    part = CircularPool(size) if circular and node["kernel"] == 2 else Pool(node["kernel"])
                    h, w = (1, 1) if node["kernel"] == "global" else (h if circular else h // node["kernel"], w // node["kernel"])
                case "linear":
                    part = nn.Linear(c * h * w, node["features"])
                    c, h, w = node["features"], 1, 1
                case "add":
                    part = None
                    for other in sources(node)[1:]:
                        if (channels[other], shapes[other]) != (c, (h, w)):
                            raise GraphError(f"node {name}: inputs {sources(node)} have different shapes")
                case op:
                    raise GraphError(f"node {name}: unknown operation {op}")
            if part is not None:
                self.parts[key(name)] = part
            channels[name], shapes[name] = c, (h, w)
        read, producers = [source for node in self.nodes for source in sources(node)], {node["name"]: node for node in self.nodes}
        self.norms = {node["name"]: node["input"] for node in self.nodes if node["op"] == "polynomial" and read.count(node["input"]) == 1
                      and producers.get(node["input"], {}).get("op") == "batch_norm"}
        """Of an activation: the batch norm that nothing else reads."""

    def covered(self) -> dict[str, nn.Module]:
        """The batch norms that the kernels compute, by the activation after them."""
        pairs = {name: self.parts[key(norm)] for name, norm in self.norms.items()}
        return {name: norm for name, norm in pairs.items() if fused.covers(norm, self.parts[key(name)])}

    def use_kernels(self) -> None:
        """From now on, training steps on a CPU go through `fused` where it covers a node."""
        self.fused = True
        for part in self.modules():
            if isinstance(part, CircularConvolution):
                part.fused = True

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor, record: dict | None = None) -> tuple[Tensor, list[Tensor]]:
        """-> logits, and per activation the L2 norm of what exceeds its range (empty unless training).

        `record`, if given, receives the input of every polynomial by node name.
        """
        values, excesses = {INPUT: x}, []
        joined = self.covered() if self.fused and fused.applies(x) else {}
        left = {self.norms[name] for name in joined}
        for node in self.nodes:
            inputs = [values[source] for source in sources(node)]
            if node["op"] == "add":
                y = sum(inputs[1:], inputs[0])
            elif node["name"] in left:
                y = inputs[0]
            elif node["name"] in joined:
                y, excess = fused.norm_activation(joined[node["name"]], self.parts[key(node["name"])], inputs[0])
                if excess is not None:
                    excesses.append(excess)
            else:
                part = self.parts[key(node["name"])]
                if node["op"] == "polynomial":
                    if record is not None:
                        record[node["name"]] = inputs[0]
                    y, excess = part(inputs[0])
                    if excess is not None:
                        excesses.append(excess)
                elif isinstance(part, THINNED):
                    y = part(inputs[0], thin=self.thin)
                elif node["op"] == "linear":
                    y = part(inputs[0].flatten(1))
                else:
                    y = part(inputs[0])
            values[node["name"]] = y
        return values[self.output], excesses

    def activations(self) -> list[Activation]:
        """The quadratic ones, in order."""
        return [part for part in self.parts.values() if isinstance(part, Activation)]


class Pool(nn.Module):
    """Mean over all positions ("global") or over kernel x kernel blocks."""

    def __init__(self, kernel: int | str):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel == "global":
            return x.mean((2, 3), keepdim=True)
        return nn.functional.avg_pool2d(x, self.kernel)


def key(name: str) -> str:
    """Module names may not contain dots."""
    return name.replace(".", "__")


def sources(node: dict) -> list[str]:
    return node["inputs"] if node["op"] == "add" else [node["input"]]


def sort(nodes: list[dict]) -> list[dict]:
    """Topological order, stable; names the first node whose inputs never appear."""
    known, ordered, rest = {INPUT}, [], list(nodes)
    names = [node["name"] for node in nodes]
    if len(set(names)) != len(names) or INPUT in names:
        raise GraphError("node names must be unique and differ from 'input'")
    while rest:
        ready = [node for node in rest if all(source in known for source in sources(node))]
        if not ready:
            raise GraphError(f"node {rest[0]['name']}: input {sources(rest[0])} does not exist, or is part of a cycle")
        ordered += ready
        known |= {node["name"] for node in ready}
        rest = [node for node in rest if node["name"] not in known]
    return ordered
