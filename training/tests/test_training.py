"""Runs: what they reach, how they end, resume and fail."""

import json
import shutil

import pytest
import torch

from umbra_train import data, recipe, table, train
from umbra_train.__main__ import main
from umbra_train.evaluate import Result
from umbra_train.graph import GraphError

SMALL = ["network.name='R8-8'", "training.compile=false", "training.bfloat16=false", "training.batch=50", "training.held_out=200"]


def small(epochs, *changes):
    r = recipe.read("umbra")
    for change in [*SMALL, f"training.epochs={epochs}", "augmentation.flip='random'", *changes]:
        r.change(change)
    return r


def run(data_root, folder, epochs, *changes, seed=1, limit=None):
    folder.mkdir(exist_ok=True)
    return train.Run(small(epochs, *changes), data_root, folder, seed, limit=limit)


@pytest.fixture(scope="module")
def trained(data_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    # A flip turns an angle into another one: only crops here.
    r = run(data_root, folder, 8, "training.average_decay=0.9", "penalty.zeta=3e-2")
    r.batches.flip = torch.zeros(len(r.batches.labels), dtype=torch.bool)
    r.batches.epoch = unflipped(r.batches)
    r.train()
    return folder


def unflipped(batches):
    original = type(batches).epoch
    return lambda number: original(batches, 0)


def test_a_short_run_learns_and_stays_in_range(trained):
    last = json.loads((trained / "log.jsonl").read_text().splitlines()[-1])
    assert last["progress"] == 1.0 and last["phase"] == "whole"
    assert last["accuracy"] > 60, last
    assert last["out_of_range"] == 0, last


def test_export_holds_what_the_network_computes(trained, data_root, tmp_path, capsys):
    out = tmp_path / "net"
    assert main(["export", str(trained / "best.pt"), "--out", str(out), "--data", str(data_root), "--device", "cpu"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["format"] == "umbra-network" and manifest["version"] == 1
    assert manifest["training"]["accuracy_plain"] > 60 and manifest["training"]["test_images"] == 200
    from safetensors.torch import load_file

    weights, vectors = load_file(out / manifest["weights"]), load_file(out / "r8-8.vectors.safetensors")
    named = {v for node in manifest["nodes"] for v in node.values() if isinstance(v, str) and v in weights}
    assert named == weights.keys() - {"samples"} and manifest["samples"] == "samples"
    assert weights["samples"].dtype == torch.uint8 and weights["samples"].shape == (16, 3, 32, 32)
    polynomials = [node["name"] for node in manifest["nodes"] if node["op"] == "polynomial"]
    assert set(manifest["ranges"]["activations"]) == set(polynomials)
    assert all(vectors[f"activation.{name}"].shape[0] == 2 for name in polynomials)
    assert torch.allclose(forward(manifest, weights, vectors["inputs"]), vectors["logits"], atol=1e-3)
    clipped = tmp_path / "clipped"
    arguments = ["export", str(trained / "best.pt"), "--out", str(clipped), "--data", str(data_root), "--device", "cpu", "--clip"]
    assert main([*arguments, "0"]) == 1 and "normalisation.clip = 0.0: expected a number, above 0" in capsys.readouterr().err
    assert main([*arguments, "1.5"]) == 0
    assert json.loads((clipped / "manifest.json").read_text())["input"]["normalisation"]["clip"] == 1.5
    inputs = load_file(clipped / "r8-8.vectors.safetensors")["inputs"]
    assert torch.equal(inputs, vectors["inputs"].clamp(-1.5, 1.5)) and vectors["inputs"].abs().max() > 1.5
    shutil.rmtree(clipped)
    again = run(data_root, tmp_path / "again", 1)
    again.initialise(out)
    for name, value in train.load(trained / "best.pt")["network"].items():
        assert name.endswith("tracked") or torch.equal(again.network.state_dict()[name], value), name
    (out / manifest["weights"]).write_bytes(b"\x00" * 20)
    with pytest.raises(GraphError, match="no exported network"):
        again.initialise(out)
    assert main(["table", "--zoo", str(tmp_path)]) == 0
    assert "[R8-8 circular](net/)" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("kind", ["relu-fit", "hermite"])
def test_vectors_are_of_the_weights_that_are_stored(kind, trained, data_root, tmp_path):
    from safetensors.torch import load_file

    if kind == "hermite":  # whose coefficients are computed from its batch statistics
        trained = tmp_path
        run(data_root, trained, 1, "activation.kind='hermite'", "network.norm='none'", limit=100).train()
    command = ["export", str(trained / "best.pt"), "--out", str(tmp_path), "--data", str(data_root), "--device", "cpu", "--half"]
    assert main(command) == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    weights, vectors = load_file(tmp_path / manifest["weights"]), load_file(tmp_path / "r8-8.vectors.safetensors")
    assert any(weight.dtype == torch.float16 for weight in weights.values())
    stored = {name: weight.float() for name, weight in weights.items()}
    assert torch.allclose(forward(manifest, stored, vectors["inputs"]), vectors["logits"], atol=2e-5)


def forward(manifest, weights, x):
    """The manifest once more, read without this package's modules."""
    values = {"input": x}
    for n in manifest["nodes"]:
        v = [values[i] for i in n.get("inputs", [n.get("input")])]
        match n["op"]:
            case "convolution":
                w, (b, _, h, wd) = weights[n["weight"]], v[0].shape
                flat, margin, y = v[0].flatten(2), w.shape[2] // 2, 0
                for i in range(w.shape[2]):
                    for j in range(w.shape[3]):
                        shifted = flat.roll(-(32 * (i - margin) + j - margin), 2)[:, :, :: n["stride"]]
                        y = y + torch.einsum("oc,bcp->bop", w[:, :, i, j], shifted)
                y = y.view(b, -1, h, wd // n["stride"])
            case "batch_norm":
                s, t, m, u = (weights[n[k]].view(1, -1, 1, 1) for k in ("scale", "shift", "mean", "variance"))
                y = (v[0] - m) / (u + n["epsilon"]).sqrt() * s + t
            case "polynomial":
                c, b, a = n["coefficients"] if isinstance(n["coefficients"], list) else (k.view(1, -1, 1, 1) for k in weights[n["coefficients"]].unbind(1))
                y = c + b * v[0] + a * v[0] ** 2
            case "add":
                y = v[0] + v[1]
            case "average_pool":
                y = v[0].mean((2, 3))
            case "linear":
                y = v[0] @ weights[n["weight"]].T + weights[n["bias"]]
        values[n["name"]] = y
    return values[manifest["output"]]


def test_one_image_out_of_range_does_not_move_the_batch_statistics(data_root, tmp_path):
    r = run(data_root, tmp_path / "c", 1, limit=500)
    inputs = r.calibration.float()
    train.recalibrate(r.average.network, inputs, 50)
    clean = {k: v.clone() for k, v in r.average.network.state_dict().items() if "running_var" in k}
    inputs[7] *= 1e4
    train.recalibrate(r.average.network, inputs, 50)
    for name, value in clean.items():
        assert torch.allclose(r.average.network.state_dict()[name], value, rtol=0.3), name


def test_batch_statistics_stay_of_use_where_all_images_are_out_of_range(data_root, tmp_path):
    r = run(data_root, tmp_path / "c", 1, limit=500)
    network = r.average.network
    network.parts["stem__bn"].weight.data.fill_(100.0)
    train.recalibrate(network, r.calibration.float(), 50)
    for name, value in network.state_dict().items():
        if "running_var" in name:
            assert value.max() < 1e3, name  # quadratics are clamped to c + 8 b + 64 a


def test_a_resumed_run_equals_an_uninterrupted_one(data_root, tmp_path):
    whole = run(data_root, tmp_path / "whole", 2, limit=100)
    whole.train()
    first = run(data_root, tmp_path / "parts", 2, limit=100)
    progress, first.progress = first.progress, lambda step: 1.0 if first.epoch == 1 else progress(step)
    first.train()
    second = run(data_root, tmp_path / "parts", 2, limit=100)
    second.resume()
    assert second.epoch == 1
    second.train()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_the_run_stops_at_a_loss_that_is_not_finite(data_root, tmp_path):
    r = run(data_root, tmp_path / "nan", 2, limit=100)
    r.train()
    kept = r.checkpoint.read_bytes()
    steep = run(data_root, tmp_path / "nan", 4, limit=100)
    steep.resume()
    next(steep.network.parameters()).register_hook(lambda g: g * float("inf"))
    with pytest.raises(train.TrainingError, match="gradient's norm is (inf|nan).*last good checkpoint"):
        steep.train()
    assert r.checkpoint.read_bytes() == kept
    again = run(data_root, tmp_path / "nan", 4, limit=100)
    again.resume()
    with torch.no_grad():
        next(again.network.parameters()).fill_(float("nan"))
    with pytest.raises(train.TrainingError, match="last good checkpoint"):
        again.train()
    assert r.checkpoint.read_bytes() == kept


def test_checkpoints_of_others_are_refused(data_root, tmp_path):
    r = run(data_root, tmp_path / "a", 1, limit=50)
    r.train()
    other = run(data_root, tmp_path / "a", 1, "network.name='R8-4'", limit=50)
    with pytest.raises(train.TrainingError, match="use another --out"):
        other.resume()
    with pytest.raises(train.TrainingError, match="weights of another network"):
        other.initialise(tmp_path / "a" / "best.pt")
    for change, word in {"training.weight_decay=0.0": "training.weight_decay", "activation.bits=5": "activation.bits", "phases.noise=0.0": "phases"}.items():
        with pytest.raises(train.TrainingError, match=f"its {word} is"):
            run(data_root, tmp_path / "a", 1, change, limit=50).resume()
    with pytest.raises(train.TrainingError, match="its images is 50, expected 51"):
        run(data_root, tmp_path / "a", 1, limit=51).resume()
    run(data_root, tmp_path / "a", 3, "training.minutes=1", limit=50).resume()
    torch.save({"network": {}}, tmp_path / "bare.pt")
    with pytest.raises(train.TrainingError, match="holds no network of a run"):
        train.load(tmp_path / "bare.pt")
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(train.TrainingError, match="not a readable checkpoint"):
        r.resume()


def test_a_relu_network_teaches_and_initialises(data_root, tmp_path):
    teacher = recipe.read("relu")
    for change in [*SMALL, "training.epochs=1"]:
        teacher.change(change)
    (tmp_path / "relu").mkdir()
    train.Run(teacher, data_root, tmp_path / "relu", 1, limit=50).train()
    best = tmp_path / "relu" / "best.pt"
    r = small(1)
    r.values["distillation"] = {"teacher": str(best), "temperature": 4.0, "weight": 0.7}
    (tmp_path / "quadratic").mkdir()
    pupil = train.Run(r, data_root, tmp_path / "quadratic", 1, limit=50)
    pupil.initialise(best)
    assert torch.equal(pupil.network.parts["stem__conv"].weight, train.load(best)["network"]["parts.stem__conv.weight"])
    pupil.train()
    given = r["normalisation"]
    r.values["normalisation"] = {**given, "clip": 3.5}
    train.Run(r, data_root, tmp_path / "other", 1, limit=50)
    for other in ({"min_std": 0.1}, {"clip": 7.0}):
        r.values["normalisation"] = {**given, **other}
        with pytest.raises(train.TrainingError, match="or a larger clip; a teacher sees the same images"):
            train.Run(r, data_root, tmp_path / "other", 1, limit=50)
    assert main(["export", str(best), "--half", "--out", str(tmp_path / "r"), "--data", str(data_root), "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "r" / "baseline.json").read_text())["recipe"] == "relu"
    other = train.Run(small(1), data_root, tmp_path / "other", 1, limit=50)
    other.initialise(tmp_path / "r")
    assert torch.equal(other.network.parts["l0__bn1"].running_var, train.load(best)["network"]["parts.l0__bn1.running_var"])
    exported = small(1)
    exported.values["distillation"] = {**r["distillation"], "teacher": str(tmp_path / "r")}
    taught = train.Run(exported, data_root, tmp_path / "other", 1, limit=50)
    assert torch.equal(taught.teacher.parts["l0__bn1"].running_var, train.load(best)["network"]["parts.l0__bn1.running_var"])
    some = small(1, "network.classes=['angle0', 'angle18']", "training.batch=10")
    some.values["distillation"] = r["distillation"]
    with pytest.raises(train.TrainingError, match="a teacher sees the same images"):
        train.Run(some, data_root, tmp_path / "other", 1, limit=50)
    exported["distillation"]["teacher"] = str(tmp_path / "quadratic")
    with pytest.raises(GraphError, match="no ReLU network to learn from"):
        train.Run(exported, data_root, tmp_path / "other", 1, limit=50)
    again = train.Run(teacher, data_root, tmp_path / "again", 1, limit=50)
    again.initialise(tmp_path / "r")
    again.initialise(best)
    with pytest.raises(train.TrainingError, match="a quadratic network"):
        again.initialise(tmp_path / "quadratic" / "best.pt")
    assert main(["export", str(tmp_path / "quadratic" / "best.pt"), "--out", str(tmp_path / "q"), "--data", str(data_root), "--device", "cpu"]) == 0
    settings = json.loads((tmp_path / "q" / "manifest.json").read_text())["training"]["settings"]
    assert settings["distillation"] == {"teacher": "relu", "temperature": 4.0, "weight": 0.7}
    with pytest.raises(train.TrainingError, match="a quadratic network"):
        again.initialise(tmp_path / "q")


def test_stretched_images_keep_their_direction(data_root, tmp_path):
    run = train.Run(small(1), data_root, tmp_path, 1, limit=50)
    x = torch.randn(64, 3, 8, 8)
    factors = (run.stretch(x, 0.2) / x).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert factors.min() >= 0.799 and factors.max() <= 1.201 and factors[:, 0].std() > 0.05
    assert run.stretch(x, 0.0) is x


def test_a_phase_may_scale_images(data_root, tmp_path):
    r = small(1)
    r.values["phases"] = [{"name": "small", "start": 0.0, "side": 16}]
    scaled = train.Run(r, data_root, tmp_path, 1, limit=50)
    sides, update = [], scaled.update
    scaled.update = lambda x, *others: sides.append(x.shape[2:]) or update(x, *others)
    scaled.train()
    assert sides == [(16, 16)]
    # A slope stays one but at the edges: pixel i of 16 lies between 2 i and 2 i + 1 of 32.
    slope = torch.arange(32.0).view(1, 1, 1, 32).expand(2, 3, 32, 32)
    found = train.resize(slope, 16)
    torch.testing.assert_close(found[..., 2:-2], (2 * torch.arange(16.0) + 0.5).expand(2, 3, 16, 16)[..., 2:-2])
    assert train.resize(slope, 32) is slope and train.resize(slope, None) is slope


def test_a_mirrored_start_sees_mirror_images_as_the_start_saw_images(trained, data_root, tmp_path):
    straight, mirrored = (run(data_root, tmp_path / name, 1, limit=50) for name in ("straight", "mirrored"))
    straight.initialise(trained / "best.pt")
    mirrored.initialise(trained / "best.pt", mirror=True)
    assert mirrored.recipe["training"]["start"].startswith("mirror image of run")
    mirrored.finish_epoch(mirrored.recipe.phases[0], 1.0, 1, torch.zeros(3))
    resumed = run(data_root, tmp_path / "mirrored", 1, limit=50)
    resumed.resume()
    assert resumed.recipe["training"]["start"] == mirrored.recipe["training"]["start"]
    x = straight.held_inputs[:50]
    columns = -torch.arange(x.shape[3]) % x.shape[3]  # about column 0, which every stride keeps; a row's end goes on in another row
    expected, mirror, same = (r.network.eval()(part) for r, part in ((straight, x), (mirrored, x[..., columns]), (mirrored, x)))
    assert (mirror - expected).norm() < 0.5 * (same - expected).norm()


@pytest.mark.parametrize("name, kept", [("umbra", 50.0), ("relu", 60.0)])
def test_images_out_of_range_are_held_against_quadratics_only(name, kept, data_root, tmp_path, monkeypatch):
    r = recipe.read(name)
    for change in SMALL:
        r.change(change)
    run = train.Run(r, data_root, tmp_path, 1, limit=50)
    # More right, but fewer in range.
    results = iter([Result(40.0, 40.0, 0, 1.0, {}), Result(50.0, 45.0, 5, 100.0, {}), Result(60.0, 35.0, 50, 100.0, {})])
    monkeypatch.setattr(train, "evaluate", lambda *_: next(results))
    for _ in range(3):
        run.evaluate()
    assert train.load(tmp_path / "best.pt")["held_out"]["accuracy"] == kept


def test_the_plan_of_the_zoo_trains_in_an_order_that_can_be():
    known = set()
    for entry in table.PLAN:
        r = recipe.read(entry.recipe)
        assert ("distillation" in r.values) == (entry.teacher is not None), entry
        for change in entry.changes:
            r.change(change)
        assert {entry.start, entry.teacher} <= known | {None}, entry
        assert entry.folder not in known, entry
        known.add(entry.folder)


def test_the_zoo_leaves_out_what_a_cpu_cannot_and_ends_with_its_table(data_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "PLAN", [table.Entry("large", "umbra", gpu=True)])
    arguments = ["zoo", "--zoo", str(tmp_path / "zoo"), "--runs", str(tmp_path / "runs"), "--data", str(data_root), "--device", "cpu"]
    assert main(arguments) == 0
    assert "large" in capsys.readouterr().out and "`large`" in (tmp_path / "zoo" / "README.md").read_text()
    (tmp_path / "zoo" / "README.md").unlink()
    assert main([*arguments, "--only", "large", "--set", "training.batch=9999", "--set", "training.held_out=200"]) == 1
    assert "batch 9999" in capsys.readouterr().err and "`large`" in (tmp_path / "zoo" / "README.md").read_text()


def test_two_processes_do_not_train_in_one_folder(data_root, tmp_path, capsys):
    with train.alone(tmp_path):
        assert main(["train", "--out", str(tmp_path), "--data", str(data_root), "--device", "cpu"]) == 1
    assert "another process trains in it" in capsys.readouterr().err
    with train.alone(tmp_path):
        pass


def test_weights_of_ones_own_network_run_no_code(data_root, tmp_path, capsys):
    module = tmp_path / "own.py"
    module.write_text((recipe.FOLDER.parents[1] / "examples" / "small.py").read_text())
    own = [f"network.module='{module}:SmallNet'", "network.classes=['angle0', 'angle18', 'angle36']", "training.held_out=50"]
    r, relu = small(1, *own), small(1, *own, "activation.kind='relu'")
    train.Run(r, data_root, tmp_path, 1, limit=50).train()
    (tmp_path / "relu").mkdir()
    train.Run(relu, data_root, tmp_path / "relu", 1, limit=50).train()
    r.values["distillation"] = {"teacher": str(tmp_path / "baseline"), "temperature": 4.0, "weight": 0.7}
    assert main(["export", str(tmp_path / "relu" / "best.pt"), "--out", str(tmp_path / "baseline"), "--data", str(data_root), "--device", "cpu"]) == 0
    assert train.Run(r, data_root, tmp_path, 1, limit=50).teacher.description["name"] == "SmallNet"
    module.write_text("raise SystemExit('ran')")
    best, out = str(tmp_path / "best.pt"), tmp_path / "net"
    for arguments in (["eval", best], ["export", best, "--out", str(out)], ["average", best, best, "--out", str(tmp_path / "mean")]):
        assert main([*arguments, "--data", str(data_root), "--device", "cpu"]) == 0, capsys.readouterr().err
    assert json.loads((out / "manifest.json").read_text())["name"] == "SmallNet"
    state = train.load(tmp_path / "best.pt")
    del state["nodes"]
    torch.save(state, tmp_path / "best.pt")
    assert main(["eval", best, "--data", str(data_root), "--device", "cpu"]) == 1
    assert "holds no nodes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["umbra", "continue", "distil", "whole", "gentle", "paper", "relu"])
def test_recipes_read(name):
    r = recipe.read(name)
    assert r.learning_rate(1.0) == pytest.approx(0, abs=1e-9)
    assert r.learning_rate(r["training"]["warm_up"]) == pytest.approx(r["training"]["learning_rate"])
    assert recipe.build(r, [str(i) for i in range(10)]).output == "fc"


def test_a_change_of_phases_is_one_of_all():
    r = recipe.read("distil")
    r.change("phases.noise=0.0")
    assert len(r.phases) == 3 and all(phase.noise == 0.0 for phase in r.phases) and r.phases[0].clamp == 2.0


def test_the_papers_ramp():
    r = recipe.read("paper")
    assert [r.penalty(e) for e in range(5)] == [(1e-5, 0.0), (2e-5, 1.0), (1e-4, 1.0), (2e-4, 1.0), (1e-3, 1.0)]


def test_bad_input_is_one_line(data_root, tmp_path, capsys):
    def fails(*arguments):
        assert main([*arguments]) == 1
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1
        return line

    out = ["--out", str(tmp_path / "o")]
    assert "--data must be" in fails("train", "--data", str(tmp_path), *out)
    assert "use one of" in fails("train", "--recipe", "best", "--data", str(data_root), *out)
    for change in ("nothing", "phases=1", "training.epochs=", "a.b.c=1"):
        assert "table.key=value" in fails("train", "--set", change, "--data", str(data_root), *out)
    assert "no such file" in fails("eval", str(tmp_path / "none.pt"), "--data", str(data_root))
    broken = tmp_path / "cifar-10-batches-bin"
    broken.mkdir()
    for file in (data_root / "cifar-10-batches-bin").iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:-1])
    assert "record" in fails("train", "--data", str(tmp_path), *out)
    (tmp_path / "r.toml").write_text("[network")
    assert "r.toml" in fails("train", "--recipe", str(tmp_path / "r.toml"), "--data", str(data_root), *out)
    whole = (recipe.FOLDER / "relu.toml").read_text()
    for side in ("0", "-4", "1.5", "true"):
        (tmp_path / "side.toml").write_text(f"{whole}side = {side}\n")
        assert "phases.side" in fails("train", "--recipe", str(tmp_path / "side.toml"), "--data", str(data_root), *out)
    for change, word in {"training.epoch=1": "no such key; training has epochs", "network.nrom='branch'": "no such key", "phases.colour=1": "no such key",
                         "distillation.weight=0.5": "no table distillation", "training.epochs=0": "above 0", "training.epochs=inf": "above 0",
                         "training.minutes=-1": "above 0", "training.held_out=0": "at least 1", "training.batch=1.5": "whole number",
                         "training.momentum=1": "below 1", "training.momentum=0": "nesterov", "training.compile=1": "true or false",
                         "activation.kind='foo'": "relu-fit", "activation.bound=0": "above 0", "activation.kind='fixed'": "activation.coefficients is missing",
                         "activation.coefficients=[1.0]": "3 numbers", "normalisation.kind='foo'": "per_channel", "normalisation.kind='per_channel'": "normalisation.mean",
                         "augmentation.flip='never'": "alternate", "phases.start=0.5": "expected the first at 0.0", "phases.start=0.0": "expected the first at 0.0",
                         "network.padding='round'": "circular", "network.geometry='round'": "circular", "network.padding='cyclic'": "circular",
                         "phases.side=0": "at least 1"}.items():
        assert word in fails("train", "--set", change, "--data", str(data_root), *out), change
    assert "leaves none of 1200 images" in fails("train", "--set", "training.held_out=1200", "--data", str(data_root), *out)
    assert "above 0" in fails("train", "--minutes", "-1", "--data", str(data_root), *out)
    assert "--init must name it" in fails("train", "--mirror", "--data", str(data_root), *out)
    (tmp_path / "unknown.toml").write_text(f"{whole}[colours]\n")
    assert "unknown table colours" in fails("train", "--recipe", str(tmp_path / "unknown.toml"), "--data", str(data_root), *out)
    (tmp_path / "empty.toml").write_text(whole.replace('padding = "reflect"\nflip = "alternate"\n', ""))
    assert "augmentation.padding is missing" in fails("train", "--recipe", str(tmp_path / "empty.toml"), "--data", str(data_root), *out)
    (tmp_path / "short.toml").write_text(whole.replace("momentum = 0.9\n", ""))
    assert "training.momentum is missing" in fails("train", "--recipe", str(tmp_path / "short.toml"), "--data", str(data_root), *out)
    for text in ("{", "[]", '{"name": "n", "dataset": "d", "padding": "circular", "nodes": [{"name": "a", "op": "polynomial", "input": "b"}], "output": "a"}'):
        (tmp_path / "zoo" / "n").mkdir(parents=True, exist_ok=True)
        (tmp_path / "zoo" / "n" / "manifest.json").write_text(text)
        assert "not a file of the zoo" in fails("table", "--zoo", str(tmp_path / "zoo"))


def old_names(values):
    """A recipe as version 0.1 wrote it."""
    old = {table: dict(part) if isinstance(part, dict) else part for table, part in values.items()}
    old["network"]["geometry"] = {"circular": "cyclic", "zero": "textbook"}[old["network"].pop("padding")]
    old["normalisation"]["kind"] = "per_picture"
    return old


def test_names_until_version_0_1_are_read(data_root, tmp_path, capsys):
    today = small(1)
    assert recipe.Recipe(old_names(today.values)).values == today.values
    changed = small(1, "network.geometry='textbook'", "normalisation.kind='per_picture'")
    assert changed["network"]["padding"] == "zero" and "geometry" not in changed["network"] and changed["normalisation"]["kind"] == "per_image"
    both = old_names(today.values)
    both["network"]["padding"] = "circular"
    with pytest.raises(recipe.RecipeError, match="network.geometry: no such key"):
        recipe.Recipe(both)

    # A checkpoint, and the best weights, of a run of then.
    first = run(data_root, tmp_path / "run", 1, limit=50)
    first.train()
    for file in ("checkpoint.pt", "best.pt"):
        state = torch.load(tmp_path / "run" / file, weights_only=True)
        state["recipe"] = old_names(state["recipe"])
        if "images" in state:
            state["pictures"] = state.pop("images")
        torch.save(state, tmp_path / "run" / file)
    run(data_root, tmp_path / "run", 2, limit=50).resume()
    with pytest.raises(train.TrainingError, match="its images is 50, expected 51"):
        run(data_root, tmp_path / "run", 1, limit=51).resume()
    assert main(["average", str(tmp_path / "run" / "best.pt"), "--out", str(tmp_path / "mean"), "--data", str(data_root), "--device", "cpu"]) == 0
    net = tmp_path / "zoo" / "net"
    assert main(["export", str(tmp_path / "run" / "best.pt"), "--out", str(net), "--data", str(data_root), "--device", "cpu"]) == 0
    manifest = json.loads((net / "manifest.json").read_text())
    assert manifest["padding"] == "circular" and manifest["input"]["normalisation"]["kind"] == "per_image" and "geometry" not in manifest

    # The table of a zoo that has a manifest of then.
    main(["table", "--zoo", str(tmp_path / "zoo")])
    table_of_today = (tmp_path / "zoo" / "README.md").read_text()
    del manifest["padding"]
    manifest["geometry"] = "cyclic"
    manifest["training"]["escaping_pictures"] = manifest["training"].pop("out_of_range_images")
    (net / "manifest.json").write_text(json.dumps(manifest))
    assert main(["table", "--zoo", str(tmp_path / "zoo")]) == 0
    assert (tmp_path / "zoo" / "README.md").read_text() == table_of_today


def test_a_baseline_of_version_0_1_teaches(data_root, tmp_path):
    teacher = recipe.read("relu")
    for change in [*SMALL, "training.epochs=1"]:
        teacher.change(change)
    (tmp_path / "relu").mkdir()
    train.Run(teacher, data_root, tmp_path / "relu", 1, limit=50).train()
    net = tmp_path / "net"
    assert main(["export", str(tmp_path / "relu" / "best.pt"), "--out", str(net), "--data", str(data_root), "--device", "cpu"]) == 0
    text = json.loads((net / "baseline.json").read_text())
    text["settings"] = old_names(text["settings"])
    (net / "baseline.json").write_text(json.dumps(text))
    r = small(1)
    r.values["distillation"] = {"teacher": str(net), "temperature": 4.0, "weight": 0.7}
    (tmp_path / "quadratic").mkdir()
    assert train.Run(r, data_root, tmp_path / "quadratic", 1, limit=50).teacher is not None


def test_averaged_weights_lie_between(trained, data_root, tmp_path, capsys):
    other = run(data_root, tmp_path / "other", 1)
    other.initialise(trained / "best.pt")
    other.train()
    paths = [trained / "best.pt", tmp_path / "other" / "best.pt"]
    tail = ["--data", str(data_root), "--device", "cpu"]
    assert main(["average", *map(str, paths), "--share", "3", "1", "--out", str(tmp_path / "mean"), *tail]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["accuracy"] > 60
    a, b, mean = (train.load(path) for path in (*paths, tmp_path / "mean" / "best.pt"))
    for name, value in mean["network"].items():
        if name.endswith(".weight"):
            torch.testing.assert_close(value, 0.75 * a["network"][name] + 0.25 * b["network"][name])
    # Batch statistics are those of the averaged weights, and not averages.
    name = next(name for name in mean["network"] if name.endswith("running_var"))
    assert not torch.equal(mean["network"][name], 0.75 * a["network"][name] + 0.25 * b["network"][name])
    assert mean["recipe"]["training"]["start"].startswith("0.75 ")
    assert main(["average", *map(str, paths), "--share", "1", "--out", str(tmp_path / "x"), *tail]) == 1
    assert "shares [1.0]" in capsys.readouterr().err
    wider = run(data_root, tmp_path / "wider", 1, "network.name='R8-12'")
    wider.train()
    assert main(["average", str(paths[0]), str(tmp_path / "wider" / "best.pt"), "--out", str(tmp_path / "x"), *tail]) == 1
    assert "R8-12" in capsys.readouterr().err


def test_batches_are_crops_and_flips():
    torch.manual_seed(0)
    x = torch.arange(4 * 3 * 32 * 32.0).view(4, 3, 32, 32)
    batches = data.Batches(x, torch.arange(4), 4, torch.Generator().manual_seed(0), padding="black", black=torch.full((3,), -1.0))
    seen = {}
    for number in range(2):
        for images, labels in batches.epoch(number):
            for image, label in zip(images, labels.tolist()):
                values = set(image.flatten().tolist()) - {-1.0}
                assert values <= set(x[label].flatten().tolist()) and len(values) >= 3 * 28 * 28
                rising = image[0, 16, 20] > image[0, 16, 10]
                seen.setdefault(label, set()).add(bool(rising))
    assert all(sides == {True, False} for sides in seen.values())
    with pytest.raises(data.DataError, match="batch"):
        data.Batches(x, torch.arange(4), 5, torch.Generator())


def test_cutout_takes_a_square_out_of_each_image():
    x = torch.ones(64, 3, 32, 32)
    batches = data.Batches(x, torch.arange(64), 64, torch.Generator().manual_seed(0), cutout=8)
    [(images, _)] = batches.epoch(0)
    areas = set()
    for image in images:
        assert (image == image[0]).all() and set(image.unique().tolist()) <= {0.0, 1.0}
        rows, columns = (image[0] == 0).nonzero().T
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        areas.add(height * width)
        # One square, cut off where it leaves the image.
        assert len(rows) == height * width and 4 <= height <= 8 and 4 <= width <= 8
    assert 64 in areas and len(areas) > 1


def test_what_is_not_finite_has_no_number():
    summary = Result(90.0, 90.0, 1, float("inf"), {}).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == {"accuracy": 90.0, "out_of_range": 1, "worst": None}


def test_inputs_are_clipped_where_a_recipe_says_so():
    images = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    images[0, 0, 0, 0] = 255
    plain = data.normalise(images, {"kind": "per_image", "min_std": 0.05})
    clipped = data.normalise(images, {"kind": "per_image", "min_std": 0.05, "clip": 5.0})
    assert plain.max() > 5 and torch.equal(clipped, plain.clamp(-5, 5))
    with pytest.raises(recipe.RecipeError, match="clip = 0: expected a number, above 0"):
        small(1, "normalisation.clip=0")
