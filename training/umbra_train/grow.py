"""Starts a network from weights of a smaller one: fewer blocks a stage, or other classes.

A block with a ReLU whose branch ends in zeros is the identity once its batch norm is: what reaches it is a ReLU's output. A block with a
quadratic cannot be the identity. One whose batch norm makes its input small nearly is: c + b z + a z^2 with small z is c + b z, and a
factor is what the layers after it take back.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .activation import Quadratic, Rectifier
from .graph import GraphError, Network, key

SMALL = 0.1
"""Deviation of what the added blocks' quadratics see: small, since activations have long tails, and still ten times an encrypted run's noise."""
BOUND = 4.0
"""Clamps what the quadratics see while deviations are measured: one image out of range would be all of them."""
CLASSIFIER = ("parts.fc.weight", "parts.fc.bias")


def without_classifier(network: Network, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the network's own classifier where that has other classes."""
    mine = network.state_dict()
    other = any(name in state and name in mine and state[name].shape != mine[name].shape for name in CLASSIFIER)
    return state | {name: mine[name] for name in CLASSIFIER} if other else state


def blocks_of(names) -> int:
    return sum(name.endswith("__conv1.weight") for name in names)


def deepen(network: Network, state: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Weights of `network` that compute almost what `state` does, a residual network with fewer blocks in each of as many stages.

    `images`: normalised, to measure deviations on. What fits already is returned as it is.
    """
    mine = network.state_dict()
    old, new = blocks_of(state), blocks_of(mine)
    if old == new or not old or not new:
        return state
    sums = [node["input"] for node in network.nodes if node["name"].endswith(".bn2")]
    if not all(source.endswith(".add") for source in sums) or len(sums) != new:
        raise GraphError(f"{network.description['name']}: only networks with a batch norm behind every residual sum grow (network.norm = \"input\")")
    firsts = [i for i in range(new) if not i or f"parts.l{i}__shortcut.weight" in mine]
    stages, rest = divmod(old, len(firsts))
    each = new // len(firsts)
    if rest or stages > each or firsts != [i * each for i in range(len(firsts))]:
        raise GraphError(f"weights with {old} blocks do not grow into {new} blocks of {network.description['name']}; start from fewer blocks in each stage")
    source = {s * each + i: s * stages + i for s in range(len(firsts)) for i in range(stages)}
    grown = {name: value for name, value in mine.items() if not name.startswith("parts.l")} | {n: v for n, v in state.items() if not n.startswith("parts.l")}
    for name, value in mine.items():
        if name.startswith("parts.l"):
            block, part = name.removeprefix("parts.l").split("__", 1)
            twin = f"parts.l{source[int(block)]}__{part}" if int(block) in source else None
            grown[name] = state.get(twin, value) if twin else torch.zeros_like(value) if part == "conv2.weight" else value
    other = [name for name, value in grown.items() if name not in mine or value.shape != mine[name].shape]
    if other:
        raise GraphError(f"weights of another network than {network.description['name']}: {other[0]}; start from one of the same widths")
    network.load_state_dict(grown, strict=False)
    return settle(network, [i for i in range(new) if i not in source], images)


def be_identity(norm: nn.BatchNorm2d, x: tuple[Tensor]) -> None:
    variance, mean = torch.var_mean(x[0], (0, 2, 3), correction=0)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)


@torch.no_grad()
def settle(network: Network, added: list[int], images: Tensor) -> dict[str, Tensor]:
    """Sets the batch norms of the added blocks from what reaches them, in one pass, and takes their factors back after each stage."""
    hooks = []
    stages = [[block] for block in added if block - 1 not in added]
    for stage in stages:
        while stage[-1] + 1 in added:
            stage.append(stage[-1] + 1)
        factors, before = [], []
        for block in stage:
            norm, act = network.parts[key(f"l{block}.bn2")], network.parts[key(f"l{block}.act2")]
            if isinstance(act, Rectifier):
                hooks.append(norm.register_forward_pre_hook(be_identity))
                continue
            if not isinstance(act, Quadratic) or act.fixed is None or not act.fixed[1]:
                raise GraphError(f"node l{block}.act2: only networks of one fixed quadratic with a linear term grow")

            def adapt(norm, x, slope=act.fixed[1], factors=factors, before=before):
                deviations = x[0].std((0, 2, 3))
                factor = SMALL / deviations.square().mean().sqrt()  # one for all channels
                norm.weight.copy_(factor * deviations)
                norm.bias.zero_()
                factors.append(slope * factor)
                before.append(x[0].mean((0, 2, 3)))

            def restore(act, x, y, end=stage[-1], factors=factors, before=before):
                whole = torch.stack(factors).prod()
                readers = [network.parts[key(name)] for name in (f"l{end + 1}.conv1", f"l{end + 1}.shortcut") if key(name) in network.parts]
                for reader in readers or [network.parts["fc"]]:
                    reader.weight.div_(whole)
                if not readers:  # no batch norm follows that would see the shift
                    fc = network.parts["fc"]
                    fc.bias.add_(fc.weight @ (whole * before[0] - y[0].mean((0, 2, 3))))

            hooks.append(norm.register_forward_pre_hook(adapt))
            if block == stage[-1]:
                hooks.append(act.register_forward_hook(restore))
    network.train()
    for activation in network.activations():
        activation.clamp = BOUND
    network.run(images)
    for activation in network.activations():
        activation.clamp = None
    for hook in hooks:
        hook.remove()
    return network.state_dict()
