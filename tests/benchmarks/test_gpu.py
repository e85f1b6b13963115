"""The GPU's benchmark: its ways compute what they claim, its paths run on a CPU, and without a GPU it says so."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from benchmarks import gpu  # noqa: E402
from benchmarks._gpu_device import Replayed, roofline  # noqa: E402
from benchmarks._gpu_reference import Reference  # noqa: E402
from calib.triangulate import triangulate  # noqa: E402
from engine.gpu.driver import driver  # noqa: E402
from rigpose.errors import MissingError  # noqa: E402

CPU = torch.device("cpu")


def test_without_a_gpu_it_is_one_line_and_code_3():
    if driver().gpus:
        pytest.skip("here is a GPU")
    with pytest.raises(MissingError, match="benchmarks.gpu: needs an NVIDIA GPU: no NVIDIA driver") as caught:
        gpu.main([])
    assert caught.value.exit_code == 3


def test_the_reference_triangulates_each_joint_by_its_svd():
    """On points without noise both find where they are from; the reference knows no lens, so that there is none."""
    from benchmarks._rigs import make_rig

    rig = make_rig(0, 4).arrays()
    plain = rig._replace(dist=np.zeros_like(rig.dist), fisheye=np.zeros_like(rig.fisheye))
    truth = np.random.default_rng(0).normal(scale=0.1, size=(6, 3))
    homogeneous = np.einsum("vij,jk->vik", plain.K @ plain.Rt, np.c_[truth, np.ones(6)].T)
    points = (homogeneous[:, :2] / homogeneous[:, 2:]).transpose(0, 2, 1)
    reference = Reference(torch.nn.Identity(), 64, CPU)
    found = reference._triangulated(
        torch.from_numpy(points), torch.ones(4, 6, dtype=torch.float64), {"K": plain.K, "Rt": plain.Rt}
    ).numpy()
    np.testing.assert_allclose(found, truth, atol=1e-6)
    world = plain.world
    np.testing.assert_allclose(
        triangulate(points, np.ones((4, 6)), plain), truth * world[3] + world[:3], atol=1e-3 * world[3]
    )


def test_what_a_device_can_is_measured():
    found = roofline(CPU, quick=True)
    assert all(value > 0 for value in found.values())
    assert {"products fp32, TFLOP/s", "products bf16, TFLOP/s", "memory, GB/s"} <= set(found)


def test_times_are_of_each_run():
    calls = []
    assert len(Replayed(lambda: calls.append(1), CPU).times(4)) == len(calls) == 4


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_its_paths_run_on_a_cpu(tmp_path, capsys):
    torch.set_num_threads(1)
    out, table = tmp_path / "gpu.json", tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--quick", "--json", str(out), "--markdown", str(table)]) == 0
    document = json.loads(out.read_text())
    metrics = {(row["case"], row["metric"]) for row in document["rows"]}
    for precision in ("fp32", "fp16", "bf16"):
        case = f"tiny, 2 views, 160x120 mono, torch, {precision}"
        for metric in ("end to end p99", "frame sets", "upload", "crops", "network", "decoding and geometry"):
            assert (case, metric) in metrics
    assert ("tiny, 2 views, 160x120 BGR, the public code's way, fp32", "end to end p50") in metrics
    assert not any("tensorrt" in case for case, _ in metrics), "a figure is TensorRT's only where TensorRT made it"
    assert "| tiny, 2 views, 160x120 mono, torch, fp16 | end to end p50 | ms |" in table.read_text()
    assert "CPU, 1 threads" in capsys.readouterr().out
