"""A runtime that takes whole pictures: the pipeline's poses stay, and what it does not take the CPU cuts as ever."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from capture.buffers import BufferPool  # noqa: E402
from capture.drawn import draw_recording  # noqa: E402
from capture.pixels import to_bgr  # noqa: E402
from capture.sources.pictures import nv12_of  # noqa: E402
from capture.wire import FrameReceiver, FrameSender  # noqa: E402
from engine.assembly import build_pipeline  # noqa: E402
from engine.config import load_system  # noqa: E402
from engine.crop import Crop  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.gpu.device import TorchDevice  # noqa: E402
from engine.gpu.look import Look  # noqa: E402
from engine.graph import compose  # noqa: E402
from engine.sampling import frame_sets  # noqa: E402
from tests.capture.frames import WHO, make  # noqa: E402
from tests.engine import networks  # noqa: E402
from tests.engine.gpu.test_frames import CROPS, located_model, pictures, rig_of  # noqa: E402

CPU = torch.device("cpu")
BORDER = cv2.BORDER_CONSTANT


@pytest.fixture
def look(tmp_path):
    located = located_model("foreign", tmp_path)
    return Look(compose(located, 3), CPU), rig_of(located)


def test_it_answers_as_soon_as_every_camera_has_sent_once(look):
    look, rig = look
    images = pictures()
    assert look([images[0], None, images[2]], CROPS, BORDER, rig) is None
    out, matrices = look(images, CROPS, BORDER, rig)
    assert out["points2d"].shape == (1, 3, networks.JOINTS, 2) and matrices.shape == (3, 2, 3)
    # One that is absent from then on has no say.
    out, _ = look([images[0], None, images[2]], CROPS, BORDER, rig)
    assert np.isnan(out["points2d"][0, 1]).all() and np.isfinite(out["points2d"][0, 0]).all()


class Noted(TorchDevice):
    """A device that says what was uploaded to it; its crops are made by torch, or by the kernel."""

    def __init__(self, kernel):
        super().__init__(CPU)
        self.crop = None if kernel is None else kernel.crop
        self.sources = []

    def upload(self, target, source):
        self.sources.append(source)
        super().upload(target, source)


@pytest.mark.parametrize("with_kernel", [False, True])
def test_pictures_are_uploaded_as_they_are_received_and_once(tmp_path, kernel, monkeypatch, with_kernel):
    device = Noted(kernel if with_kernel else None)
    monkeypatch.setattr("engine.gpu.look.TorchDevice", lambda _: device)
    located = located_model("foreign", tmp_path)
    pool = BufferPool(lambda count: np.zeros(count, np.uint8))
    look, rig, images = Look(compose(located, 3), CPU, pool=pool), rig_of(located), pictures()
    frames = received(tmp_path, images, pool)
    sources = device.sources
    assert len(sources) == 3
    assert all(np.shares_memory(source, frame.image) for source, frame in zip(sources, frames, strict=True))
    out, _ = answer(look, [frame.image for frame in frames], CROPS, BORDER, rig)
    assert len(sources) == 3
    # One that the pool had no room for goes by the ring, the others do not.
    mixed, _ = answer(look, [frames[0].image, images[1], frames[2].image], CROPS, BORDER, rig)
    assert len(sources) == 4 and not pool.holds(sources[3]) and not np.shares_memory(sources[3], images[1])
    device.sources = []
    plain, _ = answer(Look(compose(located, 3), CPU), images, CROPS, BORDER, rig)
    assert len(device.sources) == 3
    for name in plain:
        np.testing.assert_array_equal(out[name], plain[name])
        np.testing.assert_array_equal(mixed[name], plain[name])
    # What comes next into the same buffers is seen as well.
    places = {frame.image.ctypes.data for frame in frames}
    del frames
    device.sources = sources = []
    others = pictures(seed=1)
    again = received(tmp_path, others, pool)
    assert {frame.image.ctypes.data for frame in again} == places
    new, _ = answer(look, [frame.image for frame in again], CROPS, BORDER, rig)
    plain, _ = answer(Look(compose(located, 3), CPU), others, CROPS, BORDER, rig)
    np.testing.assert_array_equal(new["points2d"], plain["points2d"])
    assert not np.array_equal(new["points2d"], out["points2d"])


def answer(look, images, *arguments):
    """What a look sees, where it does not leave the crops to the CPU."""
    found = look(images, *arguments)
    assert found is not None
    return found


def received(folder, images, pool):
    """Pictures that came over a socket into a pool."""
    frames = []
    with FrameReceiver(f"ipc://{folder}/frames", pool=pool) as receiver:
        with FrameSender(f"ipc://{folder}/frames", *WHO) as sender:
            for view, image in enumerate(images):
                kind = "Mono8" if image.ndim == 2 else "BGR8"
                assert sender.send(make(image.copy(), camera=f"cam{view}", pixel_format=kind), wait_s=2)
                assert receiver.wait(2)
                frames.append(receiver.receive())
    return frames


def test_pictures_of_another_size_or_border_are_taken_as_they_come(look):
    look, rig = look
    images = pictures()
    first, _ = look(images, CROPS, BORDER, rig)
    smaller = [np.ascontiguousarray(image[:-10]) for image in images]
    second, _ = look(smaller, CROPS, BORDER, rig)
    np.testing.assert_allclose(first["points2d"], second["points2d"], atol=1e-3)
    outside = [Crop((0.0, 0.0), 1.0)] * 3
    black, _ = look(images, outside, BORDER, rig)
    mirrored, _ = look(images, outside, cv2.BORDER_REFLECT_101, rig)
    assert not np.allclose(black["confidence"], mirrored["confidence"])


def test_a_camera_may_go_over_to_nv12(look):
    look, rig = look
    images = pictures()
    plain, _ = answer(look, images, CROPS, BORDER, rig)
    nv12 = [nv12_of(images[0]), images[1], images[2]]
    over, _ = answer(look, nv12, CROPS, BORDER, rig, {0})
    np.testing.assert_array_equal(over["points2d"][0, 1:], plain["points2d"][0, 1:])
    assert np.median(np.linalg.norm(over["points2d"][0, 0] - plain["points2d"][0, 0], axis=-1)) < 1.0
    # While it is absent the others are seen as before; what it was is kept for when it comes back.
    gone, _ = answer(look, [None, *nv12[1:]], CROPS, BORDER, rig)
    np.testing.assert_array_equal(gone["points2d"][0, 1:], plain["points2d"][0, 1:])


def test_a_network_that_takes_no_float_planes_is_left_to_the_cpu(tmp_path, caplog):
    located = networks.model(tmp_path, "heatmap", input={"layout": "NHWC", "dtype": "uint8"})
    look = Look(compose(located, 3), CPU)
    with caplog.at_level("INFO"):
        for _ in range(2):
            assert look(pictures(), CROPS, BORDER, rig_of(located)) is None
    assert [message for message in caplog.messages if "cut on the CPU" in message][1:] == []


@pytest.mark.parametrize("pixel_format", ["BGR8", "NV12"])
def test_a_pipeline_gives_the_same_poses(tmp_path, root, pixel_format):
    draw_recording(tmp_path / "drawn", frames=8)
    config = load_system(root / "examples" / "drawn.yaml", data=tmp_path / "drawn", assignments=["rate=30"])
    sets = frame_sets(config, 8)
    sets = [replace(each, frames=tuple(stored_as(frame, pixel_format) for frame in each.frames)) for each in sets]
    plain, _ = build_pipeline(config)
    looking, _ = build_pipeline(config)
    calls = []
    look = Look(compose_of(config), CPU)

    def counted(*arguments):
        calls.append(1)
        return look(*arguments)

    looking.runtime.look = counted  # type: ignore[attr-defined]
    for each in sets:
        here, there = plain.process(each), looking.process(each)
        assert len(here.subjects) == len(there.subjects) == 1
        off = np.linalg.norm(here.subjects[0].position_mm - there.subjects[0].position_mm, axis=-1)
        assert np.nanmax(off) < 2.0
    assert calls


def compose_of(config):
    return compose(find_model(str(config.engine.model)), len(config.camera_names))


def stored_as(frame, pixel_format):
    """The same picture in another format."""
    image = to_bgr(frame)
    if pixel_format == "NV12":
        image = nv12_of(image)
    return replace(frame, image=image, pixel_format=pixel_format)


@pytest.mark.gpu
def test_on_a_gpu_pictures_that_came_over_sockets_are_seen_as_on_the_cpu(tmp_path, gpu):
    located = located_model("ours", tmp_path)
    graph, rig = compose(located, 3), rig_of(located)
    look = Look(graph, torch.device("cuda", 0))
    assert look.pool is not None
    for seed in range(3):  # the same buffers and twins, again
        images = pictures(seed)
        frames = received(tmp_path, images, look.pool)
        assert all(look.pool.holds(frame.image) for frame in frames)
        got, _ = answer(look, [frame.image for frame in frames], CROPS, BORDER, rig)
        expected, _ = answer(Look(graph, CPU), images, CROPS, BORDER, rig)
        np.testing.assert_allclose(got["points2d"], expected["points2d"], atol=0.1)
        del frames
