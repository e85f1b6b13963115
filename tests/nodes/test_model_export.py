"""`rigpose models export`: one graph in one file, held against PyTorch, or one line that says why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip("torch")

import torch  # noqa: E402

from calib.rig import Rig, write_rig  # noqa: E402
from engine import zoo  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.graph import compose  # noqa: E402
from engine.rigged import CAMERAS, rig_of  # noqa: E402
from nodes.model_export import export_model  # noqa: E402
from rigpose.errors import ConfigError, MissingError  # noqa: E402
from tests.calib.scenes import ring  # noqa: E402
from tests.engine import networks  # noqa: E402
from tests.training import tiny  # noqa: E402


@pytest.fixture(scope="module")
def rig() -> Rig:
    return ring(4)


@pytest.fixture(scope="module")
def rig_file(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rig") / "rig.toml"
    write_rig(rig, path)
    return path


def feed(rig: Rig, size: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    arrays = rig.arrays().astype(np.float32)._asdict()
    crops = np.random.default_rng(seed).integers(0, 256, (1, len(rig), size[1], size[0], 3), dtype=np.uint8)
    matrix = np.tile(np.array([[2.0, 0, 250], [0, 2, 250]], np.float32), (1, len(rig), 1, 1))
    return {"crops": crops, "crop_to_image": matrix, "view_weight": np.ones((1, len(rig)), np.float32), **arrays}


def answer(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    wanted = {value.name: inputs[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, wanted), strict=True))


class TestGraphs:
    def test_a_zoo_model_is_written_for_a_rig_and_checked(
        self, rig: Rig, rig_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "person.onnx"
        assert export_model("mannequin17", target, rig_file=rig_file) == 0
        said = capsys.readouterr().out
        assert "algebraic, 17 joints" in said and rig.calibration_id in said and f"--model {target}" in said
        # The bar that stands beside the figure is met.
        assert "PyTorch differ by at most 0.00" in said and "(bar 0.01)" in said
        located = find_model(target)
        assert located.document == find_model("mannequin17").document
        assert rig_of(located.proto) == {
            "calibration_id": rig.calibration_id, "cameras": list(rig.names), "fixed": False,
        }  # fmt: skip
        assert compose(located, 4).n_views == 4
        with pytest.raises(ConfigError, match="3 views need"):
            compose(located, 3)
        inputs = feed(rig, (160, 160))
        before, after = answer(zoo.path("mannequin17"), inputs), answer(target, inputs)
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array)

    def test_fixed_cameras_are_in_the_graph_and_the_engine_refuses_it(
        self, rig: Rig, rig_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "fixed.onnx"
        export_model("mannequin17", target, rig_file=rig_file, fix_rig=True)
        assert "fixed in the graph" in capsys.readouterr().out
        proto = onnx.load(target)
        assert [value.name for value in proto.graph.input] == ["crops", "crop_to_image", "view_weight"]
        assert set(CAMERAS) <= {weight.name for weight in proto.graph.initializer}
        inputs = feed(rig, (160, 160))
        whole = answer(zoo.path("mannequin17"), inputs)
        fixed = answer(target, {name: inputs[name] for name in ("crops", "crop_to_image", "view_weight")})
        assert np.abs(fixed["points3d"] - whole["points3d"]).max() < 0.01
        with pytest.raises(ConfigError, match="cameras fixed in it.*without --fix-rig"):
            compose(find_model(target), 4)

    def test_a_foreign_network_gets_our_geometry_and_describes_itself(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        located = networks.model(tmp_path, "heatmap")
        target = tmp_path / "whole.onnx"
        export_model(str(located.path), target, cameras=3)
        assert "3, as inputs" in capsys.readouterr().out
        exported = find_model(target)
        assert exported.document.output.kind == "graph" and exported.document.output.min_score == 0.1
        assert exported.document.input.colour == "BGR" and exported.document.skeleton == located.document.skeleton
        rig = ring(3)
        session = onnxruntime.InferenceSession(compose(located, 3).proto_bytes, providers=["CPUExecutionProvider"])
        inputs = feed(rig, networks.SIZE)
        np.testing.assert_array_equal(session.run(["points3d"], inputs)[0], answer(target, inputs)["points3d"])

    def test_any_number_of_cameras_stays_any(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        export_model("fly38")
        assert compose(find_model(tmp_path / "fly38.onnx"), 2).n_views == 2
        assert compose(find_model(tmp_path / "fly38.onnx"), 7).n_views == 7


class TestRefused:
    @pytest.mark.parametrize(
        ("source", "options", "match"),
        [
            ("nothing.pt", {}, "nothing.pt: no such file"),
            ("no-such-model", {}, "no-such-model"),
            ("mannequin17", {"kind": "algebraic"}, "--kind: is for weights"),
            ("mannequin17", {"cameras": 1}, "is one camera"),
            ("mannequin17", {"fix_rig": True}, "--fix-rig: needs a rig"),
            ("mannequin17", {"cameras": 4, "rig_file": Path("rig.toml")}, "--cameras: is known from the rig"),
            ("mannequin17", {"rig_file": Path("nowhere.toml")}, "nowhere.toml"),
            ("mannequin17", {"output": Path("no/such/folder/x.onnx")}, "cannot be written"),
        ],
    )
    def test_in_one_line(
        self, source: str, options: dict[str, Any], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match=match) as caught:
            export_model(source, **options)
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())

    def test_a_foreign_network_without_a_number_of_cameras(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="--rig RIG.toml or --cameras N"):
            export_model(str(networks.model(tmp_path, "heatmap").path), tmp_path / "x.onnx")

    def test_weights_of_something_else(self, tmp_path: Path) -> None:
        file = tmp_path / "some.pth"
        torch.save({"layer.weight": torch.zeros(2, 2)}, file)
        with pytest.raises(ConfigError, match="no published weights that are known.*--kind"):
            export_model(str(file))
        with pytest.raises(ConfigError, match="some.pth: holds other weights: they lack"):
            export_model(str(file), kind="algebraic", layers=18)
        with pytest.raises(ConfigError, match="consensus"):
            export_model(str(file), kind="ransac")
        file.write_bytes(b"no weights")
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            export_model(str(file))

    def test_without_torch_weights_name_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "some.pth").write_bytes(b"")
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(MissingError, match=r"needs torch.*rigpose\[train\]"):
            export_model(str(tmp_path / "some.pth"))
        export_model("mannequin17", tmp_path / "person.onnx")
        assert find_model(tmp_path / "person.onnx").document.id == "mannequin17"

    def test_a_checkpoint_is_not_described_twice(self, tmp_path: Path) -> None:
        tiny.checkpoint(tmp_path).write(tmp_path / "checkpoint.pt")
        with pytest.raises(ConfigError, match="--layers: is for published weights"):
            export_model(str(tmp_path / "checkpoint.pt"), layers=18)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestWeights:
    """Exporting takes half a minute, more where others work too."""

    @pytest.fixture(autouse=True)
    def exporter(self) -> None:
        pytest.importorskip("onnxscript")
        torch.set_num_threads(1)

    def test_a_checkpoint_becomes_a_graph(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from tests.training import exported

        # The graph itself is that of `tests.training.test_export`.
        monkeypatch.setattr("training.export.as_onnx", exported.as_onnx)
        checkpoint = tiny.checkpoint(tmp_path)
        checkpoint.write(tmp_path / "checkpoint.pt")
        export_model(str(tmp_path / "checkpoint.pt"), tmp_path / "tiny.onnx", cameras=3)
        assert "ONNX Runtime and PyTorch differ by at most" in capsys.readouterr().out
        located = find_model(tmp_path / "tiny.onnx")
        assert located.document.id == "tiny" and compose(located, 3).n_views == 3

    def test_published_weights_become_a_graph(
        self, rig_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = self.weights("PublishedAlgebraic", tmp_path)
        target = tmp_path / "human.onnx"
        export_model(str(path), target, rig_file=rig_file, kind="algebraic", layers=18, size=128)
        said = capsys.readouterr().out
        assert "PyTorch differ by at most" in said and "(bar 0.01)" in said, said
        located = find_model(target)
        assert located.document.skeleton.name == "human36m17" and located.document.domain == "real"
        assert not compose(located, 4).is_volumetric
        assert json.loads(located.document.to_json())["input"]["size"] == [128, 128]

    def test_published_volumetric_weights_are_recognised(self, tmp_path: Path) -> None:
        """Their graph is held against PyTorch in `tests.engine.models.test_contract`, small."""
        from engine.models.published import PublishedVolumetric
        from training.exchange import Asked, published

        path = self.weights("PublishedVolumetric", tmp_path, aggregation="conf_norm")
        model, document = published(path, Asked(kind="volumetric", layers=18))
        assert isinstance(model, PublishedVolumetric) and model.aggregation == "conf_norm" and model.parity
        assert document["skeleton"]["name"] == "human36m17" and document["input"]["size"] == [384, 384]
        for name, value in torch.load(path, weights_only=True)["state_dict"].items():
            assert torch.equal(model.state_dict()[name.removeprefix("module.")], value), name

    @staticmethod
    def weights(name: str, folder: Path, **options: Any) -> Path:
        from engine.models import published

        torch.manual_seed(0)
        state = getattr(published, name)(layers=18, **options).state_dict()
        path = folder / "weights.pth"
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
        return path
