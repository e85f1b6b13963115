"""The exported file is the trained network, whole: same answers, any number of views, weights to begin again with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from calib.rig import Rig
from capture.virtual.skeletons import HUMAN36M17
from capture.virtual.world import World
from engine.document import LocatedModel, find_model
from engine.graph import HEAD_IN, NET_INPUT, OUTPUTS, compose
from engine.models import graphs
from engine.models.algebraic import Algebraic
from engine.models.volumetric import Volumetric
from engine.runtimes.onnx import OnnxRuntime
from rigpose.errors import ConfigError
from tests.engine.models.tensorrt import objections
from tests.training import exported as exported_once
from tests.training import tiny
from training import export
from training.checkpoint import Checkpoint
from training.samples import Sample, draw
from training.warm_start import weights_of

# Exporting takes half a minute, more where others work too.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path]:
    folder = tmp_path_factory.mktemp("export")
    checkpoint = tiny.checkpoint(folder)
    checkpoint.write(folder / "checkpoint.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "as_onnx", exported_once.as_onnx)
        assert export.main([str(folder / "checkpoint.pt"), "-o", str(folder / "tiny.onnx")]) == 0
    return checkpoint, folder / "tiny.onnx"


@pytest.fixture(scope="module")
def located(exported: tuple[Checkpoint, Path]) -> LocatedModel:
    return find_model(exported[1])


def inputs(n_views: int, batch: int = 1, absent: int | None = None) -> dict[str, np.ndarray]:
    world = World(tiny.scenario().with_views(n_views), seed=9)
    config = tiny.config().data
    rng = np.random.default_rng(3)
    made: list[Sample] = [
        draw(world, 2.0 * moment, np.arange(n_views), tiny.SIZE, config, rng, augment=False) for moment in range(batch)
    ]
    weight = np.ones((batch, n_views), np.float32)
    if absent is not None:
        weight[:, absent] = 0
    arrays = Rig(world.rig.cameras).arrays().astype(np.float32)
    return {
        "crops": np.stack([sample.crops for sample in made]),
        "crop_to_image": np.stack([sample.crop_to_image for sample in made]),
        "view_weight": weight,
        **arrays._asdict(),
    }


@pytest.mark.parametrize(
    ("n_views", "batch", "absent"), [(4, 1, None), (4, 1, 2), (3, 2, None), (2, 1, 0), (6, 1, None)]
)
def test_onnx_runtime_agrees_with_torch(
    exported: tuple[Checkpoint, Path], located: LocatedModel, n_views: int, batch: int, absent: int | None
) -> None:
    model = export.build(exported[0])
    feed = inputs(n_views, batch, absent)
    with torch.no_grad():
        expected = model(*(torch.from_numpy(feed[name]) for name in graphs.INPUTS))
    got = OnnxRuntime(compose(located, n_views, batch), threads=1).run(feed)
    for name, limit in (("points2d", 1e-3), ("confidence", 1e-5), ("points3d", 0.01), ("residual_px", 1e-2)):
        want = getattr(expected, name).numpy()
        assert got[name].shape == want.shape
        assert np.array_equal(np.isnan(got[name]), np.isnan(want)), name
        assert np.nanmax(np.abs(got[name] - want), initial=0) < limit, name
    if absent is not None:
        assert np.isnan(got["points2d"][:, absent]).all() and not got["confidence"][:, absent].any()
    assert np.isnan(got["points3d"]).all() == (n_views == 2 and absent is not None)


def test_the_file_describes_itself(located: LocatedModel) -> None:
    document = located.document
    assert located.origin == "metadata"
    assert (document.domain, document.licence, document.output.kind) == ("synthetic", "Apache-2.0", "graph")
    assert document.skeleton == HUMAN36M17
    assert document.input.size == (tiny.SIZE, tiny.SIZE)
    graph = compose(located, 5)
    assert graph.input_names == graphs.INPUTS and graph.output_names == OUTPUTS


def test_the_cut_between_network_and_geometry_has_its_names(exported: tuple[Checkpoint, Path]) -> None:
    proto = onnx.load(exported[1])
    onnx.checker.check_model(proto, full_check=True)
    made = {name: node for node in proto.graph.node for name in node.output}
    assert made[HEAD_IN].op_type == "Conv"
    readers = [node.op_type for node in proto.graph.node if NET_INPUT in node.input]
    assert readers == ["Conv"]
    after, waiting = set(), [HEAD_IN]
    while waiting:
        name = waiting.pop()
        for node in proto.graph.node:
            if name in node.input and node.name not in after:
                after.add(node.name)
                assert node.op_type not in ("Conv", "BatchNormalization", "Resize")
                waiting += node.output


def test_the_file_tells_nothing_of_this_machine(exported: tuple[Checkpoint, Path]) -> None:
    data = exported[1].read_bytes()
    assert str(Path(__file__).parent).encode() not in data
    assert b".py" not in data


def test_tensorrt_takes_all_its_operators(exported: tuple[Checkpoint, Path]) -> None:
    assert objections(onnx.load(exported[1])) == []


def test_a_network_may_take_pictures_of_another_size_than_it_was_trained_on(
    exported: tuple[Checkpoint, Path],
) -> None:
    checkpoint = exported[0]
    larger = export.at_size(checkpoint, 2 * tiny.SIZE)
    assert export.document(larger)["input"]["size"] == [2 * tiny.SIZE, 2 * tiny.SIZE]
    feed = inputs(2)
    feed["crops"] = feed["crops"].repeat(2, axis=2).repeat(2, axis=3)
    with torch.no_grad():
        answer = export.build(larger)(*(torch.from_numpy(feed[name]) for name in graphs.INPUTS))
    assert torch.isfinite(answer.points3d).all()
    with pytest.raises(ConfigError, match="--size 100"):
        export.at_size(checkpoint, 100)


@pytest.mark.slow
@pytest.mark.timeout(400)  # exporting takes twenty seconds, more where others work too
def test_of_a_volumetric_run_the_averaged_model_becomes_a_graph_that_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = {"size": 8, "channels": 4, "v2v": {"widths": [4, 4], "first": 4}}
    run = tiny.trainer(tmp_path, model=tiny.config().model.model_dump() | {"volume": volume})
    checkpoint = run.checkpoint()
    asked: list[tuple[torch.nn.Module, int]] = []
    as_onnx = export.as_onnx

    def noted(model: torch.nn.Module, size: int) -> onnx.ModelProto:
        asked.append((model, size))
        return as_onnx(model, size)

    monkeypatch.setattr(export, "as_onnx", noted)
    file = tmp_path / "volumetric.onnx"
    file.write_bytes(export.export(checkpoint).SerializeToString())
    ((model, size),) = asked
    assert isinstance(model, Volumetric) and not model.training and size == tiny.SIZE
    for name, value in checkpoint.average.items():
        assert torch.equal(model.state_dict()[name], value), name
    located = find_model(file)
    assert located.document.output.kind == "graph" and located.document.skeleton == HUMAN36M17
    said = {entry.key: json.loads(entry.value) for entry in located.proto.metadata_props}
    assert Volumetric(**said[export.WEIGHTS]).state_dict().keys() == checkpoint.average.keys()
    graph = compose(located, 3)
    assert graph.is_volumetric
    answer = OnnxRuntime(graph, threads=1)
    answer.warmup()


class TestWarmStart:
    def test_restores_every_weight(self, exported: tuple[Checkpoint, Path]) -> None:
        checkpoint, file = exported
        model = Algebraic(17, **checkpoint.config.model.arguments())
        model.load_state_dict(weights_of(file, model))
        for name, value in checkpoint.average.items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(model.state_dict()[name], value), name

    def test_a_volumetric_network_begins_with_an_algebraic_one(self, exported: tuple[Checkpoint, Path]) -> None:
        checkpoint, file = exported
        model = Volumetric(17, size=8, channels=4, **checkpoint.config.model.arguments())
        began = weights_of(file, model)
        for name, value in model.state_dict().items():
            if name.startswith(("lift.", "volume.", "log_gain")):
                assert torch.equal(began[name], value), name
            elif not name.endswith("num_batches_tracked"):
                assert torch.allclose(began[name], checkpoint.average[name]), name

    def test_refuses_another_network(self, exported: tuple[Checkpoint, Path], tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"has head|has network"):
            weights_of(exported[1], Algebraic(38, **exported[0].config.model.arguments()))
        with pytest.raises(ConfigError, match="no such file"):
            weights_of(tmp_path / "x.onnx", Algebraic(17))
        (tmp_path / "y.onnx").write_bytes(b"not onnx")
        with pytest.raises(ConfigError):
            weights_of(tmp_path / "y.onnx", Algebraic(17))


def test_a_network_that_is_too_large_for_the_zoo_is_refused(exported: tuple[Checkpoint, Path]) -> None:
    proto = onnx.load(exported[1])
    export.check_size(proto, "small")
    proto.metadata_props.add(key="more", value=" " * export.MAX_BYTES)
    with pytest.raises(ConfigError, match="MB"):
        export.check_size(proto, "large")
