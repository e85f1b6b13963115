"""The configs of published experiments: as published, and each builds, runs a step and is judged on made data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from capture.virtual.skeletons import HUMAN36M17
from engine.models.pose_resnet import PoseResNet
from engine.models.published import PublishedAlgebraic
from engine.models.weights import recognise
from rigpose.config import load
from rigpose.errors import ConfigError
from tests.training import papers, sets, tiny
from training import networks, train
from training.checkpoint import read_checkpoint
from training.config import CriterionSection, TrainingConfig
from training.datasets.index import Index
from training.datasets.precalculated import read_precalculated, write_precalculated
from training.datasets.protocols import PANOPTIC19
from training.datasets.sections import Human36MSection, PanopticSection
from training.loop import CHECKPOINT

CONFIGS = tiny.TRAINING / "configs"
HUMAN36M = ("human36m_alg", "human36m_alg_no_conf", "human36m_vol_softmax", "human36m_ransac")
PANOPTIC = ("panoptic_alg", "panoptic_vol")
LEARNING = tuple(name for name in HUMAN36M + PANOPTIC if name != "human36m_ransac")
SMALL = (
    *("model.layers=18", "stages=[{until: 1.0, size: 128}]", "steps=1", "data.batch_size=1"),
    *("validation={samples: 1, every_steps: 1}", "precision_cpu=fp32"),
)
SMALL_CUBOID = ("model.size=8", "model.v2v={widths: [4, 8], squeeze: 0, first: 4}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the configs call ``${data}``, as docs/training.md says, with a ResNet-18's weights."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "pretrained").mkdir()
    torch.manual_seed(3)
    pose = PoseResNet(18, 33)
    torch.nn.init.normal_(pose.final_layer.weight, std=0.02)
    torch.save(pose.state_dict(), folder / "pretrained" / "pose_resnet_4.5_pixels_human36m.pth")
    torch.save({"state_dict": pose.state_dict()}, folder / "pretrained" / "pose_resnet_152_384x384.pth.tar")
    papers.human(folder / "human36m")
    (folder / "human36m" / "results").mkdir()
    for split in ("train", "val"):
        (folder / "human36m" / f"{split}.npz").rename(folder / "human36m" / "results" / f"{split}.npz")
    sets.section("panoptic", folder / "panoptic")
    return folder


def changes(name: str, data: Path) -> list[str]:
    """What makes an experiment small, and fits it to the made data."""
    small = [*SMALL, *(SMALL_CUBOID if "_vol" in name else ())]
    if name.startswith("human36m"):
        # The made labels are the published file's.
        small.append(f"data.dataset.labels={data / 'human36m' / 'human36m-multiview-labels-GTbboxes.npy'}")
    else:
        small += ["data.dataset.train_sequences=[171204_pose1]", "data.dataset.val_sequences=[171204_pose5]"]
        small += [f"data.dataset.{split}_cameras=['00_00', '00_03', '00_07']" for split in ("train", "val")]
    return small


def command(name: str, data: Path, logs: Path, *more: str, settings: list[str] | None = None) -> int:
    words = ["--config", str(CONFIGS / f"{name}.yaml"), "--data", str(data), "--logdir", str(logs)]
    words += ["--workers", "0", "--device", "cpu", *more]
    return train.main([*words, *(w for s in [*changes(name, data), *(settings or [])] for w in ("--set", s))])


def as_shipped(name: str) -> TrainingConfig:
    return load(CONFIGS / f"{name}.yaml", TrainingConfig, variables={"data": "/data"})


def test_there_are_configs_of_all_published_experiments() -> None:
    found = {file.stem for file in CONFIGS.glob("*.yaml") if "kind: published" in file.read_text()}
    assert found == {*HUMAN36M, *PANOPTIC}


class TestAsPublished:
    """Values of the public configs, and of a loop that knows neither schedule nor average."""

    @pytest.mark.parametrize("name", HUMAN36M + PANOPTIC)
    def test_pictures_batches_and_precision(self, name: str) -> None:
        config = as_shipped(name)
        assert [stage.size for stage in config.stages] == [384]
        assert config.data.batch_size == config.data.batch_size_cuda == (5 if "_vol" in name else 8)
        assert (config.precision_cpu, config.precision_cuda) == ("fp32", "fp32")
        assert config.data.augment is None
        crop = config.data.crop
        assert (crop.shift, crop.scale, crop.wide_share, crop.turn_deg, crop.stretch) == (0, (1, 1), 0, 0, 0)
        assert crop.mirror == 0

    @pytest.mark.parametrize("name", LEARNING)
    def test_losses_and_rates(self, name: str) -> None:
        config = as_shipped(name)
        loss, optimiser = config.loss, config.optimiser
        assert isinstance(loss, CriterionSection) and loss.scale == 0.1 and loss.view_dropout == 0
        assert (optimiser.weight_decay, optimiser.warmup, optimiser.decay_from, optimiser.ema) == (0, 0, 1, 0)
        assert optimiser.clip is None and not optimiser.freeze and not optimiser.freeze_norm
        if "_vol" in name:
            assert (loss.criterion, loss.volumetric_ce_weight) == ("MAE", 0.01)
            assert (optimiser.rate, optimiser.rates) == (1e-4, {"process_features": 1e-3, "volume_net": 1e-3})
        else:
            assert (loss.criterion, loss.threshold, loss.volumetric_ce_weight) == ("MSESmooth", 400, 0)
            assert (optimiser.rate, optimiser.rates) == (1e-5, {})

    @pytest.mark.parametrize("name", HUMAN36M)
    def test_human36m_is_cut_to_the_pixel_from_pictures_without_lens(self, name: str) -> None:
        config = as_shipped(name)
        section = config.data.dataset
        assert isinstance(section, Human36MSection) and config.data.crop.margin == 1
        assert (section.pictures, section.boxes, section.with_damaged) == ("undistort", "labels", True)
        assert (section.retain_every, section.views, section.cameras) == (1, None, ())
        assert config.model.kind == "published" and config.model.parity

    @pytest.mark.parametrize("name", PANOPTIC)
    def test_panoptic_is_trained_anew_in_a_world_whose_z_is_up(self, name: str) -> None:
        config = as_shipped(name)
        assert isinstance(config.data.dataset, PanopticSection)
        assert config.data.dataset.protocol == "learnable_triangulation"
        assert config.model.kind == "published" and not config.model.parity
        assert getattr(config.model, "vertical", "z") == "z"

    @pytest.mark.parametrize(
        ("name", "published", "parameters"),
        [
            ("human36m_alg", "human36m_alg", 79_521_890),
            ("human36m_vol_softmax", "human36m_vol_softmax", 80_588_050),
            ("human36m_ransac", None, 68_635_473),
        ],
    )
    def test_networks_have_the_tensors_of_the_published_files(
        self, name: str, published: str | None, parameters: int
    ) -> None:
        with torch.device("meta"):
            model = networks.build(as_shipped(name).model, HUMAN36M17)
        known = recognise(model.state_dict())
        assert (known and known.name) == published
        assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in LEARNING])
def test_each_builds_and_runs_one_step(name: str, data: Path, tmp_path: Path) -> None:
    if name == "panoptic_vol":
        told(data)
    assert command(name, data, tmp_path) == 0
    folder = tmp_path / name
    checkpoint = read_checkpoint(folder / CHECKPOINT)
    assert (checkpoint.step, checkpoint.skipped) == (1, 0)
    assert checkpoint.origin.startswith("the backbone of pose_resnet_")
    began = torch.load(data / "pretrained" / "pose_resnet_4.5_pixels_human36m.pth", weights_only=True)
    moved = (checkpoint.weights["backbone.conv1.weight"] - began["conv1.weight"]).abs().max().item()
    assert moved == pytest.approx(1e-4 if "_vol" in name else 1e-5, rel=0.05)
    looks = [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]
    assert [look["mpjpe_mm"] > 0 for look in looks if look["kind"] == "val"] == [True]


def told(data: Path) -> None:
    """Poses of the bodies of Panoptic, found before."""
    folder = data / "panoptic" / "results"
    if folder.is_dir():
        return
    folder.mkdir()
    settings = [*changes("panoptic_alg", data)]
    config = load(CONFIGS / "panoptic_alg.yaml", TrainingConfig, variables={"data": str(data)}, assignments=settings)
    assert config.data.dataset is not None
    for split in ("train", "val"):
        index: Index = config.data.dataset.shots(split).index  # type: ignore[arg-type]
        poses = np.zeros((len(index), 19, 3)) + [0, 0, 900.0]
        write_precalculated(folder / f"{split}.npz", list(index), PANOPTIC19.joints, poses)


class TestEvaluation:
    def test_the_baseline_is_judged_with_its_backbone_and_never_trained(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="human36m_ransac: is a consensus, which learns nothing.*--eval"):
            command("human36m_ransac", data, tmp_path)
        assert command("human36m_ransac", data, tmp_path, "--eval", settings=["data.dataset.retain_every=3"]) == 0
        result = json.loads((tmp_path / "human36m_ransac" / "eval_val.json").read_text())
        assert result["origin"] == "the backbone of pose_resnet_4.5_pixels_human36m.pth"
        assert result["frames"] == 3 and result["mpjpe_mm"]["absolute"]["mean"] > 0

    def test_published_weights_are_judged_by_action(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.manual_seed(1)
        model = PublishedAlgebraic(17, layers=18, parity=True)
        torch.nn.init.normal_(model.backbone.final_layer.weight, std=0.02)
        file = tmp_path / "weights.pth"
        torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, file)
        poses = tmp_path / "val.npz"
        arguments = ["--eval", "--eval_dataset", "val", "--init", str(file), "--save-results", str(poses)]
        assert command("human36m_alg", data, tmp_path, *arguments) == 0
        result = json.loads((tmp_path / "human36m_alg" / "eval_val.json").read_text())
        # Both takes of an action are one row, and the damaged ones count as published.
        assert set(result["actions"]) == {"Greeting", "Walking", "Directions"}
        assert result["origin"] == "the weights of weights.pth" and result["step"] == 0
        assert "Greeting" in capsys.readouterr().out
        # What was saved is what was judged: the mean over joints of the distance from the truth.
        found = read_precalculated(poses)
        truth = papers.made_truth(data / "human36m")
        off = [np.linalg.norm(found[key] - truth[key], axis=-1).mean() for key in found.index]
        assert result["mpjpe_mm"]["absolute"]["mean"] == pytest.approx(np.mean(off), rel=1e-4)
        assert command("human36m_alg", data, tmp_path, *arguments, settings=["data.dataset.with_damaged=false"]) == 0
        result = json.loads((tmp_path / "human36m_alg" / "eval_val.json").read_text())
        assert set(result["actions"]) == {"Walking", "Directions"}

    def test_without_weights_there_is_nothing_to_judge(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is nothing to judge.*--init"):
            command("human36m_alg", data, tmp_path, "--eval")
        with pytest.raises(ConfigError, match=r"uses \$\{data\}, which is not set \(give --data FOLDER\)"):
            load(CONFIGS / "human36m_alg.yaml", TrainingConfig)

    def test_weights_of_another_network_are_refused_in_one_line(self, data: Path, tmp_path: Path) -> None:
        file = tmp_path / "weights.pth"
        torch.save(PublishedAlgebraic(17, layers=18).state_dict(), file)
        with pytest.raises(ConfigError, match="weights.pth: is not of this network") as caught:
            command("human36m_vol_softmax", data, tmp_path, "--eval", "--init", str(file))
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_published_weights_begin_a_run_on_other_joints(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(2)
    there = PublishedAlgebraic(17, layers=18)
    file = tmp_path / "weights.pth"
    torch.save(there.state_dict(), file)
    assert command("panoptic_alg", data, tmp_path, "--init", str(file)) == 0
    checkpoint = read_checkpoint(tmp_path / "panoptic_alg" / CHECKPOINT)
    assert checkpoint.origin == "the weights of weights.pth" and checkpoint.skipped == 0
    assert checkpoint.weights["backbone.final_layer.weight"].shape[0] == 19
    step = (checkpoint.weights["backbone.layer1.0.conv1.weight"] - there.backbone.layer1[0].conv1.weight).abs().max()
    assert 0 < step.item() <= 1.1e-5
    assert any("backbone.final_layer: begins anew, it had 17" in record.getMessage() for record in caplog.records)


def test_every_key_of_a_config_is_one_that_exists(tmp_path: Path) -> None:
    document = yaml.safe_load((CONFIGS / "human36m_alg.yaml").read_text())
    document["model"]["use_confidences"] = True
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match="model.use_confidences: is not a key.*confidences"):
        load(file, TrainingConfig, variables={"data": "/data"})
