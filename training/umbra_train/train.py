"""One training run: recipe + seed -> checkpoints, a log, and the averaged weights chosen on the hold-out.

Progress (0..1) drives every schedule. It is counted in epochs, or, with a time budget, in wall-clock time, so that
a run on a busy machine still ends with its learning rate at zero.
"""

from __future__ import annotations

import copy
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from . import data
from .evaluate import evaluate
from .graph import Network
from .recipe import Recipe, build


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


class Run:
    """Everything a run needs to continue: see `state` for what a checkpoint holds."""

    def __init__(self, recipe: Recipe, root: str, folder: Path, seed: int, limit: int | None = None, threads: int | None = None):
        torch.manual_seed(seed)
        if threads:
            torch.set_num_threads(threads)
        self.recipe, self.folder, self.seed = recipe, folder, seed
        folder.mkdir(parents=True, exist_ok=True)
        pictures, labels, classes = data.load(root, recipe["network"]["dataset"], "train")
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(20))
        held = recipe["training"]["held_out"]
        self.held, chosen = order[:held], order[held:][:limit]
        self.network = build(recipe, classes).to(memory_format=torch.channels_last)
        normalisation = self.network.description["input"]["normalisation"]
        dtype = torch.bfloat16 if recipe["training"]["bfloat16"] else torch.float32
        inputs = torch.cat([data.normalise(part, normalisation).to(dtype) for part in pictures[chosen].split(5000)])
        generator = torch.Generator().manual_seed(seed)
        self.batches = data.Batches(inputs, labels[chosen], recipe["training"]["batch"], generator)
        self.held_inputs, self.held_labels = data.normalise(pictures[self.held], normalisation), labels[self.held]
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        t = recipe["training"]
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": t["weight_decay"]}, {"params": plain, "weight_decay": 0.0}],
            lr=t["learning_rate"], momentum=t["momentum"], nesterov=t["nesterov"])
        self.average = Average(self.network, t["average_decay"])
        self.epoch, self.best, self.started = 0, None, time.time()
        self.loss = nn.CrossEntropyLoss(label_smoothing=t["label_smoothing"])
        self.step = torch.compile(self.forward) if t["compile"] else self.forward

    def forward(self, x: Tensor, y: Tensor, zeta: Tensor, cross_entropy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.recipe["training"]["bfloat16"]):
            logits, excesses = self.network.run(x)
        task = self.loss(logits.float(), y)
        penalty = torch.stack(excesses).mean() if excesses else torch.zeros(())
        return cross_entropy * task + zeta * penalty, penalty, (logits.argmax(1) == y).float().mean()

    def progress(self, step: int) -> float:
        minutes = self.recipe["training"].get("minutes")
        if minutes:
            return min(1.0, (time.time() - self.started) / (60 * minutes))
        return min(1.0, (self.epoch + step / len(self.batches)) / self.recipe["training"]["epochs"])

    def train(self) -> None:
        """Trains to the end of the budget; a checkpoint an epoch."""
        while self.progress(0) < 1.0:
            phase = self.recipe.phase(self.progress(0))
            phase.apply(self.network)
            began, totals, steps = time.time(), torch.zeros(3), 0
            for x, y in self.batches.epoch(self.epoch):
                progress = self.progress(steps)
                if progress >= 1.0:
                    break
                for group in self.optimizer.param_groups:
                    group["lr"] = self.recipe.learning_rate(progress)
                zeta, cross_entropy = self.recipe.penalty(self.epoch)
                self.network.train()
                self.optimizer.zero_grad()
                loss, penalty, right = self.step(x, y, torch.tensor(zeta), torch.tensor(cross_entropy))
                if not math.isfinite(loss.item()):
                    raise TrainingError(f"loss is {loss.item()} in epoch {self.epoch}, step {steps}: stopped; the last good checkpoint is {self.checkpoint}. "
                                        "Lower learning_rate or raise zeta.")
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe["training"]["gradient_norm"])
                self.optimizer.step()
                self.average.update(self.network)
                steps += 1
                totals += torch.stack([loss.detach(), penalty.detach(), right])
                if sys.stderr.isatty():
                    print(f"\repoch {self.epoch} {steps}/{len(self.batches)} {100 * totals[2] / steps:.1f} %", end="", file=sys.stderr)
            if not steps:
                break
            self.epoch += 1
            self.finish_epoch(phase, time.time() - began, steps, totals / steps)

    def finish_epoch(self, phase, seconds: float, steps: int, means: Tensor) -> None:
        save(self.checkpoint, self.state())
        entry = {"epoch": self.epoch, "progress": round(self.progress(0), 4), "phase": phase.name, "seconds": round(seconds, 1), "steps": steps,
                 "learning_rate": round(self.optimizer.param_groups[0]["lr"], 6), "loss": round(means[0].item(), 4),
                 "penalty": round(means[1].item(), 4), "training_accuracy": round(100 * means[2].item(), 2)}
        ended = self.progress(0) >= 1.0
        if ended or self.epoch % self.recipe["training"]["evaluate_every"] == 0:
            entry |= self.evaluate()
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), flush=True)

    def evaluate(self) -> dict:
        """The averaged weights on the hold-out; keeps them if they are the best so far: fewest escaping, then accuracy."""
        result = evaluate(self.average.network, self.held_inputs, self.held_labels)
        score = (-result.escaping, result.accuracy)
        if self.best is None or score >= tuple(self.best):
            self.best = score
            save(self.folder / "best.pt", {"network": self.average.network.state_dict(), "recipe": self.recipe.values, "seed": self.seed,
                                           "epoch": self.epoch, "held_out": result.summary()})
        return result.summary()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def state(self) -> dict:
        return {"recipe": self.recipe.values, "seed": self.seed, "epoch": self.epoch, "best": self.best, "started": self.started,
                "network": self.network.state_dict(), "average": self.average.network.state_dict(), "average_steps": self.average.steps,
                "optimizer": self.optimizer.state_dict(), "generator": self.batches.generator.get_state(), "flip": self.batches.flip}

    def initialise(self, path: Path) -> None:
        """Takes weights and batch statistics from a best.pt of the same architecture."""
        state = load(path)["network"]
        for network in (self.network, self.average.network):
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                raise TrainingError(f"{path}: weights of another network ({str(error).splitlines()[-1].strip()})") from error

    def resume(self) -> None:
        state = load(self.checkpoint)
        if state["recipe"]["network"] != self.recipe["network"] or state["seed"] != self.seed:
            raise TrainingError(f"{self.checkpoint} belongs to another network or seed ({state['recipe']['network']}, seed {state['seed']}); use another --out")
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.generator.set_state(state["generator"])
        self.average.steps, self.batches.flip = state["average_steps"], state["flip"]
        self.epoch, self.best, self.started = state["epoch"], state["best"], state["started"]


def save(path: Path, state: dict) -> None:
    """Complete or not at all: written beside, then renamed."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load(path: Path) -> dict:
    try:
        return torch.load(path, weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"{path}: no such checkpoint") from error
    except Exception as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({type(error).__name__}); delete it to start again") from error
