"""CIFAR in its official binary formats, normalisation, and augmentation of whole batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class DataError(ValueError):
    """A data file is missing or is not what its name says; the message says what to do."""


FORMATS = {
    "CIFAR-10": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"], "batches.meta.txt", 1),
    "CIFAR-100": ("cifar-100-binary", ["train.bin"], ["test.bin"], "fine_label_names.txt", 2),
}


def load(root: str | Path, dataset: str, split: str, only: list[str] | None = None) -> tuple[Tensor, Tensor, list[str]]:
    """-> images uint8 [n, 3, 32, 32], labels int64 [n], class names. `split` is train or test; `only` these classes, in this order."""
    if dataset not in FORMATS:
        raise DataError(f"dataset {dataset!r}: use one of {', '.join(FORMATS)}")
    folder, train, test, names_file, label_bytes = FORMATS[dataset]
    folder = Path(root) / folder
    record, images, labels = 3072 + label_bytes, [], []
    for file in (train if split == "train" else test):
        raw = np.frombuffer(read(folder / file), np.uint8)
        if raw.size == 0 or raw.size % record:
            raise DataError(f"{folder / file}: {raw.size} bytes is no multiple of the {record}-byte record; unpack {dataset} again")
        raw = raw.reshape(-1, record)
        images.append(raw[:, label_bytes:].reshape(-1, 3, 32, 32))
        labels.append(raw[:, label_bytes - 1])
    names = read(folder / names_file).decode("utf-8", "replace").split()
    labels = torch.from_numpy(np.concatenate(labels).astype(np.int64))
    if int(labels.max()) >= len(names):
        raise DataError(f"{folder}: label {int(labels.max())} but {names_file} names {len(names)} classes; unpack {dataset} again")
    images = torch.from_numpy(np.concatenate(images))
    if only is None:
        return images, labels, names
    unknown = [name for name in only if name not in names]
    if unknown or not only:
        raise DataError(f"class {', '.join(unknown) or '(none)'}: not in {dataset}; use some of {', '.join(names)}")
    new = torch.full((len(names),), -1)
    new[[names.index(name) for name in only]] = torch.arange(len(only))
    labels = new[labels]
    return images[labels >= 0], labels[labels >= 0], list(only)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; --data must be the folder that holds {path.parent.name}/") from error


def normalise(images: Tensor, normalisation: dict) -> Tensor:
    """uint8 [n, 3, H, W] -> float32, by the manifest's `normalisation`, clipped where that says so."""
    x = images.float() / 255
    if normalisation["kind"] == "per_image":
        flat = x.flatten(1)
        mean, std = (v.view(-1, 1, 1, 1) for v in (flat.mean(1), flat.std(1).clamp_min(normalisation["min_std"])))
    else:
        mean, std = (torch.tensor(normalisation[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    x, bound = (x - mean) / std, normalisation.get("clip")
    return x if bound is None else x.clamp(-bound, bound)


class Batches:
    """Epochs of augmented batches on one device: random crop of the padded image, flip, and cutout.

    `padding`: "reflect", or "black" as in the usual recipe. `flip`: "alternate" flips an image in every second epoch, starting
    at random, so that two epochs see both sides; "random" draws anew. `cutout`: side of a square of zeros, which normalised
    inputs have on average, centred on any pixel of the image (DeVries, Taylor 2017); 0 for none.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, batch: int, generator: torch.Generator, *, padding: str = "reflect",
                 flip: str = "alternate", black: Tensor | None = None, cutout: int = 0, margin: int = 4):
        if not 0 < batch <= len(labels):
            raise DataError(f"batch {batch}: must lie in 1..{len(labels)}, the number of training images")
        if padding == "reflect":
            padded = torch.nn.functional.pad(inputs.float(), (margin,) * 4, mode="reflect").to(inputs.dtype)
        else:
            n, c, h, w = inputs.shape
            padded = black.to(inputs).view(1, c, 1, 1).repeat(n, 1, h + 2 * margin, w + 2 * margin)
            padded[:, :, margin:-margin, margin:-margin] = inputs
        self.crops = padded.unfold(2, inputs.shape[2], 1).unfold(3, inputs.shape[3], 1)
        self.labels, self.batch, self.generator, self.positions = labels, batch, generator, 2 * margin + 1
        self.cutout, self.size = cutout, inputs.shape[2:]
        self.flip = torch.randint(0, 2, (len(labels),), generator=generator).bool() if flip == "alternate" else None

    def __len__(self) -> int:
        """Batches in an epoch; an incomplete one is left out."""
        return len(self.labels) // self.batch

    def epoch(self, number: int):
        device = self.labels.device
        order = torch.randperm(len(self.labels), generator=self.generator)
        for chosen in order[: len(self) * self.batch].split(self.batch):
            row, column = torch.randint(0, self.positions, (2, self.batch), generator=self.generator).to(device)
            if self.flip is None:
                mirrored = torch.randint(0, 2, (self.batch,), generator=self.generator).bool()
            else:
                mirrored = self.flip[chosen] ^ bool(number & 1)
            chosen, mirrored = chosen.to(device), mirrored.to(device)
            x = self.crops[chosen, :, row, column]
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)
            if self.cutout:
                x = x.masked_fill(self.squares().to(device), 0.0)
            yield x.contiguous(memory_format=torch.channels_last), self.labels[chosen]

    def squares(self) -> Tensor:
        """A square for each image of a batch, as far as it is inside: `[batch, 1, height, width]`."""
        inside = []
        for length in self.size:
            first = torch.randint(0, length, (self.batch, 1), generator=self.generator) - self.cutout // 2
            at = torch.arange(length)
            inside.append((at >= first) & (at < first + self.cutout))
        rows, columns = inside
        return (rows[:, :, None] & columns[:, None, :])[:, None]
