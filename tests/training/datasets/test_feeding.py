"""Samples of real pictures go the way of the virtual rig's: as batches into a network's losses, by any worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.models.algebraic import Algebraic
from tests.training.datasets import made
from training.config import AugmentSection, CropSection, LossSection
from training.datasets.human36m import Human36M, read_labels
from training.datasets.shots import ShotSampler, ShotSamples, in_order
from training.feed import as_batch, as_tensors
from training.losses import losses

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> made.Human36M:
    data = made.Human36M(tmp_path_factory.mktemp("h36m"))
    data.labels()
    return data


def shots_in(folder: Path, split: str = "train") -> Human36M:
    labels = read_labels(folder / "human36m-multiview-labels-GTbboxes.npy")
    return Human36M(labels, folder / "processed", split)  # type: ignore[arg-type]


@pytest.mark.parametrize("views", [1, 2, 4])
def test_a_network_learns_from_them(data: made.Human36M, views: int) -> None:
    shots = shots_in(data.folder)
    samples = ShotSamples(shots, CropSection(turn_deg=10), AugmentSection(), 0)
    orders = ShotSampler(shots, (views, views), 0, 0, 2, lambda _: 64).batch(0, 64)
    batch = as_batch(as_tensors([samples[order] for order in orders]), CPU)
    assert batch.crops.shape == (2, views, 64, 64, 3)
    torch.manual_seed(0)
    backbone = {"channels": (4, 4, 6, 8, 8), "blocks": (1, 1, 1, 1), "neck": 8, "features": 8}
    model = Algebraic(17, context=4, backbone=backbone)
    answer = losses(model, batch, LossSection())
    answer.total.backward()
    assert torch.isfinite(answer.total)
    # One view says nothing about 3D, and then nothing is learned from it.
    assert (answer.position > 0) == (views > 1)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_validation_comes_in_batches_of_equal_views(data: made.Human36M) -> None:
    shots = shots_in(data.folder, "val")
    samples = ShotSamples(shots, CropSection(), None, 0)
    batches = [as_tensors([samples[order] for order in batch]) for batch in in_order(shots, list(shots.index), 8, 64)]
    assert [tuple(batch["crops"].shape[:2]) for batch in batches] == [(3, 4), (2, 3)]


DIGEST = """
import hashlib, sys
from itertools import islice
from pathlib import Path
import numpy as np, torch
from training.config import AugmentSection, CropSection
from training.datasets.human36m import Human36M, read_labels
from training.datasets.shots import ShotSampler, ShotSamples
from training.feed import as_tensors

def digest(shots, workers):
    loader = torch.utils.data.DataLoader(
        ShotSamples(shots, CropSection(turn_deg=10), AugmentSection(), 5),
        batch_sampler=ShotSampler(shots, (1, 4), 5, 1, 2, lambda step: 32 * step),
        num_workers=workers,
        collate_fn=as_tensors,
        multiprocessing_context="spawn" if workers else None,
    )
    sums = hashlib.sha256()
    for batch in islice(loader, 3):
        for name in sorted(set(batch) - {"keys"}):
            sums.update(np.ascontiguousarray(batch[name].numpy()).tobytes())
    return sums.hexdigest()

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    labels = read_labels(folder / "human36m-multiview-labels-GTbboxes.npy")
    shots = Human36M(labels, folder / "processed", "train")
    print(digest(shots, 0), digest(shots, 1))
"""


@pytest.mark.process
@pytest.mark.slow
def test_batches_are_the_same_from_a_worker(data: made.Human36M, root: Path) -> None:
    # In a process of its own, with which the helper of Python's multiprocessing ends.
    called = [sys.executable, "-c", DIGEST, str(data.folder)]
    answer = subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=110)
    assert answer.returncode == 0, answer.stderr
    alone, shared = answer.stdout.split()
    assert alone == shared


FEW = """
import importlib.machinery, sys
ALLOWED = {
    "numpy", "cv2", "yaml", "pydantic", "msgpack", "jaxtyping", "array_api_compat",
    "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "wadler_lindig", "_yaml",
    "rigpose", "calib", "capture", "training",
}

class Few(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ALLOWED or top in sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            return super().find_spec(name, path, target)
        return None

sys.meta_path = [Few if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
from pathlib import Path
from training.config import AugmentSection, CropSection
from training.datasets.sections import Human36MSection, opened
from training.datasets.shots import ShotOrder, ShotSamples
folder = Path(sys.argv[1])
labels = folder / "human36m-multiview-labels-GTbboxes.npy"
section = Human36MSection(kind="human36m", labels=labels, root=folder / "processed", pictures="undistort")
shots, _ = opened(section, "train")
sample = ShotSamples(shots, CropSection(turn_deg=5), AugmentSection(), 0)[ShotOrder(0, 0, shots.index[0], 0, 64)]
print(sample.crops.shape)
"""


@pytest.mark.process
def test_reading_needs_only_a_few_wheels(data: made.Human36M, root: Path) -> None:
    called = [sys.executable, "-c", FEW, str(data.folder)]
    answer = subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=110)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.strip() == "(4, 64, 64, 3)"
