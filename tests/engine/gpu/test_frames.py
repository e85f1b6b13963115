"""From raw frames to poses by the one graph's calls, on the CPU, against crops and ONNX Runtime in the engine's way."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from capture.frame import Frame, PixelFormat  # noqa: E402
from capture.sources.pictures import nv12_of  # noqa: E402
from engine.crop import Crop, Picture  # noqa: E402
from engine.cut import parts  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.gpu.device import TorchDevice  # noqa: E402
from engine.gpu.frames import BUFFERS, FrameGraph, normalisation  # noqa: E402
from engine.graph import OUTPUTS, compose  # noqa: E402
from engine.runtimes.onnx import OnnxRuntime  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.engine import networks  # noqa: E402
from tests.engine.test_graph import scene  # noqa: E402

CPU = torch.device("cpu")
SHAPES = [(240, 320, 3), (200, 300), (260, 280, 3)]
CROPS = [Crop((160.0, 118.0), 1.0), Crop((140.0, 96.0), 0.8), Crop((150.0, 120.0), 1.3)]
# What rounding a crop to eight bits changes in the answer; the same network without it is not further away.
LIMITS = {"points2d": 0.6, "confidence": 0.02}


class WithKernel(TorchDevice):
    """A device whose crops are made by the kernel, as PyCUDA's are."""

    def __init__(self, kernel):
        super().__init__(CPU)
        self.crop = kernel.crop


def pictures(seed=0):
    rng = np.random.default_rng(seed)
    return [cv2.GaussianBlur(rng.integers(0, 256, shape).astype(np.uint8), (9, 9), 3.0) for shape in SHAPES]


def located_model(kind, tmp_path):
    if kind == "ours":
        return find_model("mannequin17_occluded")
    spec = {"scale": 1 / 255, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "colour": "RGB"}
    return networks.model(tmp_path, "heatmap", batch="N", input=spec)


def rig_of(located):
    rig, _, _ = scene(located, 3)
    return rig.arrays().astype(np.float32)._asdict()


def by_the_cpu(graph, images, crops, rig):
    """As the pipeline does it: crops in eight bits, then the graph."""
    width, height = graph.document.input.size
    cut = np.zeros((1, 3, height, width, 3), np.uint8)
    matrix, weight = np.tile(np.eye(2, 3, dtype=np.float32), (1, 3, 1, 1)), np.zeros((1, 3), np.float32)
    for view, (image, crop) in enumerate(zip(images, crops, strict=True)):
        if crop is not None:
            kind: PixelFormat = "BGR8" if image.ndim == 3 else "Mono8"
            frame = Frame("a", 0, image, kind, 0, "arrival", 0, image.shape[1::-1])
            matrix[0, view] = Picture(frame).cut(crop, cut[0, view])
            weight[0, view] = 1
    feeds = {"crops": cut, "crop_to_image": matrix, "view_weight": weight, **rig}
    return OnnxRuntime(graph, threads=1).run(feeds), matrix[0]


def filled(frames, images):
    """A slot with pictures in it."""
    slot = frames.slot()
    assert slot is not None
    for place, image in zip(slot.views, images, strict=True):
        place[...] = image
    return slot


def by_frames(frames, images, crops, rig):
    slot = filled(frames, images)
    matrix = frames.start(slot.views, crops, rig, slot)
    return frames.finish(), matrix


