"""The scenario: one YAML file that says everything about a virtual rig.

Every range is ``[low, high]``; a sample of a scenario is a pure function of its seed, so the same
seed gives the same pictures on any machine with the same OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from rigpose.config import Config, load

Seed = int | tuple[int, ...]
"""One number, or several (a seed, an epoch, a sample)."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range {list(value)} ends before it begins")
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] <= 0:
        raise ValueError(f"the range {list(value)} must lie above 0")
    return value


def _not_negative(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] < 0:
        raise ValueError(f"the range {list(value)} must not lie below 0")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Positive = Annotated[tuple[float, float], AfterValidator(_ordered), AfterValidator(_positive)]
NotNegative = Annotated[tuple[float, float], AfterValidator(_ordered), AfterValidator(_not_negative)]
Count = Annotated[tuple[int, int], AfterValidator(_ordered), AfterValidator(_not_negative)]
Vector = tuple[float, float, float]
Size = tuple[Annotated[int, Field(ge=16, le=8192)], Annotated[int, Field(ge=16, le=8192)]]

Cloth = Literal["plain", "rings", "stripes", "patches"]
Backdrop = Literal["gradient", "checker", "noise", "bars", "bricks"]
Floor = Literal["none", "plain", "checker", "noise", "planks"]

MANNEQUIN_KINDS = (
    "walking",
    "reaching",
    "turning",
    "squatting",
    "waving",
    "stepping",
    "crouching",
    "kicking",
    "stretching",
)
FLY_KINDS = ("walking", "grooming", "hind_grooming", "resting", "reaching")


class SubjectSection(Config):
    """Who moves.

    Attributes:
        kind: ``mannequin`` (17 joints, 1.75 m) or ``fly`` (38 keypoints, 2.5 mm).
        scale: Factor on the whole body.
        limbs: Factor on the length of limbs alone: the proportion of limbs to trunk.
        girth: Factor on the thickness of everything.
        variation: Each bone's own factor lies within 1 +- this, equal on both sides.
        left_hue_deg: Hue of the left limbs.
        right_hue_deg: Hue of the right limbs; the two must be apart, for colour is what tells the sides.
    """

    kind: Literal["mannequin", "fly"]
    scale: Positive = (1.0, 1.0)
    limbs: Positive = (1.0, 1.0)
    girth: Positive = (1.0, 1.0)
    variation: float = Field(0.03, ge=0, le=0.2)
    left_hue_deg: Range = (0, 40)
    right_hue_deg: Range = (195, 235)

    @model_validator(mode="after")
    def _sides_differ(self) -> SubjectSection:
        (left_low, left_high), (right_low, right_high) = self.left_hue_deg, self.right_hue_deg
        if left_high >= right_low - 30 and right_high >= left_low - 30:
            raise ValueError("left_hue_deg and right_hue_deg must be at least 30 degrees apart")
        return self


class MotionSection(Config):
    """How it moves; kinds follow each other, blended, without end.

    Attributes:
        kinds: What it may do.
        speed: Factor on all tempos.
        arena_mm: Radius of the path that it walks along.
        hold_s: How long it keeps to one kind.
        wildness: Factor on the slow noise of all joints' angles.
    """

    kinds: tuple[str, ...] = Field(min_length=1)
    speed: Positive = (0.8, 1.2)
    arena_mm: NotNegative = (300, 500)
    hold_s: Positive = (2.5, 4.0)
    wildness: NotNegative = (0.8, 1.2)


class LensSection(Config):
    """Lenses of a ring of cameras.

    Attributes:
        focal: Focal length as a share of the picture's width.
        extent_mm: Where given, it is chosen so that the picture's width shows so much at the target.
        center_px: How far the principal point may lie from the middle, along each axis.
        k1: First radial coefficient (the second is a quarter of it with the other sign).
        fisheye_share: Share of cameras with a fisheye lens (equidistant, with small coefficients).
        fisheye_focal: Focal length of those.
    """

    focal: Positive = (0.9, 1.1)
    extent_mm: Positive | None = None
    center_px: float = Field(4.0, ge=0)
    k1: Range = (-0.15, 0.05)
    fisheye_share: float = Field(0.0, ge=0, le=1)
    fisheye_focal: Positive = (0.75, 0.9)


