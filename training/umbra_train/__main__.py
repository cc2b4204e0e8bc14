"""The command line: `python -m umbra_train --help`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from . import data, jobs, table, train
from . import recipe as recipes
from .evaluate import evaluate
from .export import export, export_baseline, round_to_half, write
from .graph import GraphError, Network


CLIP = "bound of the normalised inputs, in place of the one trained with: a smaller one keeps activations of more images in range"


def main(arguments: list[str] | None = None) -> int:
    return attempt(parser().parse_args(arguments))


def attempt(options: argparse.Namespace) -> int:
    """-> exit status."""
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        options.action(options)
    except (data.DataError, GraphError, recipes.RecipeError, train.TrainingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last complete epoch", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="umbra_train", description="Train quadratic networks and export them for encrypted inference.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action, help: str, *, data: bool = True) -> argparse.ArgumentParser:
        p = commands.add_parser(name, help=help, description=help)
        p.set_defaults(action=action)
        p.add_argument("--threads", type=positive, help="CPU threads (one is best on a busy machine)")
        if data:
            p.add_argument("--data", default="data", help="folder that holds cifar-10-batches-bin/ and cifar-100-binary/ (default: data)")
            p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        return p

    def training(p: argparse.ArgumentParser) -> None:
        p.add_argument("--minutes", type=float, help="budget in minutes of each run, instead of the recipe's epochs")
        p.add_argument("--jobs", type=positive, default=1, help="how many networks to train at once (default: 1)")
        p.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change one value of the recipe")

    p = command("train", run_train, "Train by a recipe; resumes if --out holds a checkpoint.")
    p.add_argument("--recipe", default="umbra", help=f"{recipes.names()}, or a .toml file (default: umbra)")
    p.add_argument("--out", required=True, type=Path, help="folder for the log and the checkpoints")
    p.add_argument("--seed", type=int, nargs="+", default=[1], help="several seeds train each in OUT/seed<n>, one after the other or --jobs at once")
    p.add_argument("--init", type=Path, help="start from the weights of this best.pt (of either padding, or a ReLU network's) or of this folder of the zoo")
    p.add_argument("--mirror", action="store_true", help="with --init: start from their mirror image, for another member of an ensemble")
    p.add_argument("--limit", type=positive, help="use only so many training images")
    training(p)

    p = command("average", run_average, "Average the weights of runs that started from one another; says how the result does on the hold-out.")
    p.add_argument("best", type=Path, nargs="+", help="best.pt of each run")
    p.add_argument("--share", type=float, nargs="+", help="how much each counts (default: all the same)")
    p.add_argument("--out", required=True, type=Path, help="folder for the averaged best.pt")

    p = command("eval", run_eval, "Evaluate a run's best weights on all test images.")
    p.add_argument("best", type=Path, help="best.pt of a run")
    p.add_argument("--noise", type=float, default=0.0, help="standard deviation of noise on every activation input")
    p.add_argument("--clip", type=float, help=CLIP)

    p = command("export", run_export, "Evaluate a run's best weights and write manifest, weights and test vectors.")
    p.add_argument("best", type=Path, help="best.pt of a run")
    p.add_argument("--out", required=True, type=Path, help="folder of the network, such as zoo/r20-16-cifar10-cyclic")
    p.add_argument("--half", action="store_true", help="store matrices in half precision")
    p.add_argument("--clip", type=float, help=CLIP)

    p = command("zoo", run_zoo, "Train, export and tabulate the zoo in order of worth; what is there already is kept.")
    p.add_argument("--zoo", type=Path, default=Path("zoo"))
    p.add_argument("--runs", type=Path, default=Path("runs"))
    p.add_argument("--only", nargs="+", metavar="FOLDER", help="these networks of the zoo only, those that are for a GPU too")
    training(p)

    p = command("table", run_table, "Write zoo/README.md from the manifests.", data=False)
    p.add_argument("--zoo", type=Path, default=Path("zoo"))
    return top


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: expected at least 1")
    return value


def run_train(options) -> None:
    if options.mirror and not options.init:
        raise recipes.RecipeError("--mirror: of which network? --init must name it")
    folders = {seed: options.out if len(options.seed) == 1 else options.out / f"seed{seed}" for seed in options.seed}
    if options.jobs > 1 and len(folders) > 1:
        jobs.run([jobs.Job(out.name, changed(options, seed=[seed], out=out), out / "output.txt") for seed, out in folders.items()], options.jobs, attempt)
        return
    for seed, out in folders.items():
        train_one(options, recipes.read(options.recipe), options.set, out, seed, options.init, options.mirror, options.limit)


def changed(options: argparse.Namespace, **values) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **values})


def train_one(options, recipe: recipes.Recipe, changes: list[str], out: Path, seed: int, init: Path | None = None, mirror: bool = False,
              limit: int | None = None) -> None:
    for change in changes:
        recipe.change(change)
    if options.minutes is not None:
        recipe.change(f"training.minutes={options.minutes}")
    make_folder(out)
    with train.alone(out):
        run = train.Run(recipe, options.data, out, seed, options.device, limit)
        if run.checkpoint.exists():
            run.resume()
        elif init:
            run.initialise(init, mirror)
        run.train()


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise train.TrainingError(f"{out}: {error.strerror}; expected a folder that can be written") from error


def best_network(options, path: Path, clip: float | None) -> tuple[Network, dict, torch.Tensor, torch.Tensor]:
    """-> network, the run's state, test images and labels."""
    state = train.load(path)
    recipe = recipes.Recipe(state["recipe"])
    if clip is not None:
        recipe.change(f"normalisation.clip={clip}")
    images, labels, classes = data.load(options.data, recipe["network"]["dataset"], "test", recipe["network"].get("classes"))
    network = recipes.rebuild(recipe, classes, state, path).to(options.device, memory_format=torch.channels_last)
    train.load_weights(network, state["network"], path)
    return network.eval(), state, images, labels