@pytest.mark.parametrize("kind", ["ours", "foreign"])
@pytest.mark.parametrize("with_kernel", [False, True])
def test_raw_frames_give_the_poses_that_crops_give(tmp_path, kernel, kind, with_kernel):
    located = located_model(kind, tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    frames = FrameGraph(graph, SHAPES, CPU, helper=WithKernel(kernel) if with_kernel else None)
    got, matrix = by_frames(frames, images, CROPS, rig)
    expected, wanted = by_the_cpu(graph, images, CROPS, rig)
    assert set(got) == set(OUTPUTS)
    np.testing.assert_allclose(matrix, wanted, rtol=1e-6)
    sure = expected["confidence"] > 0.05 if kind == "ours" else np.isfinite(expected["confidence"])
    off = np.linalg.norm(got["points2d"] - expected["points2d"], axis=-1)
    assert np.median(off[sure]) < LIMITS["points2d"]
    assert np.abs(got["confidence"] - expected["confidence"]).max() < LIMITS["confidence"]


@pytest.mark.parametrize("with_kernel", [False, True])
def test_a_camera_that_sends_nv12_is_seen_as_one_that_sends_bgr(tmp_path, kernel, with_kernel):
    located = located_model("ours", tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    helper = WithKernel(kernel) if with_kernel else None
    expected, _ = by_frames(FrameGraph(graph, SHAPES, CPU, helper=helper), images, CROPS, rig)
    images[0] = nv12_of(images[0])
    shapes = [image.shape for image in images]
    got, _ = by_frames(FrameGraph(graph, shapes, CPU, helper=helper, nv12={0}), images, CROPS, rig)
    np.testing.assert_array_equal(got["points2d"][0, 1:], expected["points2d"][0, 1:])
    sure = expected["confidence"][0, 0] > 0.05
    off = np.linalg.norm(got["points2d"][0, 0] - expected["points2d"][0, 0], axis=-1)
    assert sure.any() and np.median(off[sure]) < 2.0
    assert np.abs(got["confidence"] - expected["confidence"]).max() < 0.05


def test_the_kernel_and_torch_give_the_same(tmp_path, kernel):
    located = located_model("ours", tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    one, _ = by_frames(FrameGraph(graph, SHAPES, CPU), images, CROPS, rig)
    other, _ = by_frames(FrameGraph(graph, SHAPES, CPU, helper=WithKernel(kernel)), images, CROPS, rig)
    np.testing.assert_allclose(one["points2d"], other["points2d"], atol=0.05)


def test_an_absent_camera_has_no_say(tmp_path):
    located = located_model("foreign", tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    frames = FrameGraph(graph, SHAPES, CPU)
    crops = [CROPS[0], None, CROPS[2]]
    got, _ = by_frames(frames, images, crops, rig)
    expected, _ = by_the_cpu(graph, images, crops, rig)
    assert not got["confidence"][0, 1].any() or np.isnan(got["points2d"][0, 1]).all()
    np.testing.assert_array_equal(np.isnan(got["points2d"]), np.isnan(expected["points2d"]))


def test_two_frame_sets_are_under_way_and_come_back_in_order(tmp_path):
    located = located_model("foreign", tmp_path)
    graph, rig = compose(located, 3), rig_of(located)
    frames, alone = FrameGraph(graph, SHAPES, CPU), FrameGraph(graph, SHAPES, CPU)
    wanted = [by_frames(alone, pictures(seed), CROPS, rig)[0] for seed in range(4)]
    got = []
    for seed in range(4):
        frames.start(pictures(seed), CROPS, rig)
        if seed:
            got.append(frames.finish())
    got.append(frames.finish())
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one["points2d"], other["points2d"])
    assert not np.array_equal(wanted[0]["points2d"], wanted[1]["points2d"])
    with pytest.raises(ConfigError, match="were not begun"):
        frames.finish()
    for _ in range(BUFFERS):
        frames.start(pictures(), CROPS, rig)
    with pytest.raises(ConfigError, match="faster than they are finished"):
        frames.start(pictures(), CROPS, rig)


def test_how_a_graph_normalises_is_found_by_asking_it(tmp_path):
    graph = compose(located_model("foreign", tmp_path), 3)
    norm = normalisation(graph, parts(onnx.load_from_string(graph.proto_bytes)).before)
    np.testing.assert_array_equal(norm["order"][0], [2, 1, 0])
    np.testing.assert_allclose(norm["scale"][0], [1 / 255 / 0.2, 1 / 255 / 0.3, 1 / 255 / 0.4], rtol=1e-4)
    np.testing.assert_allclose(norm["shift"][0], [-2, -5 / 3, -1.5], rtol=1e-5)


def test_a_network_that_takes_no_float_planes_is_refused(tmp_path):
    located = networks.model(tmp_path, "heatmap", input={"layout": "NHWC", "dtype": "uint8"})
    with pytest.raises(ConfigError, match="makes float planes of its frames"):
        FrameGraph(compose(located, 3), SHAPES, CPU)
    with pytest.raises(ConfigError, match="are of 2 views, the graph of 3"):
        FrameGraph(compose(find_model("mannequin17_occluded"), 3), SHAPES[:2], CPU)


@pytest.mark.gpu
def test_on_a_gpu_the_captured_graph_gives_what_the_cpu_gives(tmp_path, gpu):
    located = located_model("ours", tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    expected, _ = by_frames(FrameGraph(graph, SHAPES, CPU), images, CROPS, rig)
    got, _ = by_frames(FrameGraph(graph, SHAPES, torch.device("cuda")), images, CROPS, rig)
    np.testing.assert_allclose(got["points2d"], expected["points2d"], atol=0.1)


@pytest.mark.gpu
def test_on_a_gpu_pycuda_s_kernel_gives_what_torch_gives(tmp_path, gpu):
    pytest.importorskip("pycuda")
    from engine.gpu.pycuda import PyCuda, primary

    located = located_model("ours", tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    cuda = torch.device("cuda", 0)
    expected, _ = by_frames(FrameGraph(graph, SHAPES, cuda), images, CROPS, rig)
    with primary() as module:
        got, _ = by_frames(FrameGraph(graph, SHAPES, cuda, helper=PyCuda(module)), images, CROPS, rig)
    np.testing.assert_allclose(got["points2d"], expected["points2d"], atol=0.1)


@pytest.mark.gpu
def test_on_a_gpu_memory_is_locked_and_pictures_are_uploaded_while_work_is_captured(tmp_path, gpu):
    located = located_model("ours", tmp_path)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    cuda = torch.device("cuda", 0)
    expected, _ = by_frames(FrameGraph(graph, SHAPES, cuda), images, CROPS, rig)
    captured, failed = threading.Event(), []

    def receive():
        device = TorchDevice(cuda)
        target = torch.empty(1 << 20, dtype=torch.uint8, device=cuda)
        kept = []
        try:
            while not captured.is_set():
                kept.append(device.allocate(1 << 20))
                with torch.cuda.stream(device.copies):
                    device.upload(target, kept[-1])
        except Exception as error:  # noqa: BLE001 - said by the test
            failed.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        got, _ = by_frames(FrameGraph(graph, SHAPES, cuda), images, CROPS, rig)
    finally:
        captured.set()
        thread.join()
    assert not failed
    np.testing.assert_array_equal(got["points2d"], expected["points2d"])
