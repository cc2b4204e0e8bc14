import pytest
import torch

from umbra_train import networks
from umbra_train.graph import GraphError, Network, sort

SPEC = {"kind": "relu-fit", "bound": 2.0}
NORMALISATION = {"kind": "per_image", "min_std": 0.05}


def build(name, padding="circular", **kw):
    return networks.build(name, classes=[str(i) for i in range(10)], dataset="CIFAR-10", padding=padding, normalisation=NORMALISATION, activation=SPEC, **kw)


@pytest.mark.parametrize("name, padding, options, parameters", [
    ("R20-16", "circular", {}, 0.27e6), ("R32-16", "zero", {}, 0.46e6), ("R20-64", "zero", {"norm": "branch", "pool": 4}, 4.3e6),
    ("R18", "circular", {}, 11.2e6), ("R18-16", "zero", {}, 0.7e6), ("VGG16", "zero", {}, 14.7e6), ("VGG16", "circular", {}, 14.7e6),
])
def test_sizes_are_those_of_the_named_networks(name, padding, options, parameters):
    with torch.device("meta"):
        network = build(name, padding, **options)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=0.03)


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("norm", ["input", "branch", "none"])
def test_forward(padding, norm):
    network = build("R8-2", padding, norm=norm).eval()
    record = {}
    logits, excesses = network.run(torch.randn(2, 3, 32, 32), record)
    assert logits.shape == (2, 10) and not excesses and len(record) == 7
    assert record["l2.act2"].shape == ((2, 8, 32, 8) if padding == "circular" else (2, 8, 8, 8))


def test_circular_padding_is_equivariant_to_rolling_rows():
    network = build("R8-2").eval()
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(network(x), network(x.roll(5, 2)), atol=1e-4)


@pytest.mark.parametrize("name", ["R21-16", "resnet", "R20", "R20-0"])
def test_impossible_names_are_errors(name):
    with pytest.raises(GraphError, match="network"):
        build(name)


def test_impossible_graphs_are_errors():
    with pytest.raises(GraphError, match="pooling"):
        build("R20-16", "circular", pool=4)
    node = {"name": "a", "op": "polynomial", "input": "b"}
    with pytest.raises(GraphError, match="node a"):
        sort([node])
    with pytest.raises(GraphError, match="unique"):
        sort([node, node])
    with pytest.raises(GraphError, match="unknown operation"):
        Network([{"name": "a", "op": "maximum", "input": "input"}], build("R8-2").description, SPEC)
