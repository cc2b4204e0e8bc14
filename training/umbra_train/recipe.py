"""Recipes: TOML files that say everything about a run but its seed and data folder."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import adopt, networks
from .graph import Network

FOLDER = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """The recipe is missing or malformed."""


@dataclass(frozen=True)
class Value:
    """What a key of a recipe may hold. A `needed` one is in every recipe."""

    fits: Callable[[object], bool]
    expected: str
    needed: bool = True


def number(least: float, most: float = math.inf, *, whole: bool = False, above: bool = False, below: bool = False, needed: bool = True) -> Value:
    """From `least` to `most`; `above`, `below`: those themselves excluded."""
    kinds = (int,) if whole else (int, float)

    def fits(v: object) -> bool:
        return type(v) in kinds and (least < v if above else least <= v) and (v < most if below else v <= most) and v < math.inf

    parts = [f"{'above' if above else 'at least'} {least}", *([f"{'below' if below else 'at most'} {most}"] if most < math.inf else [])]
    return Value(fits, f"a {'whole ' if whole else ''}number, {' and '.join(parts)}", needed)


def among(*values: str, needed: bool = True) -> Value:
    return Value(lambda v: isinstance(v, str) and v in values, f"one of {', '.join(values)}", needed)


def several(kind: type, count: int | None = None, needed: bool = False) -> Value:
    def fits(v: object) -> bool:
        return isinstance(v, list | tuple) and all(isinstance(part, str if kind is str else int | float) for part in v) and count in (None, len(v))

    return Value(fits, f"a list of {count or 'some'} {'names' if kind is str else 'numbers'}", needed)


TEXT, OPTIONAL_TEXT = (Value(lambda v: isinstance(v, str), "a text", needed) for needed in (True, False))
FLAG, OPTIONAL_FLAG = (Value(lambda v: isinstance(v, bool), "true or false", needed) for needed in (True, False))

KEYS: dict[str, dict[str, Value]] = {
    "network": {
        "name": OPTIONAL_TEXT, "module": OPTIONAL_TEXT, "dataset": TEXT, "classes": several(str), "padding": among("circular", "zero"),
        "norm": among("input", "branch", "none", needed=False),
        "pool": Value(lambda v: v == "global" or type(v) is int and v > 0, '"global" or a side in pixels', False),
    },
    "normalisation": {
        "kind": among("per_image", "per_channel"), "min_std": number(0, above=True, needed=False), "clip": number(0, above=True, needed=False),
        "mean": several(float, 3), "std": several(float, 3),
    },
    "augmentation": {"padding": among("reflect", "black"), "flip": among("alternate", "random"), "cutout": number(0, 32, whole=True, needed=False)},
    "activation": {
        "kind": among("relu", "relu-fit", "fixed", "square-plus", "learned", "hermite"), "bound": number(0, above=True, needed=False),
        "bits": number(0, 52, whole=True, needed=False), "coefficients": several(float, 3), "initial_scale": number(0, above=True, needed=False),
    },
    "penalty": {"zeta": number(0), "ramp": several(float, needed=True), "epochs_without_task": number(0, whole=True)},
    "training": {
        "epochs": number(0, above=True), "minutes": number(0, above=True, needed=False), "batch": number(1, whole=True), "learning_rate": number(0, above=True),
        "warm_up": number(0, 1, below=True), "momentum": number(0, 1, below=True), "nesterov": FLAG, "weight_decay": number(0),
        "weight_decay_vectors": number(0), "label_smoothing": number(0, 1, below=True), "gradient_norm": number(0), "average_decay": number(0, 1, below=True),
        "held_out": number(1, whole=True), "calibration": number(1, whole=True), "evaluate_every": number(1, whole=True), "bfloat16": FLAG, "compile": FLAG,
        "start": OPTIONAL_TEXT,
    },
    "phases": {
        "name": TEXT, "start": number(0, 1), "range": number(0, above=True, needed=False), "clamp": number(0, above=True, needed=False),
        "noise": number(0, needed=False), "thin": OPTIONAL_FLAG, "gain": number(0, 1, below=True, needed=False), "side": number(1, whole=True, needed=False),
    },
    "distillation": {"teacher": TEXT, "temperature": number(0, above=True), "weight": number(0, 1)},
}
"""All tables of a recipe (`phases` are several), and `name`, the file's."""

RENAMED: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("network", "geometry"): ("padding", {"cyclic": "circular", "textbook": "zero"}),
    ("normalisation", "kind"): ("kind", {"per_picture": "per_image"}),
}
"""What keys and values were called until version 0.1, in recipes, checkpoints and baselines: the key of today, and its values."""

BY_KIND = {"normalisation": {"per_image": ("min_std",), "per_channel": ("mean", "std")},
           "activation": {"relu-fit": ("bound",), "learned": ("bound",), "fixed": ("coefficients",)}}
"""Keys that a kind cannot do without."""


@dataclass
class Phase:
    """From progress `start` on: what the activations do while training, the range 1 +- gain of factors that images are stretched by, and
    the side in pixels that they are scaled to (None: as they are)."""

    name: str
    start: float
    range: float | None = None
    clamp: float | None = None
    noise: float = 0.0
    thin: bool = False
    gain: float = 0.0
    side: int | None = None

    def apply(self, network: Network) -> None:
        network.thin = self.thin
        for activation in network.activations():
            activation.range, activation.clamp, activation.noise = self.range, self.clamp, self.noise


