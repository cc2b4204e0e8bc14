"""A PyTorch classifier of one's own as a network of nodes: traced, its activations replaced, its weights kept."""

from __future__ import annotations

import importlib.util
import operator
from pathlib import Path

import torch
from torch import fx, nn
from torch.nn import functional as F

from . import networks
from .graph import INPUT, GraphError, Network, key

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish)
ACTIVATION_CALLS = (torch.relu, F.relu, F.relu6, F.leaky_relu, F.gelu, F.silu, F.hardswish)
PASSED_OVER = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)


def load(reference: str, **description) -> Network:
    """`reference` is `path/to/file.py:name`, name a module class or a function that returns a module (with weights loaded, if any)."""
    file, _, name = reference.rpartition(":")
    spec = importlib.util.spec_from_file_location("adopted", file) if Path(file).is_file() else None
    if spec is None or not name:
        raise GraphError(f"network.module {reference!r}: expected path/to/file.py:name")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise GraphError(f"network.module {reference!r}: {file} defines no {name}")
    return adopt(getattr(module, name)(), name=name, **description)


def adopt(model: nn.Module, *, name: str, classes: list[str], dataset: str, padding: str, normalisation: dict, activation: dict) -> Network:
    """Traces `model` (input [n, 3, 32, 32], output [n, classes]) and takes over its weights.

    An activation whose input is no batch norm gets one, since the range of a polynomial needs it. Batch norms start with their
    scale and shift times `initial_scale`, so that inputs lie in the range of the fit; fine-tuning does the rest.
    """
    nodes, modules, scale = [], {}, activation.get("initial_scale", 1.0)
    try:
        traced = fx.symbolic_trace(model.eval())
    except Exception as error:  # whatever the module's own code raises
        raise GraphError(f"network {name}: torch.fx cannot trace it ({type(error).__name__}: {error}); its forward must not depend on values") from error
    named: dict[fx.Node, str] = {}
    order = {node: i for i, node in enumerate(traced.graph.nodes)}

    def append(node: fx.Node, op: str, module: nn.Module | None = None, **fields) -> None:
        own = str(node.target) if node.op == "call_module" else node.name
        nodes.append({"name": own, "op": op, **fields})
        modules[own] = module
        named[node] = own

    for node in traced.graph.nodes:
        inputs = [named[a] for a in node.all_input_nodes if a in named]
        part = traced.get_submodule(node.target) if node.op == "call_module" else None
        call = node.target if node.op in ("call_function", "call_method") else None
        if node.op == "placeholder":
            if INPUT in named.values():
                raise GraphError(f"node {node.name}: a classifier has one input")
            named[node] = INPUT
        elif node.op == "output":
            if len(inputs) != 1 or not nodes or nodes[-1]["op"] != "linear" or inputs[0] != nodes[-1]["name"]:
                raise GraphError("the network must end in one linear layer that returns the logits")
        elif in_place(node, part) and any(order[reader] > order[node] for alias, own in named.items() if own == inputs[0] for reader in alias.users):
            raise GraphError(f"node {node.name}: overwrites {inputs[0]}, which others read after it; use an operation that is not in place")
        elif isinstance(part, nn.Conv2d):
            append(node, "convolution", part, input=inputs[0], channels=part.out_channels, bias=part.bias is not None, **convolution(node, part))
        elif isinstance(part, nn.BatchNorm2d):
            if not part.affine or not part.track_running_stats:
                raise GraphError(f"node {node.name}: {part} cannot run encrypted here; use one with affine=True and track_running_stats=True, as it is by default")
            append(node, "batch_norm", part, input=inputs[0], epsilon=part.eps)
        elif isinstance(part, ACTIVATIONS) or call in ACTIVATION_CALLS or call == "relu":
            if not nodes or nodes[-1]["name"] != inputs[0] or nodes[-1]["op"] != "batch_norm":
                bn = f"{node.name}.bn"
                nodes.append({"name": bn, "op": "batch_norm", "input": inputs[0], "initial_scale": scale})
                inputs = [bn]
            append(node, "polynomial", input=inputs[0])
            nodes[-1]["name"] = named[node] = node.name  # a ReLU module may be called more than once
        elif call in (operator.add, operator.iadd, torch.add, "add", "add_") and set(node.kwargs) <= {"other"} and all(
                isinstance(a, fx.Node) for a in (*node.args, *node.kwargs.values())):
            append(node, "add", inputs=[named[a] for a in (*node.args, *node.kwargs.values())])
        elif isinstance(part, nn.AvgPool2d) and pooling(part) is not None:
            append(node, "average_pool", input=inputs[0], kernel=pooling(part))
        elif isinstance(part, nn.AdaptiveAvgPool2d) and part.output_size in (1, (1, 1)) or call is F.adaptive_avg_pool2d and (
                *node.args[1:], *node.kwargs.values()) in ((1,), ((1, 1),)):
            append(node, "average_pool", input=inputs[0], kernel="global")
        elif isinstance(part, PASSED_OVER) or call in (torch.flatten, "flatten"):
            named[node] = inputs[0]
        elif isinstance(part, nn.Linear) and part.bias is not None:
            append(node, "linear", part, input=inputs[0], features=part.out_features)
        else:
            what = type(part).__name__ if part is not None else getattr(call, "__name__", call or node.op)
            raise GraphError(f"node {node.name}: {what} cannot run encrypted here; use Conv2d, BatchNorm2d, a ReLU-like activation, addition, "
                             "AvgPool2d(k), AdaptiveAvgPool2d(1), flatten, and one Linear at the end")
    if any(node["op"] == "linear" for node in nodes[:-1]):
        raise GraphError("only the last layer may be linear; use a 1x1 Conv2d before the pooling")
    if nodes[-1]["features"] != len(classes):
        raise GraphError(f"node {nodes[-1]['name']}: {nodes[-1]['features']} outputs for {len(classes)} classes")
    network = Network(nodes, networks.describe(name, classes=classes, dataset=dataset, padding=padding, normalisation=normalisation), activation)
    mine, theirs = network.parts[key(nodes[-1]["name"])], modules[nodes[-1]["name"]]
    if mine.in_features != theirs.in_features:
        raise GraphError(f"node {nodes[-1]['name']}: {theirs.in_features} inputs, but layers before it with {padding} padding give {mine.in_features}; with circular padding, "
                         "which halves columns only, pool all positions before it (AdaptiveAvgPool2d(1))")
    for own, module in modules.items():
        if module is not None:
            network.parts[key(own)].load_state_dict(module.state_dict())
            if isinstance(module, nn.BatchNorm2d):
                with torch.no_grad():
                    network.parts[key(own)].weight.mul_(scale)
                    network.parts[key(own)].bias.mul_(scale)
    return network


def in_place(node: fx.Node, part: nn.Module | None) -> bool:
    return getattr(part, "inplace", False) or node.kwargs.get("inplace", False) or node.target in (operator.iadd, "add_")


def pooling(part: nn.AvgPool2d) -> int | None:
    """-> its k, if it is the mean over blocks of k x k that the manifest can say."""
    sides = {*pair(part.kernel_size), *pair(part.stride)}
    plain = len(sides) == 1 and pair(part.padding) == (0, 0) and not part.ceil_mode and part.divisor_override is None
    return sides.pop() if plain else None


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def convolution(node: fx.Node, part: nn.Conv2d) -> dict:
    """-> kernel and stride, if the manifest can say it."""
    k, s = part.kernel_size[0], part.stride[0]
    if part.kernel_size != (k, k) or k % 2 == 0 or part.stride != (s, s) or s not in (1, 2) or part.padding not in ((k // 2, k // 2), "same") \
            or part.dilation != (1, 1) or part.groups != 1 or part.padding_mode != "zeros":
        raise GraphError(f"node {node.target}: {part} cannot run encrypted here; use an odd square kernel k, padding k // 2, stride 1 or 2, one group, no dilation")
    return {"kernel": k, "stride": s}