class RingSection(Config):
    """Cameras around the subject, named ``cam1``, ``cam2`` ...

    Attributes:
        count: How many.
        size: (width, height) px.
        distance_mm: From the target.
        elevation_deg: Above it.
        azimuth_deg: Where the first one stands; the others follow evenly.
        azimuth_jitter_deg: Placement's jitter: around ...
        target_mm: ... what they look at ...
        aim_jitter_mm: ... and how far beside it they look.
        roll_deg: Turned about their axis.
        lens: Lenses.
    """

    count: int = Field(4, ge=1, le=32)
    size: Size = (320, 240)
    distance_mm: Positive
    elevation_deg: Range
    azimuth_deg: Range = (0, 360)
    azimuth_jitter_deg: float = Field(12.0, ge=0)
    target_mm: Vector = (0, 0, 850)
    aim_jitter_mm: float = Field(60.0, ge=0)
    roll_deg: Range = (-3, 3)
    lens: LensSection = LensSection()


class CameraSection(Config):
    """One camera, told exactly.

    Attributes:
        name: In the rig.
        size: (width, height) px.
        position_mm: Where it stands.
        target_mm: What it looks at.
        roll_deg: Turned about its axis.
        focal_px: Focal length.
        center_px: Principal point; by default the middle.
        dist: Distortion in OpenCV's order; 4 for a fisheye.
        fisheye: Which model.
    """

    name: str = Field(min_length=1)
    size: Size = (320, 240)
    position_mm: Vector
    target_mm: Vector = (0, 0, 850)
    roll_deg: float = 0.0
    focal_px: float = Field(gt=0)
    center_px: tuple[float, float] | None = None
    dist: tuple[float, ...] = ()
    fisheye: bool = False


class LightSection(Config):
    """One lamp and what comes from everywhere.

    Attributes:
        elevation_deg: Of the lamp.
        azimuth_deg: Of the lamp.
        ambient: Brightness without the lamp.
        strength: What the lamp adds.
        warmth: Colour of the lamp: below 0 bluish, above 0 reddish.
    """

    elevation_deg: Range = (35, 80)
    azimuth_deg: Range = (0, 360)
    ambient: NotNegative = (0.45, 0.6)
    strength: NotNegative = (0.35, 0.6)
    warmth: Range = (-0.1, 0.1)


class BackgroundSection(Config):
    """What stands behind.

    Attributes:
        kinds: Of the backdrop.
        floor: Kinds of floor.
        brightness: Mean grey level.
        contrast: Of its texture, in grey levels.
        colour: How colourful, 0 = grey.
        shapes: Random shapes on the backdrop.
    """

    kinds: tuple[Backdrop, ...] = Field(("gradient", "noise"), min_length=1)
    floor: tuple[Floor, ...] = Field(("plain", "noise"), min_length=1)
    brightness: NotNegative = (90, 160)
    contrast: NotNegative = (8, 30)
    colour: NotNegative = (0.0, 0.25)
    shapes: Count = (0, 4)


class OccludersSection(Config):
    """What stands in front.

    Attributes:
        boxes: How many boxes on the floor.
        poles: How many poles.
        distance_mm: From the target, on the floor.
        size_mm: Side of boxes; poles are a sixth as thick.
        height_mm: Of both.
        cards: Cards held before each lens of its own ...
        cards_cover: ... that together cover such a share of the joints in each view.
    """

    boxes: Count = (0, 0)
    poles: Count = (0, 0)
    distance_mm: Positive = (900, 1500)
    size_mm: Positive = (250, 500)
    height_mm: Positive = (500, 1100)
    cards: Count = (0, 0)
    cards_cover: NotNegative = (0.0, 0.0)


class Stall(Config):
    """The camera hangs: it gives a frame late, and never those that are due meanwhile.

    Attributes:
        tick: Whose frame.
        ms: How late.
    """

    tick: int = Field(ge=0)
    ms: float = Field(gt=0)


