"""python -m umbra_train: see `--help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import recipe as recipes
from . import train
from .data import DataError
from .graph import GraphError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="umbra_train", description="Train quadratic networks and export them for encrypted inference.")
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("train", help="train by a recipe; resumes if --out holds a checkpoint")
    p.add_argument("--recipe", default="umbra")
    p.add_argument("--data", default="data", help="folder that holds cifar-10-batches-bin/")
    p.add_argument("--out", required=True, type=Path)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--init", type=Path, help="start from the weights of this best.pt")
    p.add_argument("--minutes", type=float, help="wall-clock budget instead of the recipe's epochs")
    p.add_argument("--limit", type=int, help="use only so many training pictures")
    p.add_argument("--threads", type=int)
    p.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change one value of the recipe")
    p.set_defaults(action=run_train)
    options = parser.parse_args(arguments)
    try:
        return options.action(options) or 0
    except (DataError, GraphError, recipes.RecipeError, train.TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run_train(options) -> None:
    recipe = recipes.read(options.recipe)
    for change in options.set:
        recipe.change(change)
    if options.minutes:
        recipe["training"]["minutes"] = options.minutes
    run = train.Run(recipe, options.data, options.out, options.seed, options.limit, options.threads)
    if run.checkpoint.exists():
        run.resume()
    elif options.init:
        run.initialise(options.init)
    run.train()


if __name__ == "__main__":
    sys.exit(main())