class Recipe:
    def __init__(self, values: dict):
        values = renamed(values)
        missing = [table for table in KEYS if table not in values and table != "distillation"]
        if missing:
            raise RecipeError(f"missing table {', '.join(missing)}")
        unknown = [table for table in values if table not in KEYS and table != "name"]
        if unknown:
            raise RecipeError(f"unknown table {unknown[0]}; a recipe has {', '.join(KEYS)}")
        self.values = values
        for table in KEYS:
            for part in self.parts(table):
                for key, value in part.items():
                    check(table, key, value)
                absent = [key for key, known in KEYS[table].items() if known.needed and key not in part]
                if absent:
                    raise RecipeError(f"{table}.{absent[0]} is missing; expected {KEYS[table][absent[0]].expected}")

    def __getitem__(self, table: str) -> dict:
        return self.values[table]

    def parts(self, table: str) -> list[dict]:
        """The tables of that name: each phase, and one or none of the others."""
        found = self.values.get(table)
        if table != "phases":
            found = [found] if table in self.values else []
        if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
            raise RecipeError(f"{table}: expected {'[[phases]]' if table == 'phases' else f'[{table}]'}, a table")
        return found

    def change(self, text: str) -> None:
        """`table.key=value`, the value in TOML; `phases.key=value` in all phases."""
        try:
            target, value = text.split("=", 1)
            table, key = target.strip().split(".")
            value, parts = tomllib.loads(f"v = {value}")["v"], self.parts(table)
        except ValueError as error:
            raise RecipeError(f"{text!r}: expected table.key=value with the value in TOML") from error
        if not parts:
            raise RecipeError(f"{text!r}: the recipe has no table {table}")
        key, value = today(table, key, value)
        check(table, key, value)
        for part in parts:
            part[key] = value

    @property
    def phases(self) -> list[Phase]:
        return [Phase(**phase) for phase in self["phases"]]

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


def renamed(values: dict) -> dict:
    """A recipe's values under the names of today. A key that is there under both names is left, and is no key."""
    def part(table: str, old: dict) -> dict:
        pairs = ((key, *today(table, key, value)) for key, value in old.items())
        return {(key if key != new and new in old else new): value for key, new, value in pairs}

    return {table: part(table, old) if isinstance(old, dict) else old for table, old in values.items()}


def today(table: str, key: str, value: object) -> tuple[str, object]:
    """-> key and value as they are called today."""
    key, values = RENAMED.get((table, key), (key, {}))
    return key, values.get(value, value) if isinstance(value, str) else value


def check(table: str, key: str, value: object) -> None:
    if key not in KEYS[table]:
        raise RecipeError(f"{table}.{key}: no such key; {table} has {', '.join(KEYS[table])}")
    if not KEYS[table][key].fits(value):
        raise RecipeError(f"{table}.{key} = {value}: expected {KEYS[table][key].expected}")


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
    complete(recipe)
    n = recipe["network"]
    if "module" in n:
        return adopt.load(n["module"], classes=classes, dataset=n["dataset"], padding=n["padding"],
                          normalisation=recipe["normalisation"], activation=recipe["activation"])
    return networks.build(n["name"], classes=classes, dataset=n["dataset"], padding=n["padding"], norm=n.get("norm", "input"),
                          pool=n.get("pool", "global"), normalisation=recipe["normalisation"], activation=recipe["activation"])


def rebuild(recipe: Recipe, classes: list[str], state: dict, path: Path) -> Network:
    """The network whose weights `state`, a run's, holds. One of one's own is built from its nodes: a file of weights runs no code."""
    if "module" not in recipe["network"]:
        return build(recipe, classes)
    complete(recipe)
    if "nodes" not in state:
        raise RecipeError(f"{path}: holds no nodes of {recipe['network']['module']}; expected a best.pt of a run of this version")
    return Network(state["nodes"], networks.describe(state["name"], classes=classes, dataset=recipe["network"]["dataset"],
                                                     padding=recipe["network"]["padding"], normalisation=recipe["normalisation"]),
                   recipe["activation"])


def complete(recipe: Recipe) -> None:
    """What one value needs of others."""
    starts = [phase["start"] for phase in recipe["phases"]]
    if not starts or starts[0] != 0.0 or any(a >= b for a, b in zip(starts, starts[1:])):
        raise RecipeError(f"phases start at {starts}: expected the first at 0.0, each other one after the one before it")
    if "name" not in recipe["network"] and "module" not in recipe["network"]:
        raise RecipeError("network.name is missing; expected one of the zoo's, or network.module")
    if recipe["training"]["nesterov"] and not recipe["training"]["momentum"]:
        raise RecipeError("training.nesterov needs training.momentum above 0")
    for table, kinds in BY_KIND.items():
        for key in kinds.get(recipe[table]["kind"], ()):
            if key not in recipe[table]:
                raise RecipeError(f'{table}.{key} is missing, which kind = "{recipe[table]["kind"]}" needs; expected {KEYS[table][key].expected}')
