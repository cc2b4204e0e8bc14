import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from umbra_train.adopt import adopt, load
from umbra_train.graph import GraphError

KNOWN = {"classes": ["a", "b", "c"], "dataset": "CIFAR-10", "padding": "zero", "normalisation": {"kind": "per_image", "min_std": 0.05}}
EXAMPLE = __file__.replace("tests/test_adopt.py", "examples/small.py")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.bn, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.conv, self.fc = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Linear(4 * 8 * 8, 3)
        self.pool = nn.AvgPool2d(4)

    def forward(self, x):
        x = self.act(self.bn(self.stem(x)))
        x = self.act(self.conv(x) + x)
        return self.fc(torch.flatten(self.pool(x), 1))


def test_weights_are_kept():
    """With ReLU for the activation and no scaling, an adopted network computes what the model does."""
    torch.manual_seed(0)
    model = Residual()
    for p in (model.bn.weight, model.bn.bias, model.bn.running_mean):
        nn.init.uniform_(p, 0.5, 1.5)
    model.eval()
    network = adopt(model, name="residual", activation={"kind": "relu"}, **KNOWN).eval()
    x = torch.randn(2, 3, 32, 32)
    # The batch norm that the residual sum received starts as the identity, but for epsilon.
    assert torch.allclose(network(x), model(x), atol=1e-4)
    assert [n["op"] for n in network.nodes] == ["convolution", "batch_norm", "polynomial", "convolution", "add", "batch_norm", "polynomial", "average_pool", "linear"]


def test_the_example_loads_in_both_paddings():
    for padding in ("circular", "zero"):
        network = load(f"{EXAMPLE}:SmallNet", activation={"kind": "relu-fit", "bound": 2.0, "initial_scale": 0.5}, **{**KNOWN, "padding": padding}).eval()
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 3)
        assert len(network.activations()) == 4


@pytest.mark.parametrize("layer, word", [(nn.MaxPool2d(2), "MaxPool2d"), (nn.Conv2d(3, 3, 3), "padding"), (nn.Conv2d(3, 3, 3, padding=1, groups=3), "group"), (nn.Sigmoid(), "Sigmoid")])
def test_what_cannot_run_is_named(layer, word):
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with pytest.raises(GraphError, match=word):
        adopt(model, name="n", activation={"kind": "relu"}, **KNOWN)


class Sum(nn.Module):
    """What `combine` makes of two branches, pooled and classified."""

    def __init__(self, combine, *, norm=None, pool=None, features=3):
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 3, 3, padding=1, stride=2) for _ in range(2))
        self.norm, self.pool, self.fc = norm or nn.Identity(), pool or nn.AdaptiveAvgPool2d(1), nn.Linear(features, 3)
        self.combine = combine

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.norm(self.combine(self.one(x), self.two(x)))), 1))


@pytest.mark.parametrize("combine", [lambda x, y: x + y, torch.add, lambda x, y: x.add(y), lambda x, y: torch.add(x, other=y), lambda x, y: x + x,
                                     lambda x, y: x.add_(y), lambda x, y: (x + y).add_(x), lambda x, y: operator.iadd(x, y)])
def test_sums_are_adopted_as_they_are(combine):
    model = Sum(combine).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(adopt(model, name="n", activation={"kind": "relu"}, **KNOWN).eval()(x), model(x), atol=1e-5)


@pytest.mark.parametrize("pool, features", [(nn.AvgPool2d((2, 2)), 192), (nn.AvgPool2d(4, (4, 4)), 48)])
def test_pools_are_adopted_as_they_are(pool, features):
    model = Sum(torch.add, pool=pool, features=features).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(adopt(model, name="n", activation={"kind": "relu"}, **KNOWN).eval()(x), model(x), atol=1e-5)


@pytest.mark.parametrize("model, word", [
    (Sum(lambda x, y: torch.add(x, y, alpha=0.1)), "node add: add cannot run"), (Sum(lambda x, y: x.add(y, alpha=0.1)), "node add: add cannot run"),
    (Sum(lambda x, y: x + 1), "node add: add cannot run"), (Sum(lambda x, y: torch.add(x, other=1)), "node add: add cannot run"),
    (Sum(lambda x, y: (x.add_(y), x)[1]), "node add_: overwrites one"), (Sum(lambda x, y: (F.relu(x, inplace=True), x + y)[1]), "node relu: overwrites one"),
    (Sum(lambda x, y: F.relu(x, inplace=True) + x), "node relu: overwrites one"), (Sum(lambda x, y: torch.relu(input=x) * y), "node mul"),
    (Sum(torch.add, pool=nn.AvgPool2d(2, divisor_override=1), features=192), "AvgPool2d cannot run"),
    (Sum(torch.add, pool=nn.AvgPool2d(2, ceil_mode=True), features=192), "AvgPool2d cannot run"),
    (Sum(torch.add, pool=nn.AvgPool2d((2, 4)), features=96), "AvgPool2d cannot run"),
    (Sum(torch.add, norm=nn.BatchNorm2d(3, affine=False)), "node norm: .*affine=True"),
    (Sum(torch.add, norm=nn.BatchNorm2d(3, track_running_stats=False)), "node norm: .*track_running_stats=True"),
    (Sum(lambda x, y: x if x.sum() > 0 else y), "cannot trace it"),
])
def test_what_would_compute_something_else_is_refused(model, word):
    with pytest.raises(GraphError, match=word):
        adopt(model, name="n", activation={"kind": "relu"}, **KNOWN)


def test_a_classifier_of_positions_is_refused_where_the_padding_leaves_others():
    with pytest.raises(GraphError, match="node fc: 192 inputs, but layers before it with circular padding give 768"):
        adopt(Sum(torch.add, pool=nn.AvgPool2d(2), features=192), name="n", activation={"kind": "relu"}, **{**KNOWN, "padding": "circular"})


def test_a_kernel_wider_than_its_rows_is_refused_with_circular_padding():
    layers = [nn.Conv2d(3, 3, 3, padding=1, stride=2) for _ in range(4)]
    model = nn.Sequential(*layers, nn.Conv2d(3, 3, 7, padding=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    adopt(model, name="n", activation={"kind": "relu"}, **KNOWN)
    with pytest.raises(GraphError, match="node 4: a kernel of 7 reaches past"):
        adopt(model, name="n", activation={"kind": "relu"}, **{**KNOWN, "padding": "circular"})


def test_references_are_checked():
    with pytest.raises(GraphError, match="file.py:name"):
        load("nowhere.py:Net", activation={"kind": "relu"}, **KNOWN)
    with pytest.raises(GraphError, match="defines no Other"):
        load(f"{EXAMPLE}:Other", activation={"kind": "relu"}, **KNOWN)
