"""Stripes in the official CIFAR-10 format: the class is the angle. Small, made on the spot, and learnable only by looking at the image."""

import numpy as np
import pytest
import torch

torch.set_num_threads(1)
CLASSES = [f"angle{18 * i}" for i in range(10)]


def stripes(count: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    angle, phase = labels * np.pi / 10, rng.uniform(0, 2 * np.pi, count)
    row, column = np.mgrid[:32, :32]
    wave = np.cos(0.9 * (np.cos(angle)[:, None, None] * row + np.sin(angle)[:, None, None] * column) + phase[:, None, None])
    images = 128 + 60 * wave[:, None] + rng.normal(0, 25, (count, 3, 32, 32))
    records = np.concatenate([labels[:, None], images.clip(0, 255).reshape(count, -1)], 1)
    return records.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(stripes(240, i))
    (folder / "test_batch.bin").write_bytes(stripes(200, 9))
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n")
    return root
