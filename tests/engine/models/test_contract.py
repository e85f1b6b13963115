"""Published networks as graphs of the contract: ONNX Runtime answers what PyTorch does, TensorRT takes all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from calib.rig import RigArrays  # noqa: E402
from calib.triangulate import triangulate  # noqa: E402
from engine.models.algebraic import Algebraic  # noqa: E402
from engine.models.contract import contract, is_volumetric  # noqa: E402
from engine.models.graphs import HEAD_IN, NET_INPUT, as_onnx, inputs_of, outputs_of  # noqa: E402
from engine.models.parity import linear_mm, projections  # noqa: E402
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.engine.models.tensorrt import objections  # noqa: E402
from tests.engine.models.test_published import LENS, SIDE_MM, SIZE, SMALL_V2V, J, filled, golden, inputs, rig  # noqa: E402

CROP = 128
LIMITS = {"points2d": 2e-3, "confidence": 1e-5, "residual_px": 2e-2, "covariance_mm2": 2.0}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def network(kind: str, as_published: bool) -> Any:
    if kind == "algebraic":
        return contract(filled(PublishedAlgebraic(J, layers=18, parity=as_published)))
    cube: dict[str, Any] = {"size": SIZE, "side_mm": SIDE_MM, "root": (1, 3), "v2v": SMALL_V2V}
    return contract(filled(PublishedVolumetric(J, layers=18, aggregation="conf_norm", parity=as_published, **cube)))


def scene(model: Any, case: str, lens: tuple[float, ...] = ()) -> list[Any]:
    given = inputs(lens, slice(1))
    given[0] = given[0][..., :CROP, :CROP, :].contiguous()
    if case == "one absent":
        given[2][:, 1] = 0
    if is_volumetric(model):
        given += [torch.from_numpy(golden()["base_mm"][:1]).float(), torch.tensor([float(case == "a base")])]
    return given


class TestTorch:
    def test_one_of_ours_is_what_it_is(self) -> None:
        ours = Algebraic(J, context=4, backbone={"channels": (4, 4, 6, 8, 8), "blocks": (1, 1, 1, 1)})
        assert contract(ours) is ours and not is_volumetric(ours)

    @torch.no_grad()
    def test_an_algebraic_one_that_is_right_answers_the_same(self) -> None:
        model = filled(PublishedAlgebraic(J, layers=18))
        given = scene(model, "all views", LENS)
        for got, want in zip(contract(model)(*given), model(*given), strict=True):
            assert torch.equal(got, want)

    @torch.no_grad()
    def test_in_parity_it_sees_as_published_and_is_placed_by_ours(self) -> None:
        model = filled(PublishedAlgebraic(J, layers=18, parity=True))
        given = scene(model, "all views")
        got, want = contract(model)(*given), model(*given)
        assert torch.equal(got.points2d, want.points2d) and torch.equal(got.confidence, want.confidence)
        # Where the views agree, both triangulations have the same answer: here, points of a true place.
        arrays, truth = RigArrays(*given[3:]), torch.tensor([[50.0, -20.0, 1000.0]])
        raw = torch.from_numpy(np.stack([c.project(truth.numpy()) for c in rig().cameras])).float()[None]
        affine = given[1]
        in_crop = torch.linalg.solve(affine[..., :2].double(), (raw.double() - affine[..., None, :, 2]).mT).mT
        weight = model.weights(torch.full((1, 4, 1), 0.5), given[2])
        published = linear_mm(in_crop, weight, projections(affine, arrays))
        assert torch.linalg.vector_norm(published - triangulate(raw, weight, arrays), dim=-1).max() < 0.1

    @torch.no_grad()
    def test_a_volumetric_one_finds_its_root_by_itself_or_is_told(self) -> None:
        model = network("volumetric", True)
        told = scene(model, "a base")
        given = model(*told)
        want = model.model(*told[:8], told[8]).points3d
        assert torch.equal(given.points3d, want) and torch.isfinite(given.covariance_mm2).all()
        alone = [*told[:2], told[2] * torch.tensor([1.0, 0, 0, 0]), *told[3:]]
        assert torch.isfinite(model(*alone).points3d).all()
        alone[9] = torch.zeros(1)
        answer = model(*alone)
        assert torch.isnan(answer.points3d).all() and torch.isnan(answer.covariance_mm2).all()

    def test_a_consensus_is_no_graph(self) -> None:
        with pytest.raises(ConfigError, match="consensus"):
            contract(PublishedRansac(J, layers=18))
        with pytest.raises(ConfigError, match="Linear"):
            contract(torch.nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "as_published"), [("algebraic", True), ("algebraic", False), ("volumetric", True)])
def test_onnx_runtime_agrees_with_torch(kind: str, as_published: bool) -> None:
    model = network(kind, as_published)
    proto = as_onnx(model.model, CROP)
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.input] == list(inputs_of(model))
    if kind == "algebraic":
        assert objections(proto) == []
    first = [node for node in proto.graph.node if "model.backbone.conv1.weight" in node.input]
    assert len(first) == 1 and first[0].input[0] == NET_INPUT, "one pass of one backbone"
    assert any(HEAD_IN in node.output for node in proto.graph.node)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = outputs_of(model)
    for case in ("all views", "one absent", *(["a base"] if kind == "volumetric" else [])):
        feed = scene(model, case)
        with torch.no_grad():
            expected = model(*feed)
        named = dict(zip(inputs_of(model), (tensor.numpy() for tensor in feed), strict=True))
        got = dict(zip(names, session.run(list(names), named), strict=True))
        assert np.isfinite(got["points3d"]).all()
        for name in names:
            want, limit = getattr(expected, name).numpy(), LIMITS.get(name, 0.01 if kind == "algebraic" else 0.05)
            assert np.array_equal(np.isnan(got[name]), np.isnan(want)), (case, name)
            assert np.nanmax(np.abs(got[name] - want), initial=0) < limit, (case, name)
