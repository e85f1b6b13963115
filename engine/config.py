"""The YAML file that describes a rig and a run; every process reads the same one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

import rigpose
from capture.sources.base import check
from capture.views import View
from rigpose.config import Config, FilePath, load
from rigpose.errors import ConfigError
from rigpose.pose import MAX_VIEWS

Units = Literal["mm", "cm", "m"]
Method = Literal["triangulate", "lift"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Box = tuple[float, float, float, float]
Fit = Literal["crop", "scale", "letterbox"] | tuple[tuple[float, float, float], tuple[float, float, float]]


class RigSection(Config):
    """Which calibration the run uses.

    Attributes:
        file: A rig file; ours, anipose's or Pose2Sim's TOML.
        scenario: Instead of it, the scenario of a virtual rig, whose cameras are known exactly.
        units: Needed where the file does not say them.
        world: ``floor`` = z is up from the floor, ``board``, or ``camera:NAME``, where the file does not say.
    """

    file: FilePath | None = None
    scenario: FilePath | None = None
    units: Units | None = None
    world: str | None = Field(None, pattern=r"^(floor|board|camera:.+)$")

    @model_validator(mode="after")
    def _one_of_both(self) -> RigSection:
        if (self.file is None) == (self.scenario is None):
            raise ValueError("needs either file or scenario")
        return self

    @property
    def origin(self) -> Path:
        """The file that the cameras come from."""
        path = self.file or self.scenario
        assert path is not None
        return path


class CameraSection(Config):
    """One camera node.

    Attributes:
        source: ``kind`` (video, webcam, ...) and that kind's own keys.
        views: Rig cameras that this source gives, by name; by default one, named like the node.
        fit: How pictures of another size than the rig's belong to it.
    """

    source: dict[str, Any]
    views: dict[str, View] | None = None
    fit: Fit | None = None

    @model_validator(mode="after")
    def _has_kind(self) -> CameraSection:
        if "kind" not in self.source:
            raise ValueError("source has no key kind (video, webcam, ...)")
        return self


class FinderSection(Config):
    """How a subject is found that is not tracked yet.

    Attributes:
        kind: ``full`` = the whole picture, ``tiles`` = overlapping tiles, ``motion`` = where the
            picture moves, ``fixed`` = boxes that never move (a tethered animal).
        tiles: Tiles along each axis.
        boxes: ``[x, y, width, height]`` px by camera, for ``fixed``; the whole picture where absent.
    """

    kind: Literal["full", "tiles", "motion", "fixed"] = "full"
    tiles: int = Field(2, ge=1, le=6)
    boxes: dict[str, Box] = {}


class TrackerSection(Config):
    """When a subject counts as found, followed and lost.

    Attributes:
        found_share: Share of joints that must be solved for a subject to be found.
        lost_share: Share of joints below which a set counts against the track.
        max_residual_sigma: Median residual, in units of the 2D noise, beyond which a set counts against it.
        lost_after: Sets in a row that count against it until it is lost.
        verify_s: Seconds between checks of the track against the finder; 0 = never.
        margin: Crop side over the subject's extent; by default the model's.
        base_s: Of volumetric models: seconds for which the cube stands where the root was last known in all
            directions. It bounds how long one view goes on alone where the model does not see depth in it.
    """

    found_share: float = Field(0.5, gt=0, le=1)
    lost_share: float = Field(0.3, ge=0, le=1)
    max_residual_sigma: float = Field(5.0, gt=0)
    lost_after: int = Field(5, ge=1)
    verify_s: float = Field(3.0, ge=0)
    margin: float | None = Field(None, ge=1)
    base_s: float = Field(2.0, ge=0)


class SolveSection(Config):
    """How sure a joint must be.

    Attributes:
        sigma_share: Standard deviation of the network's keypoints, as a share of the longer side of its
            crop. People who label the same picture differ by 2.5 to 10 % of a person's size with the kind
            of joint (the keypoint sigmas of the COCO evaluation); a trained network is about as good.
        sigma_sent_px: The same, in raw px, of keypoints that a camera sends instead of pixels.
        gate_sigma: Residual beyond which a view's keypoint is doubted, in units of that deviation.
        max_sigma_mm: Largest standard deviation of a position that still counts as solved; by default
            3 % of the rig's working distance.
        max_lifted_sigma_mm: The same of a joint that a volumetric model or a lifter places because one view sees it, or
            none does; by default 10 %, and with a single camera 25 % of the subject's distance.
    """

    sigma_share: float = Field(0.01, gt=0, lt=1)
    sigma_sent_px: float = Field(2.0, gt=0)
    gate_sigma: float = Field(4.0, gt=0)
    max_sigma_mm: float | None = Field(None, gt=0)
    max_lifted_sigma_mm: float | None = Field(None, gt=0)


class LiftSection(Config):
    """How joints are placed that fewer than two views see.

    Attributes:
        model: A lifter's file, or a name of the zoo; without one nothing is lifted.
        scale: What tells how large, and so how far away, a subject is that a single camera sees: ``model`` = as large
            as those that the lifter learned from, ``floor`` = it stands on the floor of the rig's world, or the
            longest side of the box about it in mm, typically, in the sense of the lifter's ``size_mm``.
    """

    model: str | None = None
    scale: Literal["model", "floor"] | Annotated[float, Field(gt=0)] = "model"


def _off(value: object) -> object:
    return None if value is False else ({} if value is True else value)


class SmoothSection(Config):
    """One Euro filter on positions; written beside the measurement, never in its place.

    Attributes:
        min_cutoff_hz: Cut-off of a joint at rest.
        beta_hz_s_per_mm: How much the cut-off rises with speed.
        derivative_cutoff_hz: Cut-off of the speed itself.
    """

    min_cutoff_hz: float = Field(1.5, gt=0)
    beta_hz_s_per_mm: float = Field(0.005, ge=0)
    derivative_cutoff_hz: float = Field(1.0, gt=0)


class EngineSection(Config):
    """The engine process.

    Attributes:
        model: An ONNX, a model document or a zoo name.
        method: How 2D becomes 3D: ``triangulate``, or ``lift`` = one view suffices; what two see is triangulated.
        lift: The lifter, which both methods fall back on where views do not see a joint.
        runtime: ``auto`` or a runtime's name; one that is named never falls back.
        precision: In which the network is computed (fp32, fp16, bf16, int8); by default fp32, or what
            ``rigpose build --check`` accepted on this machine for this model and runtime.
        threads: Threads of the network; by default all cores but none for itself on two.
        deadline_periods: Frame periods after the first frame of a set at which it leaves incomplete.
        min_views: Views below which a set is counted incomplete and not solved; by default two, and one where a
            volumetric model or a lifter follows a subject, or the method is ``lift``.
        send_points2d: Send the 2D keypoints with each pose.
    """

    model: str | None = None
    method: Method = "triangulate"
    runtime: str = "auto"
    precision: Precision | None = None
    threads: int | None = Field(None, ge=1)
    deadline_periods: float = Field(1.5, gt=0)
    min_views: int | None = Field(None, ge=1)
    send_points2d: bool = True
    finder: FinderSection = FinderSection()
    tracker: TrackerSection = TrackerSection()
    solve: SolveSection = SolveSection()
    lift: LiftSection = LiftSection()
    smooth: Annotated[SmoothSection | None, BeforeValidator(_off)] = None


class RecordSection(Config):
    """Where the recording goes.

    Attributes:
        enabled: Whether to record.
        to: Folder that gets a dated folder for each session; by default ``recordings`` beside the file.
    """

    enabled: bool = True
    to: FilePath = Path("recordings")


class SessionSection(Config):
    """What a lab wants to read in a recording years later."""

    subject: str = ""
    experimenter: str = ""
    protocol: str = ""
    notes: str = ""


class RestartSection(Config):
    """What launch does when a node dies.

    Attributes:
        policy: ``on-failure`` or ``never``.
        backoff_s: Wait before the first restart; it doubles with each one ...
        backoff_max_s: ... up to this.
        reset_s: A node that has lived so long counts as healthy again.
    """

    policy: Literal["never", "on-failure"] = "on-failure"
    backoff_s: float = Field(0.2, gt=0)
    backoff_max_s: float = Field(10.0, gt=0)
    reset_s: float = Field(10.0, gt=0)


class SystemConfig(Config):
    """A rig and what to do with it.

    Attributes:
        version: Of this format: 1.
        name: Becomes part of the recording's name.
        rig: The calibration.
        mode: ``live`` = the newest set wins; ``lossless`` = every frame, as fast as the engine can.
        rate: Frames a second of the rig; by default that of the sources.
        cameras: Camera nodes by name.
        loop: How often file sources play; 0 = without end.
        sets: End after so many published sets.
        truth: Where the cameras are virtual, publish the true poses beside the engine's, which never reads them.
        accept_bad_rig: Go on with a rig that ``calib.quality`` calls bad; every pose then says so.
        force: Allow a synthetic model on a real camera.
    """

    version: int
    name: str = Field("rig", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    rig: RigSection
    mode: Literal["live", "lossless"] = "live"
    rate: float | None = Field(None, gt=0, le=10_000)
    cameras: dict[str, CameraSection] = Field(min_length=1)
    loop: int = Field(1, ge=0)
    sets: int | None = Field(None, ge=1)
    truth: bool = True
    engine: EngineSection = EngineSection()
    record: RecordSection = RecordSection()
    session: SessionSection = SessionSection()
    restart: RestartSection = RestartSection()
    accept_bad_rig: bool = False
    force: bool = False

    @model_validator(mode="after")
    def _names_differ(self) -> SystemConfig:
        names = [view for name, camera in self.cameras.items() for view in camera.views or (name,)]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"camera {sorted(repeated)[0]} is given by two sources")
        if len(names) > MAX_VIEWS:
            raise ValueError(f"cameras has {len(names)} of them; one engine takes at most {MAX_VIEWS}")
        for name in self.engine.finder.boxes:
            if name not in names:
                raise ValueError(f"engine.finder.boxes names {name}; the cameras are {', '.join(names)}")
        return self

    @cached_property
    def owners(self) -> dict[str, str]:
        """The camera node of each rig camera."""
        return {view: name for name, camera in self.cameras.items() for view in camera.views or (name,)}

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the rig cameras that the sources give, in order."""
        return tuple(self.owners)

    def fit_of(self, camera: str) -> Fit | None:
        """The fit of the node that gives a rig camera."""
        return self.cameras[self.owners[camera]].fit


