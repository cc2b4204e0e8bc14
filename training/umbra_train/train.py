"""One training run: recipe + seed -> checkpoints, a log, and the averaged weights chosen on the hold-out.

Progress (0..1) drives every schedule. It is counted in epochs, or, with a budget in minutes, in time, so that a
run on a busy machine still ends with its learning rate at zero.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, kl_div
from tqdm import tqdm

from . import data, fused, grow
from .evaluate import OUT_OF_RANGE, evaluate
from .export import read_baseline, read_weights
from .graph import Network
from .recipe import Phase, Recipe, build, rebuild, renamed

HOLD_OUT_SEED = 20
"""The same images are held out in every run, whatever its seed."""


class TrainingError(RuntimeError):
    """Training cannot go on or resume; the message says why and what is left."""


class Average:
    """Exponential moving average of all floating-point state, batch statistics included."""

    def __init__(self, network: Network, decay: float):
        self.network, self.decay, self.steps = copy.deepcopy(network).eval(), decay, 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floats], [theirs[n] for n in floats], weight)


@torch.no_grad()
def recalibrate(network: Network, inputs: Tensor, batch: int = 250) -> None:
    """Sets batch statistics to the median over batches of training images, as the network runs at inference.

    Running averages keep what one image out of range did to its batch; the median does not see it. Where most batches hold one, what is out of range
    is clamped at half of where `evaluate` counts it, twice the range: at all of it, those of a network with an eighth of
    the images out of range were spoiled for all (10 % right in place of 85).
    """
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta, thin, knobs = [n.momentum for n in norms], network.thin, [(a.range, a.clamp, a.noise) for a in network.activations()]
    for activation in network.activations():
        activation.range, activation.clamp, activation.noise = None, OUT_OF_RANGE / 2, 0.0
    for n in norms:
        n.momentum = 1.0
    network.train()
    network.thin = False
    seen = []
    for x in inputs.split(batch):
        network(x.float().contiguous(memory_format=torch.channels_last))
        seen.append([(n.running_mean.clone(), n.running_var.clone()) for n in norms])
    for i, (n, momentum) in enumerate(zip(norms, momenta)):
        n.running_mean.copy_(torch.stack([s[i][0] for s in seen]).median(0).values)
        n.running_var.copy_(torch.stack([s[i][1] for s in seen]).median(0).values)
        n.momentum = momentum
    for activation, (range, clamp, noise) in zip(network.activations(), knobs):
        activation.range, activation.clamp, activation.noise = range, clamp, noise
    network.thin = thin
    network.eval()


class Run:
    """`folder` receives log.jsonl, checkpoint.pt (to resume: see `state`) and best.pt (averaged weights, chosen on the hold-out)."""

    def __init__(self, recipe: Recipe, root: str | Path, folder: Path, seed: int, device: str = "cpu", limit: int | None = None):
        torch.manual_seed(seed)
        self.recipe, self.folder, self.seed, self.device = recipe, folder, seed, torch.device(device)
        self.bfloat16 = recipe["training"]["bfloat16"] and fast_bfloat16(self.device)
        t, augmentation = recipe["training"], recipe["augmentation"]
        images, labels, classes = data.load(root, recipe["network"]["dataset"], "train", recipe["network"].get("classes"))
        self.network = build(recipe, classes).to(self.device, memory_format=torch.channels_last)
        if t["held_out"] >= len(labels):
            raise TrainingError(f"training.held_out = {t['held_out']}: leaves none of {len(labels)} images to train on")
        held, chosen = hold_out(labels, t["held_out"])
        chosen = chosen[:limit]
        normalisation = self.network.description["input"]["normalisation"]
        dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        inputs = torch.cat([data.normalise(part, normalisation).to(dtype) for part in images[chosen].split(5000)])
        black = data.normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), normalisation) if augmentation["padding"] == "black" else None
        self.batches = data.Batches(inputs.to(self.device), labels[chosen].to(self.device), t["batch"], torch.Generator().manual_seed(seed),
                                    padding=augmentation["padding"], flip=augmentation["flip"], black=black,
                                    cutout=augmentation.get("cutout", 0))
        self.held_inputs, self.held_labels = data.normalise(images[held], normalisation).to(self.device), labels[held].to(self.device)
        self.calibration = inputs[: t["calibration"]].to(self.device)
        groups = [{"params": [p for p in self.network.parameters() if p.ndim > 1], "weight_decay": t["weight_decay"]},
                  {"params": [p for p in self.network.parameters() if p.ndim <= 1], "weight_decay": t["weight_decay_vectors"]}]
        self.optimizer = torch.optim.SGD(groups, lr=t["learning_rate"], momentum=t["momentum"], nesterov=t["nesterov"])
        self.average = Average(self.network, t["average_decay"])
        self.loss = nn.CrossEntropyLoss(label_smoothing=t["label_smoothing"])
        self.teacher = self.load_teacher(classes) if "distillation" in recipe.values else None
        self.epoch, self.evaluated, self.best, self.began = 0, None, None, time.monotonic()
        self.step = self.faster() if t["compile"] else self.forward

    def faster(self) -> Callable:
        """The step through the kernels on a CPU that can compile them, where they cover all activations; else through PyTorch's compiler."""
        if self.device.type == "cpu" and len(self.network.covered()) == sum(node["op"] == "polynomial" for node in self.network.nodes):
            try:
                fused.kernels()
                for network in filter(None, (self.network, self.teacher)):
                    network.use_kernels()
                return self.forward
            except fused.KernelError as error:
                tqdm.write(f"training goes through torch.compile, which is slower: {error}")
        return torch.compile(self.forward)

    def load_teacher(self, classes: list[str]) -> Network:
        path = Path(self.recipe["distillation"]["teacher"])
        state = read_baseline(path) if path.is_dir() else load(path)
        theirs, mine = ({"dataset": values["network"]["dataset"], "classes": values["network"].get("classes"), **values["normalisation"]}
                        for values in (state["recipe"], self.recipe.values))
        # One that was trained with a larger clip still knows images whose few brightest pixels are cut.
        if theirs | {"clip": None} != mine | {"clip": None} or theirs.get("clip", math.inf) < mine.get("clip", math.inf):
            raise TrainingError(f"{path}: trained on {theirs}, expected {mine}, or a larger clip; a teacher sees the same images")
        teacher = rebuild(Recipe(state["recipe"]), classes, state, path).to(self.device, memory_format=torch.channels_last)
        load_weights(teacher, state["network"], path)
        return teacher.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor, zeta: Tensor, task_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> loss, penalty, share of right answers."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits, excesses = self.network.run(x)
            taught = self.teacher(x) if self.teacher is not None else None
        logits = logits.float()
        task = self.loss(logits, y)
        if taught is not None:
            d = self.recipe["distillation"]
            heat = d["temperature"]
            soft = kl_div((logits / heat).log_softmax(1), (taught.float() / heat).log_softmax(1), reduction="batchmean", log_target=True)
            task = (1 - d["weight"]) * task + d["weight"] * heat**2 * soft
        penalty = torch.stack(excesses).mean() if excesses else torch.zeros((), device=x.device)
        return task_weight * task + zeta * penalty, penalty, (logits.argmax(1) == y).float().mean()

    def progress(self, step: int) -> float:
        t = self.recipe["training"]
        if "minutes" in t:
            return min(1.0, (time.monotonic() - self.began) / (60 * t["minutes"]))
        return min(1.0, (self.epoch + step / len(self.batches)) / t["epochs"])

    def train(self) -> None:
        """To the end of the budget; a checkpoint an epoch."""
        while self.progress(0) < 1.0:
            phase = self.recipe.phase(self.progress(0))
            phase.apply(self.network)
            self.network.train()
            zeta, task_weight = (torch.tensor(value, device=self.device) for value in self.recipe.penalty(self.epoch))
            start, totals, steps = time.monotonic(), torch.zeros(3, device=self.device), 0
            bar = tqdm(self.batches.epoch(self.epoch), f"epoch {self.epoch + 1}", len(self.batches), leave=False, disable=None)
            for x, y in bar:
                if self.progress(steps) >= 1.0:
                    break
                for group in self.optimizer.param_groups:
                    group["lr"] = self.recipe.learning_rate(self.progress(steps))
                totals += self.update(self.stretch(resize(x, phase.side), phase.gain), y, zeta, task_weight)
                steps += 1
                bar.set_postfix(accuracy=f"{100 * totals[2].item() / steps:.1f} %")
            if not steps:
                break
            self.epoch += 1
            self.finish_epoch(phase, time.monotonic() - start, steps, totals / steps)
        if self.evaluated != self.epoch:
            self.evaluate()

    def stretch(self, x: Tensor, gain: float) -> Tensor:
        """Each image by a factor of its own, even over 1 - gain..1 + gain."""
        if not gain:
            return x
        factors = 1 + gain * (2 * torch.rand(len(x), 1, 1, 1, generator=self.batches.generator) - 1)
        return x * factors.to(x)

    def update(self, x: Tensor, y: Tensor, zeta: Tensor, task_weight: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss, penalty, right = self.step(x, y, zeta, task_weight)
        self.stop_unless_finite("the loss", loss)
        loss.backward()
        length = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe["training"]["gradient_norm"] or math.inf)
        self.stop_unless_finite("the gradient's norm", length)
        self.optimizer.step()
        self.average.update(self.network)
        return torch.stack([loss, penalty, right]).detach()

    def stop_unless_finite(self, what: str, value: Tensor) -> None:
        if not math.isfinite(value.item()):
            kept = f"the last good checkpoint is {self.checkpoint}" if self.checkpoint.exists() else "there is no checkpoint yet"
            raise TrainingError(f"{what} is {value.item()} in epoch {self.epoch + 1}: stopped; {kept}. Lower training.learning_rate or raise penalty.zeta")

    def finish_epoch(self, phase: Phase, seconds: float, steps: int, means: Tensor) -> None:
        entry = {"epoch": self.epoch, "progress": round(self.progress(0), 4), "phase": phase.name, "seconds": round(seconds, 1), "steps": steps,
                 "learning_rate": round(self.optimizer.param_groups[0]["lr"], 6), "loss": round(means[0].item(), 4),
                 "penalty": round(means[1].item(), 4), "training_accuracy": round(100 * means[2].item(), 2)}
        if self.progress(0) >= 1.0 or self.epoch % self.recipe["training"]["evaluate_every"] == 0:
            entry |= self.evaluate()
        save(self.checkpoint, self.state())
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(entry) + "\n")
        tqdm.write(json.dumps(entry))

    def evaluate(self) -> dict:
        """The averaged weights, recalibrated, on the hold-out; keeps them if they are the best so far: most images right, of those
        in range (of a quadratic; encrypted, the others may be refused)."""
        network = copy.deepcopy(self.average.network)
        recalibrate(network, self.calibration)
        result = evaluate(network, self.held_inputs, self.held_labels)
        self.evaluated = self.epoch
        # A ReLU has no range.
        score = result.sound if network.activations() else result.accuracy
        if self.best is None or score >= self.best:
            self.best = score
            save_best(self.folder, network, self.recipe, self.seed, self.epoch, result.summary())
        return result.summary()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def state(self) -> dict:
        return {"recipe": self.recipe.values, "seed": self.seed, "images": len(self.batches.labels), "epoch": self.epoch, "score": self.best,
                "elapsed": time.monotonic() - self.began,
                "network": self.network.state_dict(), "average": self.average.network.state_dict(), "average_steps": self.average.steps,
                "optimizer": self.optimizer.state_dict(), "generator": self.batches.generator.get_state(), "flip": self.batches.flip}

    def resume(self) -> None:
        """Continues where `state` was taken; the time the run was not running does not count. The run may be longer or shorter than it was to be."""
        state = load(self.checkpoint)
        count = len(self.batches.labels)
        theirs = {"seed": state["seed"], "images": state.get("images", state.get("pictures", count)), **settings(state["recipe"])}
        mine = {"seed": self.seed, "images": count, **settings(self.recipe.values)}
        for key in sorted(theirs.keys() | mine.keys()):
            if theirs.get(key) != mine.get(key):
                raise TrainingError(f"{self.checkpoint} belongs to another run: its {key} is {theirs.get(key)}, expected {mine.get(key)}; use another --out, or delete it")
        if "start" in state["recipe"]["training"]:
            self.recipe["training"]["start"] = state["recipe"]["training"]["start"]
        load_weights(self.network, state["network"], self.checkpoint)
        load_weights(self.average.network, state["average"], self.checkpoint)
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.generator.set_state(state["generator"])
        self.average.steps, self.batches.flip = state["average_steps"], state["flip"]
        self.epoch, self.best, self.began = state["epoch"], state.get("score"), time.monotonic() - state["elapsed"]

    def initialise(self, path: Path, mirror: bool = False) -> None:
        """Takes weights and batch statistics from a best.pt (of either padding, of ReLU too) or an exported network's folder: of the same architecture,
        of one with fewer blocks a stage, or of one with other classes, whose classifier is left out. A ReLU network starts from a ReLU network only.

        Mirrored, they compute of an image what they computed of its mirror image, but for the edges: another member of an ensemble.
        """
        saved = None if path.is_dir() else load(path)
        state = read_weights(path) if saved is None else saved["network"]
        from_relu = (path / "baseline.json").exists() if saved is None else saved["recipe"]["activation"]["kind"] == "relu"
        if self.recipe["activation"]["kind"] == "relu" and not from_relu:
            raise TrainingError(f"{path}: a quadratic network, whose channels mostly stay where a ReLU is zero; start from a ReLU network, or from scratch")
        if mirror:
            state = {name: value.flip(3) if value.ndim == 4 else value for name, value in state.items()}
        self.recipe["training"]["start"] = ("mirror image of " if mirror else "") + (path if path.is_dir() else path.parent).resolve().name
        state = grow.deepen(self.network, grow.without_classifier(self.network, state), self.calibration[: self.recipe["training"]["batch"]].float())
        load_weights(self.network, state, path)
        load_weights(self.average.network, state, path)