class FaultsSection(Config):
    """What goes wrong with one camera.

    Attributes:
        drop_share: Share of frames, chosen by the seed, that the camera exposes and never gives.
        drop_ticks: Frames that it never gives.
        stalls: When it hangs.
        offset_ms: Its clock is ahead by this much ...
        drift_ppm: ... and runs this much too fast.
        dies_at: The process ends, without a word, when this tick comes; a process that starts later lives.
    """

    drop_share: float = Field(0.0, ge=0, lt=1)
    drop_ticks: tuple[int, ...] = ()
    stalls: tuple[Stall, ...] = ()
    offset_ms: float = 0.0
    drift_ppm: float = 0.0
    dies_at: int | None = Field(None, ge=0)


class Scenario(Config):
    """A virtual rig and what happens before it.

    Attributes:
        version: Of this format: 1.
        name: Of the scenario.
        seed: Of the live rig's one world; ``World(scenario, seed=...)`` gives others.
        subject: Who.
        motion: What they do.
        cameras: A ring, or a list.
        light: Light.
        texture: Kinds of cloth; one is chosen for a world.
        background: Background.
        occluders: Occluders.
        noise: Standard deviation of the pictures' noise, in grey levels.
        gain: Factor on the pictures' brightness.
        blur_px: Standard deviation of the lens's blur.
        motion_blur: Whether a picture is the mean over its exposure.
        exposure_ms: Exposure.
        rate: Frames per second.
        faults: By camera name.
    """

    version: int
    name: str = Field(min_length=1)
    seed: int = Field(0, ge=0)
    subject: SubjectSection
    motion: MotionSection
    cameras: RingSection | tuple[CameraSection, ...]
    light: LightSection = LightSection()
    texture: tuple[Cloth, ...] = Field(("plain",), min_length=1)
    background: BackgroundSection = BackgroundSection()
    occluders: OccludersSection = OccludersSection()
    noise: NotNegative = (1.0, 3.0)
    gain: Positive = (0.9, 1.1)
    blur_px: NotNegative = (0.0, 0.5)
    motion_blur: bool = True
    exposure_ms: Positive = (4.0, 8.0)
    rate: float = Field(30.0, gt=0, le=10_000)
    faults: dict[str, FaultsSection] = {}

    @model_validator(mode="after")
    def _names_exist(self) -> Scenario:
        kinds = MANNEQUIN_KINDS if self.subject.kind == "mannequin" else FLY_KINDS
        unknown = [kind for kind in self.motion.kinds if kind not in kinds]
        if unknown:
            raise ValueError(f"motion.kinds has {unknown[0]!r}; a {self.subject.kind} can do: {', '.join(kinds)}")
        names = self.camera_names
        if not names:
            raise ValueError("cameras is empty")
        if len(set(names)) != len(names):
            raise ValueError("cameras has a name twice")
        strangers = [name for name in self.faults if name not in names]
        if strangers:
            raise ValueError(f"faults has {strangers[0]!r}; the cameras are {', '.join(names)}")
        return self

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, in rig order."""
        if isinstance(self.cameras, RingSection):
            return tuple(f"cam{number + 1}" for number in range(self.cameras.count))
        return tuple(camera.name for camera in self.cameras)

    def with_views(self, count: int) -> Scenario:
        """The same scenario with another number of cameras: a ring of so many, or the first of the list."""
        if isinstance(self.cameras, RingSection):
            cameras: RingSection | tuple[CameraSection, ...] = self.cameras.model_copy(update={"count": count})
        else:
            cameras = self.cameras[:count]
        return self.model_copy(update={"cameras": cameras})


def load_scenario(path: str | Path, assignments: Iterable[str] = ()) -> Scenario:
    """Read a scenario file; ``assignments`` are ``a.b=value`` strings that replace keys.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    return load(path, Scenario, assignments=assignments)


def generator(seed: Seed, index: int) -> np.random.Generator:
    """The random numbers of one stream of one sample: a pure function of both."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([*_numbers(seed), index])))


def _numbers(seed: Seed) -> Sequence[int]:
    return (seed,) if isinstance(seed, int) else seed


def within(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """A number of a range."""
    return float(rng.uniform(*limits))