def load_system(path: Path, *, data: Path | None = None, assignments: Iterable[str] = ()) -> SystemConfig:
    """Read a rig's YAML file; the paths of its sources become absolute, so that every process finds them.

    Args:
        path: The file.
        data: What ``${data}`` in it stands for; ``${package}`` is where rigpose's packages lie.
        assignments: ``a.b=c`` strings that replace keys.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    if data is not None and not data.is_dir():
        raise ConfigError(data, "is not a folder", "check --data")
    variables = {"package": str(Path(rigpose.__file__).resolve().parent.parent)}
    if data is not None:
        variables["data"] = str(data.resolve())
    config = load(path, SystemConfig, variables=variables, assignments=assignments)
    cameras = {}
    for name, section in config.cameras.items():
        source = check(section.source, f"{path}: cameras.{name}.source", path.resolve().parent)
        cameras[name] = section.model_copy(update={"source": source.model_dump(mode="json", exclude_unset=True)})
    engine = config.engine
    if engine.model is not None and Path(engine.model).suffix:
        # A file; a name without one is the zoo's.
        engine = engine.model_copy(update={"model": str(path.resolve().parent / Path(engine.model).expanduser())})
    if engine.lift.model is not None and Path(engine.lift.model).suffix:
        lifter = str(path.resolve().parent / Path(engine.lift.model).expanduser())
        engine = engine.model_copy(update={"lift": engine.lift.model_copy(update={"model": lifter})})
    # A default is not validated, so it does not know its file: each process would take it for a folder of its own.
    record = config.record.model_copy(update={"to": path.resolve().parent / config.record.to})
    return config.model_copy(update={"cameras": cameras, "engine": engine, "record": record})


def write_config(config: SystemConfig, path: Path) -> None:
    """Write a config so that loading the file gives the same value, from any folder."""
    path.write_text(
        yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False), encoding="utf-8"
    )