def test(options, network: Network, images: torch.Tensor, labels: torch.Tensor, noise: float = 0.0):
    inputs = data.normalise(images, network.description["input"]["normalisation"])
    return evaluate(network, inputs.to(options.device), labels.to(options.device), noise=noise)


def run_average(options) -> None:
    shares = options.share or [1.0] * len(options.best)
    make_folder(options.out)
    print(json.dumps(train.average(options.best, shares, options.data, options.out, options.device)))


def run_eval(options) -> None:
    network, _, images, labels = best_network(options, options.best, options.clip)
    print(json.dumps(test(options, network, images, labels, options.noise).summary()))


def run_export(options) -> None:
    export_best(options, options.best, options.out, options.half, options.clip)


def export_best(options, best: Path, out: Path, half: bool = False, clip: float | None = None) -> None:
    network, state, images, labels = best_network(options, best, clip)
    if half:
        round_to_half(network)
    result = test(options, network, images, labels)
    recipe = state["recipe"]
    seen, seen_labels, _ = data.load(options.data, recipe["network"]["dataset"], "train", recipe["network"].get("classes"))
    # As it is written: rounded, and with this bound of the inputs.
    held, _ = train.hold_out(seen_labels, recipe["training"]["held_out"])
    held_out = test(options, network, seen[held], seen_labels[held]).summary()
    training = {"recipe": recipe.get("name", "custom"), "seed": state["seed"], "epochs": state["epoch"], "held_out": held_out,
                "settings": {table: recipe[table] for table in ("augmentation", "activation", "penalty", "training", "phases")}}
    if "distillation" in recipe:
        # The run it was, not where it was.
        teacher = Path(recipe["distillation"]["teacher"])
        training["settings"]["distillation"] = {**recipe["distillation"], "teacher": (teacher.parent if teacher.suffix else teacher).name}
    if recipe["activation"]["kind"] == "relu":
        training["settings"] |= {table: recipe[table] for table in ("network", "normalisation")}  # what a manifest says elsewhere
        if "module" in recipe["network"]:
            training["nodes"] = network.nodes
        export_baseline(network.cpu(), out, result, training, half)
    else:
        export(network.cpu(), out, images, labels, result, training, half, seen)
    print(json.dumps({"network": str(out), **result.summary()}))


def run_zoo(options) -> None:
    known = [entry.folder for entry in table.PLAN]
    for name in options.only or []:
        if name not in known:
            raise recipes.RecipeError(f"--only {name}: not in the zoo; use one of {', '.join(known)}")
    rest = [entry for entry in table.PLAN if (not options.only or entry.folder in options.only)
            and not any((options.zoo / entry.folder / file).exists() for file in ("manifest.json", "baseline.json"))]
    if options.device == "cpu" and not options.only:
        large = [entry.folder for entry in rest if entry.gpu]
        if large:
            print(f"left out, as each takes a CPU many hours (--only trains them all the same): {', '.join(large)}")
        rest = [entry for entry in rest if not entry.gpu]
    make_folder(options.zoo)
    run_table(options)  # a zoo that cannot be read is no place for hours of work
    try:
        if options.jobs > 1 and len(rest) > 1:
            folders = {entry.folder for entry in rest}
            jobs.run([jobs.Job(entry.folder, changed(options, action=train_entries, only=[entry.folder]), options.runs / entry.folder / "output.txt",
                               frozenset(folders & {entry.start, entry.teacher})) for entry in rest], options.jobs, attempt)
        else:
            train_entries(changed(options, only=[entry.folder for entry in rest]))
    finally:
        run_table(options)


def train_entries(options) -> None:
    """Those of `only`."""
    for entry in [entry for entry in table.PLAN if entry.folder in options.only]:
        out = options.zoo / entry.folder
        changes = [*entry.changes, *options.set]
        if entry.teacher:
            changes.insert(0, f"distillation.teacher={json.dumps(str(options.zoo / entry.teacher))}")
        start = options.zoo / entry.start if entry.start else None
        train_one(options, recipes.read(entry.recipe), changes, options.runs / entry.folder, entry.seed, start, entry.mirror)
        export_best(options, options.runs / entry.folder / "best.pt", out, True, entry.clip)


def run_table(options) -> None:
    if not options.zoo.is_dir():
        raise recipes.RecipeError(f"{options.zoo}: no such folder; --zoo must name the zoo")
    write(options.zoo / "README.md", lambda path: path.write_text(table.table(options.zoo)))


if __name__ == "__main__":
    from umbra_train.__main__ import main as by_name  # what jobs in processes of their own find again; they know no __main__ of a package

    sys.exit(by_name())