def settings(recipe: dict) -> dict:
    """All values of a recipe that make it another run, by `table.key`: not how long it is, or what it started from."""
    flat = {f"{table}.{key}": value for table, part in recipe.items() if isinstance(part, dict) for key, value in part.items()}
    left_out = {f"training.{key}" for key in ("epochs", "minutes", "start", "evaluate_every", "compile")}
    paths = {key: Path(*Path(flat[key]).parts[-2:]) for key in ("distillation.teacher", "network.module") if key in flat}  # folders may have moved
    return {key: value for key, value in flat.items() if key not in left_out} | paths | {"phases": recipe["phases"]}


@contextlib.contextmanager
def alone(folder: Path):
    """Refuses a folder that another process trains in: two would write one checkpoint."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TrainingError(f"{folder}: another process trains in it; wait for it, or use another --out") from error
    else:
        yield
    finally:
        os.close(handle)


def resize(x: Tensor, side: int | None) -> Tensor:
    """Square images of `side` pixels. Half the side is a quarter of the work: what an early phase learns on small images carries over, with
    zero padding and global pooling."""
    if side is None or x.shape[2:] == (side, side):
        return x
    small = interpolate(x.float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.to(x.dtype).contiguous(memory_format=torch.channels_last)


def hold_out(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which training images are held out, the same in all runs, and the others."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(HOLD_OUT_SEED))
    return order[:count], order[count:]


@torch.no_grad()
def average(paths: list[Path], shares: list[float], root: str | Path, folder: Path, device: str = "cpu") -> dict:
    """Averages the weights of runs that come from one another, so that they lie in one valley of the loss (Wortsman et al., Model
    soups, 2022), sets batch statistics anew, and writes best.pt; -> the result on the hold-out."""
    if len(shares) != len(paths) or not all(share > 0 for share in shares):
        raise TrainingError(f"shares {shares}: expected {len(paths)} positive numbers, one for each run")
    states = [load(path) for path in paths]
    recipe = Recipe(copy.deepcopy(states[0]["recipe"]))
    for path, state in zip(paths, states):
        for table in ("network", "normalisation", "activation"):
            if state["recipe"][table] != recipe[table]:
                raise TrainingError(f"{path}: its {table} is {state['recipe'][table]}, expected {recipe[table]}, as of {paths[0]}")
    t, total = recipe["training"], sum(shares)
    images, labels, classes = data.load(root, recipe["network"]["dataset"], "train", recipe["network"].get("classes"))
    network = rebuild(recipe, classes, states[0], paths[0]).to(device, memory_format=torch.channels_last).eval()
    mean: dict[str, Tensor] = {}
    for path, state, share in zip(paths, states, shares):
        load_weights(network, state["network"], path)
        for name, value in network.state_dict().items():
            mean[name] = mean.get(name, 0) + share / total * value if value.is_floating_point() else value
    network.load_state_dict(mean)
    t["start"] = " + ".join(f"{share / total:.2f} {path.parent.resolve().name}" for path, share in zip(paths, shares))
    held, chosen = hold_out(labels, t["held_out"])
    normalisation = network.description["input"]["normalisation"]
    recalibrate(network, data.normalise(images[chosen[: t["calibration"]]], normalisation).to(device))
    result = evaluate(network, data.normalise(images[held], normalisation).to(device), labels[held].to(device)).summary()
    save_best(folder, network, recipe, states[0]["seed"], states[0]["epoch"], result)
    return result


def fast_bfloat16(device: torch.device) -> bool:
    """Processors without instructions for bfloat16 compute in it more slowly than in single precision, by up to fifty times."""
    return device.type != "cpu" or any(word in fused.processor().split() for word in ("avx512_bf16", "amx_bf16", "bf16"))


def load_weights(network: Network, state: dict[str, Tensor], path: Path) -> None:
    """All but the coefficients of activations must match: those may be learned on one side and fixed on the other."""
    mine = network.state_dict()
    for name in sorted(mine.keys() | state.keys()):
        if name.endswith(".num_batches_tracked"):
            continue  # a counter that nothing reads
        if name.endswith(".coefficients") and (name not in mine or name not in state):
            continue
        if name not in mine or name not in state or mine[name].shape != state[name].shape:
            found = "missing" if name not in state else f"of shape {list(state[name].shape)}"
            expected = "nothing of that name" if name not in mine else f"shape {list(mine[name].shape)}"
            raise TrainingError(f"{path}: weights of another network: {name} is {found}, expected {expected}")
    network.load_state_dict(state, strict=False)


def save_best(folder: Path, network: Network, recipe: Recipe, seed: int, epoch: int, held_out: dict) -> None:
    save(folder / "best.pt", {"network": network.state_dict(), "nodes": network.nodes, "name": network.description["name"], "recipe": recipe.values,
                              "seed": seed, "epoch": epoch, "held_out": held_out})


def save(path: Path, state: dict) -> None:
    """Complete or not at all: written beside, then renamed."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load(path: Path) -> dict:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise TrainingError(f"{path}: no such file; expected a best.pt or checkpoint.pt of a run") from error
    except Exception as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({type(error).__name__}); delete it to start again") from error
    if not isinstance(state, dict) or not {"network", "recipe", "seed", "epoch"} <= state.keys():
        raise TrainingError(f"{path}: holds no network of a run; expected its best.pt or checkpoint.pt")
    if not isinstance(state["recipe"], dict):
        raise TrainingError(f"{path}: its recipe is no table; expected a best.pt or checkpoint.pt of a run")
    return {**state, "recipe": renamed(state["recipe"])}
