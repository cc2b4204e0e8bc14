"""Networks that begin as smaller ones."""

import pytest
import torch

from umbra_train import grow, networks
from umbra_train.graph import GraphError

SPEC = {"kind": "relu-fit", "bound": 2.0, "initial_scale": 0.5}


def build(name: str, classes: int = 10, spec: dict = SPEC, norm: str = "input"):
    torch.manual_seed(1)
    return networks.build(name, classes=[str(i) for i in range(classes)], dataset="CIFAR-10", padding="circular",
                          normalisation={"kind": "per_image", "min_std": 0.05}, activation=spec, norm=norm)


@pytest.mark.parametrize("deeper", ["R14-8", "R20-8"])
def test_a_deeper_network_computes_almost_the_same(deeper, monkeypatch):
    """The smaller what the added quadratics see, the closer: a tenth leaves a tenth of the difference."""
    small, x = build("R8-8").train(), torch.randn(16, 3, 32, 32)
    expected = small(x).detach()
    differences = []
    for size in (0.1, 0.01):
        monkeypatch.setattr(grow, "SMALL", size)
        network = build(deeper)
        state = grow.deepen(network, small.state_dict(), x)
        network.load_state_dict(state)
        # As training sees it: the added batch norms take the statistics of the batch.
        differences.append(((network.train()(x) - expected).std() / expected.std()).item())
    assert differences[1] < 0.03 and differences[1] < 0.2 * differences[0], differences
    assert all(activation.clamp is None for activation in network.activations())


def test_a_deeper_relu_network_computes_the_same():
    relu = {"kind": "relu", "initial_scale": 0.5}
    small, x = build("R8-8", spec=relu).train(), torch.randn(16, 3, 32, 32)
    network = build("R20-8", spec=relu)
    network.load_state_dict(grow.deepen(network, small.state_dict(), x))
    torch.testing.assert_close(network.train()(x), small(x), rtol=1e-4, atol=1e-5)


def test_weights_that_fit_stay_and_others_are_refused():
    same, x = build("R14-8"), torch.randn(4, 3, 32, 32)
    state = build("R14-8").state_dict()
    assert grow.deepen(same, state, x) is state
    with pytest.raises(GraphError, match="9 blocks do not grow into 3 blocks"):
        grow.deepen(build("R8-8"), build("R20-8").state_dict(), x)
    learned = {"kind": "learned", "bound": 2.0}
    with pytest.raises(GraphError, match="l1.act2: only networks of one fixed quadratic with a linear term grow"):
        grow.deepen(build("R14-8", spec=learned), build("R8-8", spec=learned).state_dict(), x)
    with pytest.raises(GraphError, match="another network than R14-16: parts.stem__conv.weight"):
        grow.deepen(build("R14-16"), build("R8-8").state_dict(), x)
    with pytest.raises(GraphError, match="batch norm behind every residual sum"):
        grow.deepen(build("R14-8", norm="branch"), build("R8-8", norm="branch").state_dict(), x)
    vgg = build("VGG16").state_dict()
    assert grow.deepen(same, vgg, x) is vgg  # which `load_weights` refuses by name


def test_a_classifier_of_other_classes_is_left_out():
    network, state = build("R8-8", classes=7), build("R8-8").state_dict()
    taken = grow.without_classifier(network, state)
    assert torch.equal(taken["parts.fc.weight"], network.state_dict()["parts.fc.weight"])
    assert taken["parts.stem__conv.weight"] is state["parts.stem__conv.weight"]
    assert grow.without_classifier(build("R8-8"), state) is state
