import pytest
import torch

from umbra_train import networks
from umbra_train.graph import GraphError, Network, sort

SPEC = {"kind": "relu-fit", "bound": 2.0}
NORMALISATION = {"kind": "per_picture", "min_std": 0.05}


def build(name, geometry="cyclic", **kw):
    return networks.build(name, classes=[str(i) for i in range(10)], dataset="CIFAR-10", geometry=geometry, normalisation=NORMALISATION, activation=SPEC, **kw)


@pytest.mark.parametrize("name, geometry, options, parameters", [
    ("R20-16", "cyclic", {}, 0.27e6), ("R32-16", "textbook", {}, 0.46e6), ("R20-64", "textbook", {"norm": "branch", "pool": 4}, 4.3e6),
    ("R18", "cyclic", {}, 11.2e6), ("R18-16", "textbook", {}, 0.7e6), ("VGG16", "textbook", {}, 14.7e6), ("VGG16", "cyclic", {}, 14.7e6),
])
def test_sizes_are_those_of_the_named_networks(name, geometry, options, parameters):
    with torch.device("meta"):
        network = build(name, geometry, **options)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(parameters, rel=0.03)


@pytest.mark.parametrize("geometry", ["cyclic", "textbook"])
@pytest.mark.parametrize("norm", ["input", "branch", "none"])
def test_forward(geometry, norm):
    network = build("R8-2", geometry, norm=norm).eval()
    record = {}
    logits, excesses = network.run(torch.randn(2, 3, 32, 32), record)
    assert logits.shape == (2, 10) and not excesses and len(record) == 7
    assert record["l2.act2"].shape == ((2, 8, 32, 8) if geometry == "cyclic" else (2, 8, 8, 8))


def test_cyclic_is_equivariant_to_rolling_rows():
    network = build("R8-2").eval()
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(network(x), network(x.roll(5, 2)), atol=1e-4)


@pytest.mark.parametrize("name", ["R21-16", "resnet", "R20", "R20-0"])
def test_impossible_names_are_errors(name):
    with pytest.raises(GraphError, match="network"):
        build(name)


def test_impossible_graphs_are_errors():
    with pytest.raises(GraphError, match="pooling"):
        build("R20-16", "cyclic", pool=4)
    node = {"name": "a", "op": "polynomial", "input": "b"}
    with pytest.raises(GraphError, match="node a"):
        sort([node])
    with pytest.raises(GraphError, match="unique"):
        sort([node, node])
    with pytest.raises(GraphError, match="unknown operation"):
        Network([{"name": "a", "op": "maximum", "input": "input"}], build("R8-2").description, SPEC)
