"""Recipes: TOML files that say everything about a run but its seed and data folder."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from . import adopt, networks
from .graph import Network

TABLES = ("network", "normalisation", "augmentation", "activation", "penalty", "training", "phases")
FOLDER = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """The recipe is missing or malformed."""


@dataclass
class Phase:
    """From progress `start` on: what the activations do while training, the range 1 +- gain of factors that pictures are stretched by, and
    the side in pixels that they are scaled to (None: as they are)."""

    name: str
    start: float
    range: float | None = None
    clamp: float | None = None
    noise: float = 0.0
    thin: bool = False
    gain: float = 0.0
    side: int | None = None

    def __post_init__(self) -> None:
        if self.side is not None and (type(self.side) is not int or self.side < 1):
            raise RecipeError(f"phase {self.name!r}: side = {self.side}: expected a positive whole number of pixels; leave it out for pictures as they are")

    def apply(self, network: Network) -> None:
        network.thin = self.thin
        for activation in network.activations():
            activation.range, activation.clamp, activation.noise = self.range, self.clamp, self.noise


class Recipe:
    def __init__(self, values: dict):
        missing = [table for table in TABLES if table not in values]
        if missing:
            raise RecipeError(f"missing table {', '.join(missing)}")
        self.values = values
        self.phases = [Phase(**phase) for phase in values["phases"]]
        if not self.phases or self.phases[0].start != 0.0:
            raise RecipeError("the first phase must start at 0.0")

    def __getitem__(self, table: str) -> dict:
        return self.values[table]

    def change(self, text: str) -> None:
        """`table.key=value`, the value in TOML; `phases.key=value` in all phases."""
        try:
            target, value = text.split("=", 1)
            table, key = target.split(".")
            for part in self.values["phases"] if table == "phases" else [self.values[table]]:
                part[key] = tomllib.loads(f"v = {value}")["v"]
            self.phases = [Phase(**phase) for phase in self.values["phases"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{text!r}: expected table.key=value with the value in TOML, of a table in the recipe") from error

    def phase(self, progress: float) -> Phase:
        return [phase for phase in self.phases if phase.start <= progress][-1]

    def learning_rate(self, progress: float) -> float:
        """Linear warm-up, then half a cosine to zero."""
        t = self["training"]
        warm = t["warm_up"]
        if progress < warm:
            return t["learning_rate"] * max(progress / warm, 0.05)
        return t["learning_rate"] * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))

    def penalty(self, epoch: int) -> tuple[float, float]:
        """-> zeta, weight of the cross-entropy, in that epoch (from 0): the ramp of the recipe, then the full penalty."""
        p = self["penalty"]
        if epoch < len(p["ramp"]):
            return p["zeta"] * p["ramp"][epoch], 0.0 if epoch < p["epochs_without_task"] else 1.0
        return p["zeta"], 1.0


def names() -> str:
    """The recipes here."""
    return ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(name: str) -> Recipe:
    """`name` is one of the recipes here, or a path ending in .toml."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return Recipe({"name": path.stem, **tomllib.loads(path.read_text())})
    except FileNotFoundError as error:
        raise RecipeError(f"recipe {name!r}: no such file {path}; use one of {names()}, or a path ending in .toml") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecipeError, TypeError) as error:
        raise RecipeError(f"{path}: {error}") from error


def build(recipe: Recipe, classes: list[str]) -> Network:
    """The recipe's network: `network.name` of the zoo, or `network.module`, a PyTorch module of one's own."""
    n, clip = recipe["network"], recipe["normalisation"].get("clip")
    if clip is not None and not 0 < clip < math.inf:
        raise RecipeError(f"normalisation.clip = {clip}: expected a positive number; leave it out for no bound")
    if "module" in n:
        return adopt.load(n["module"], classes=classes, dataset=n["dataset"], geometry=n["geometry"],
                          normalisation=recipe["normalisation"], activation=recipe["activation"])
    return networks.build(n["name"], classes=classes, dataset=n["dataset"], geometry=n["geometry"], norm=n["norm"],
                          pool=n.get("pool", "global"), normalisation=recipe["normalisation"], activation=recipe["activation"])
