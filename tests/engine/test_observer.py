"""What the views show: crops are the same on however many cores they are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capture.drawn import draw_recording
from engine.assembly import build_pipeline
from engine.config import load_system
from engine.crop import Crop, Picture
from engine.pipeline import Pipeline
from engine.sampling import frame_sets

DRAWN = Path(__file__).parents[2] / "examples" / "drawn.yaml"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("observer") / "drawn"
    draw_recording(folder, frames=2)
    return folder


def seen(recording: Path, threads: int, absent: int | None = None) -> list[dict[str, np.ndarray]]:
    """What the graph is given of two frame sets."""
    config = load_system(DRAWN, data=recording, assignments=["rate=30", f"engine.threads={threads}"])
    pipeline: Pipeline = build_pipeline(config)[0]
    given: list[dict[str, np.ndarray]] = []
    run = pipeline.runtime.run

    def noting(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        given.append({name: np.array(inputs[name]) for name in ("crops", "crop_to_image", "view_weight")})
        return run(inputs)

    pipeline.runtime.run = noting  # type: ignore[method-assign, assignment]
    crops = [Crop((150.0 + 10 * view, 120.0), 1.0) for view in range(pipeline.n_views)]
    for frames in frame_sets(config, 2):
        pictures = [
            None if frame is None or view == absent else Picture(frame) for view, frame in enumerate(frames.frames)
        ]
        pipeline._observer(pictures, crops, frames.frames)
    return given


@pytest.mark.parametrize("absent", [None, 0])
def test_crops_do_not_depend_on_the_threads_that_cut_them(recording: Path, absent: int | None) -> None:
    alone = seen(recording, 1, absent)
    assert len(alone) == 2 and not np.array_equal(alone[0]["crops"], alone[1]["crops"])
    assert all(crop.any() for crop in alone[0]["crops"][0, 1:])
    for threads in (2, 5):
        for one, other in zip(alone, seen(recording, threads, absent), strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])


def test_a_picture_that_cannot_be_cut_fails_on_any_thread(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_system(DRAWN, data=recording, assignments=["rate=30", "engine.threads=4"])
    pipeline = build_pipeline(config)[0]
    (frames, *_) = frame_sets(config, 1)
    pictures = [Picture(frame) for frame in frames.frames if frame is not None]

    def fails(*_: object) -> None:
        raise ValueError("no pixels")

    monkeypatch.setattr(pictures[-1], "cut", fails, raising=False)
    crops = [Crop((150.0, 120.0), 1.0)] * len(pictures)
    with pytest.raises(ValueError, match="no pixels"):
        pipeline._observer(pictures, crops, frames.frames)
