"""Writes a trained network as the Rust side reads it: manifest.json, weights, test vectors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .activation import Activation
from .data import normalise
from .evaluate import OUT_OF_RANGE, Result
from .graph import INPUT, GraphError, Network, key
from .recipe import renamed

VERSION = 1
IMAGES, TRACED = 20, 2
SAMPLES = 16


def manifest(network: Network, weights: str, half: bool = False) -> tuple[dict, dict[str, Tensor]]:
    """-> the manifest without `ranges` and `training`, and the tensors it names."""
    tensors: dict[str, Tensor] = {}

    def store(name: str, value: Tensor) -> str:
        value = value.detach().clone().contiguous()
        if not value.isfinite().all():
            raise GraphError(f"tensor {name}: holds values that are not finite; this network cannot be exported")
        tensors[name] = value.half() if half and halved(value, name) else value.float()
        return name

    def convert(node: dict) -> dict:
        name, op = node["name"], node["op"]
        out = {"name": name, "op": op, **({"inputs": node["inputs"]} if op == "add" else {"input": node["input"]})}
        part = network.parts[key(name)] if op != "add" else None
        match op:
            case "convolution":
                out |= {"weight": store(f"{name}.weight", part.weight), "stride": part.stride[0],
                        "bias": None if part.bias is None else store(f"{name}.bias", part.bias)}
            case "batch_norm":
                out |= {"scale": store(f"{name}.scale", part.weight), "shift": store(f"{name}.shift", part.bias),
                        "mean": store(f"{name}.mean", part.running_mean), "variance": store(f"{name}.variance", part.running_var),
                        "epsilon": part.eps}
            case "polynomial":
                if not isinstance(part, Activation):
                    raise GraphError(f"node {name}: a ReLU cannot be exported; train with a quadratic activation")
                shared = part.fixed is not None
                out["coefficients"] = list(part.fixed) if shared else store(f"{name}.coefficients", part.coefficients)
            case "average_pool":
                out["kernel"] = node["kernel"]
            case "linear":
                out |= {"weight": store(f"{name}.weight", part.weight), "bias": store(f"{name}.bias", part.bias)}
        return out

    nodes = [convert(node) for node in network.nodes]
    head = {"format": "umbra-network", "version": VERSION, **network.description, "weights": weights}
    return {**head, "nodes": nodes, "output": network.output}, tensors


def export_baseline(network: Network, folder: Path, result: Result, training: dict, half: bool = False) -> None:
    """A ReLU network, which nothing runs encrypted: its accuracy, and its state to train on from."""
    file = f"{network.description['name'].lower()}.safetensors"
    state = {name: value.contiguous() for name, value in network.state_dict().items() if value.is_floating_point()}
    if half:
        state = {name: value.half() if halved(value, name) else value for name, value in state.items()}
    text = {"name": network.description["name"], "dataset": network.description["dataset"],
            "accuracy_plain": round(result.accuracy, 2), "weights": file, **training}
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / file, lambda path: save_file(state, path))
    write(folder / "baseline.json", lambda path: path.write_text(json.dumps(text, indent=1) + "\n"))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The state of an exported network, as `Network.load_state_dict` takes it: the way back from the zoo to training."""
    try:
        if (folder / "baseline.json").exists():
            file = json.loads((folder / "baseline.json").read_text())["weights"]
            return {name: value.float() for name, value in load_file(folder / Path(file).name).items()}
        manifest = json.loads((folder / "manifest.json").read_text())
        tensors = load_file(folder / Path(manifest["weights"]).name)
        fields = {"weight": "weight", "bias": "bias", "scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var",
                  "coefficients": "coefficients"}
        return {f"parts.{key(node['name'])}.{own}": tensors[node[field]].float()
                for node in manifest["nodes"] for field, own in fields.items() if isinstance(node.get(field), str)}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise GraphError(f"{folder}: no exported network ({type(error).__name__}: {error}); expected manifest.json, or baseline.json, and its weights") from error


def read_baseline(folder: Path) -> dict:
    """An exported ReLU network as a best.pt has it: `recipe`, `network`, and `name` and `nodes` of one's own."""
    try:
        text = json.loads((folder / "baseline.json").read_text())
        settings = renamed(text["settings"])
        settings["network"], settings["normalisation"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GraphError(f"{folder}: no ReLU network to learn from ({type(error).__name__}: {error}); expected a best.pt, or a folder with "
                         "a baseline.json that says network and normalisation") from error
    return {"recipe": settings, "network": read_weights(folder), **{key: text[key] for key in ("name", "nodes") if key in text}}


@torch.no_grad()
def vectors(network: Network, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Test vectors over the first images given: everything a reader needs to compare itself with PyTorch in float32."""
    network.eval()
    images, labels = images[:IMAGES], labels[:IMAGES]
    inputs, record = normalise(images, network.description[INPUT]["normalisation"]), {}
    logits, _ = network.run(inputs, record)
    traced = {f"activation.{name}": value[:TRACED] for name, value in record.items()}
    return {k: v.contiguous() for k, v in {"images": images, "labels": labels, "inputs": inputs, "logits": logits, **traced}.items()}


@torch.no_grad()
def samples(network: Network, images: Tensor) -> Tensor:
    """The first training images that stay in range: the compiler measures on them what rounding does to the network."""
    network.eval()
    images, record = images[: 2 * SAMPLES], {}
    network.run(normalise(images, network.description[INPUT]["normalisation"]), record)
    worst = torch.stack([value.abs().amax((1, 2, 3)) for value in record.values()]).amax(0)
    return images[worst <= OUT_OF_RANGE][:SAMPLES].contiguous()


def halved(value: Tensor, name: str) -> bool:
    """Whether half precision is for it: matrices, of which there is much. Coefficients may be computed from what is not rounded."""
    return value.ndim > 1 and not name.endswith(".coefficients")


@torch.no_grad()
def round_to_half(network: Network) -> None:
    """Rounds what `export` stores in half precision, so that accuracy, ranges and vectors are of the weights that are stored."""
    for name, parameter in network.named_parameters():
        if halved(parameter, name):
            parameter.copy_(parameter.half())


def export(network: Network, folder: Path, images: Tensor, labels: Tensor, result: Result, training: dict, half: bool, sample: Tensor) -> None:
    """`images`, `labels`: the test set, in order; `result`: the evaluation on all of it; `sample`: training images. `half`: matrices
    are stored in half precision, which they must have been rounded to (`round_to_half`)."""
    stem = network.description["name"].lower()
    head, tensors = manifest(network, f"{stem}.safetensors", half)
    if result.ranges:
        head["ranges"] = {"logits": result.logits, "activations": result.ranges}
        training = {**training, "accuracy_plain": round(result.accuracy, 2), "out_of_range_images": result.out_of_range,
                    "worst_activation": float(f"{result.worst:.6g}") if result.worst < float("inf") else None, "test_images": len(labels)}
    head["training"] = training
    head["samples"], tensors["samples"] = "samples", samples(network, sample)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{stem}.safetensors", lambda path: save_file(tensors, path))
    write(folder / f"{stem}.vectors.safetensors", lambda path: save_file(vectors(network, images, labels), path))
    text = json.dumps(head, indent=1, allow_nan=False) + "\n"
    write(folder / "manifest.json", lambda path: path.write_text(text))


def write(path: Path, writer) -> None:
    temporary = path.with_name(path.name + ".tmp")
    writer(temporary)
    temporary.chmod(0o644)
    os.replace(temporary, path)
