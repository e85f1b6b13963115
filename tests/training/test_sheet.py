"""Pictures of a run: true and predicted joints stand where they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from capture.virtual.skeletons import HUMAN36M17
from tests.training import tiny
from training import networks
from training.losses import Batch
from training.predict import Look, projected
from training.report import Report
from training.sheet import PREDICTED, SAMPLES, TILE, TRUE, sheet


def black() -> Batch:
    batch = tiny.batch(2)
    return batch._replace(crops=torch.zeros_like(batch.crops))


def centre(tile: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The middle of all that is of a colour, which is drawn with soft edges on black."""
    shade = tile.astype(float) @ colour / np.linalg.norm(colour) / np.linalg.norm(tile + 1e-9, axis=-1).clip(min=20)
    rows, columns = np.nonzero(shade > 0.98)
    assert len(rows)
    return np.array([columns.mean(), rows.mean()])


def test_a_true_and_a_predicted_joint_are_drawn_at_their_places() -> None:
    batch = black()
    points = torch.full_like(batch.points, torch.nan)
    answers = np.zeros(batch.points.shape)
    points[0, 1, 5] = torch.tensor([20.0, 30.0])
    answers[0, 1, 5] = (41.0, 12.0)
    drawn = sheet(batch._replace(points=points), Look(answers, None))
    assert drawn.shape == (2 * TILE, 3 * TILE, 3)
    tile = drawn[:TILE, TILE : 2 * TILE]
    ratio = TILE / tiny.SIZE
    assert np.abs(centre(tile, TRUE) - ((np.array([20, 30]) + 0.5) * ratio - 0.5)).max() < 1
    assert np.abs(centre(tile, PREDICTED) - ((np.array([41, 12]) + 0.5) * ratio - 0.5)).max() < 1
    drawn[:TILE, TILE : 2 * TILE] = 0
    assert not drawn.any()


def test_heatmaps_stand_beside_their_crops() -> None:
    batch = black()
    heat = np.zeros((2, 3, 16, 16))
    heat[1, 2, 4, 11] = 1
    drawn = sheet(batch._replace(points=torch.full_like(batch.points, torch.nan)), Look(np.zeros((2, 3, 17, 2)), heat))
    assert drawn.shape == (2 * TILE, 6 * TILE, 3)
    tile = cv2.cvtColor(drawn[TILE:, 5 * TILE :], cv2.COLOR_BGR2GRAY)
    cell = TILE // 16
    assert (tile > 100).nonzero()[0].min() == 4 * cell and (tile > 100).nonzero()[1].min() == 11 * cell
    assert (tile > 100).sum() == cell * cell


def test_there_are_only_so_many_samples() -> None:
    batch = tiny.batch(SAMPLES + 2)
    assert len(sheet(batch, Look(batch.points.numpy(), None))) == SAMPLES * TILE


def test_the_truth_in_3d_is_seen_where_the_truth_in_2d_is() -> None:
    batch = tiny.batch(2)
    assert np.nanmax(np.abs(projected(batch.position_mm.numpy(), batch) - batch.points.numpy())) < 0.1


def test_a_look_of_a_network_is_of_its_own_points_and_heat() -> None:
    config = tiny.config()
    torch.manual_seed(0)
    model, batch = networks.build(config.model, HUMAN36M17), tiny.batch(2)
    look = networks.look(model, batch)
    assert look.points.shape == (2, 3, 17, 2) and look.heat is not None and look.heat.shape == (2, 3, 16, 16)
    assert np.allclose(look.heat.max(axis=(2, 3)), 1) and model.training
    answer = networks.predict(model, batch)
    error = np.linalg.norm(look.points - batch.points.numpy(), axis=-1) / tiny.SIZE
    assert np.allclose(error[np.isfinite(answer.error_share)], answer.error_share[np.isfinite(answer.error_share)])


def test_a_report_writes_pictures_with_or_without_tensorboard(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    report = Report(tmp_path)
    report.picture("val", 500, picture)
    report.close()
    found = cv2.imread(str(tmp_path / "pictures" / "val_0000500.png"))
    assert found is not None and np.array_equal(found, picture)
