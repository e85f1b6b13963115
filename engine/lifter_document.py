"""What a lifter says about itself: JSON in its ONNX metadata, under `METADATA_KEY`.

A lifter is one file that makes a 3D pose of the 2D keypoints of one camera: it undistorts them, looks at the subject
with a virtual camera and answers relative to the subject's roots. Nothing about it is guessed from its file name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import onnx
from pydantic import Field, model_validator

from engine.fitting import network_inputs, read_onnx, signature
from rigpose.config import Config, validate
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

METADATA_KEY = "rigpose.lifter"
INPUTS = ("points2d", "confidence", "K", "dist", "fisheye")
OUTPUTS = ("lifted_mm", "covariance_mm2")

Mode = Literal["perspective", "weak"]
Out = Literal["xyz", "depth"]


class RootSet(Config):
    """Joints that are lifted relative to one root.

    Attributes:
        root: Index of the root; its own answer is zero.
        joints: Indices of the joints that belong to it.
    """

    root: int = Field(ge=0)
    joints: tuple[int, ...] = Field(min_length=1)


class Calibration(Config):
    """How the predicted deviations were made honest.

    Attributes:
        sigma_scale: Factor on them, found where nothing was trained; the file's answers have it already.
    """

    sigma_scale: float = Field(1.0, gt=0)


class LifterDocument(Config):
    """One self-describing lifter (schema 1).

    Attributes:
        id: A short name that messages and recordings carry.
        domain: What it was trained on: poses of ``real`` subjects or of drawn ones.
        licence: Of the weights.
        source: Where they are from.
        skeleton: The joints, in the order of the J axis.
        roots: Most subjects have one root with all other joints; a tethered fly has six coxae with their legs.
            Each joint is a root or belongs to one.
        mode: ``perspective`` = the camera's intrinsics are used; ``weak`` = they are ignored and the picture is
            taken for a scaled parallel projection.
        window: Frames that it looks at, the newest last; more than one = temporal, and causal.
        out: ``depth`` = x and y are the picture's, only depth is predicted.
        size_mm: Longest side of the box about a pose in training, typically.
        size_spread: Relative standard deviation of that size in training: how well it can be known.
        needs_all: Whether every joint must be seen in every frame (``liftpose``).
        parents: Index of each joint's parent on the way to its root, or -1.
        calibration: Of the deviations.
    """

    schema_: Literal[1] = Field(1, alias="schema")
    id: str = Field(min_length=1)
    domain: Literal["real", "synthetic"]
    licence: str = Field(min_length=1)
    source: str = ""
    skeleton: Skeleton
    roots: tuple[RootSet, ...] = Field(min_length=1)
    mode: Mode = "perspective"
    window: int = Field(1, ge=1)
    out: Out = "xyz"
    size_mm: float = Field(gt=0)
    size_spread: float = Field(0.0, ge=0)
    needs_all: bool = False
    parents: tuple[int, ...]
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def _joints_are_the_skeletons(self) -> LifterDocument:
        n = len(self.skeleton.joints)
        check_roots(self.roots, n)
        if len(self.parents) != n or not all(-1 <= parent < n for parent in self.parents):
            raise ValueError(f"parents must be {n} joint indices, or -1 for none")
        return self

    @property
    def lifted(self) -> tuple[int, ...]:
        """Indices of the joints that are no roots, in the order of the J axis."""
        roots = {entry.root for entry in self.roots}
        return tuple(joint for joint in range(len(self.skeleton.joints)) if joint not in roots)

    @property
    def root_of(self) -> tuple[int, ...]:
        """Index of each joint's root; of a root its own."""
        return root_of(self.roots, len(self.skeleton.joints))

    def to_json(self) -> str:
        """The document as it stands in ONNX metadata."""
        return self.model_dump_json(by_alias=True)


def check_roots(roots: Sequence[RootSet], joints: int) -> None:
    """Refuse roots that leave a joint out or take one twice.

    Raises:
        ValueError: Says which joint.
    """
    taken = [entry.root for entry in roots] + [joint for entry in roots for joint in entry.joints]
    for joint in taken:
        if joint >= joints or joint < 0:
            raise ValueError(f"roots name joint {joint}, but there are {joints} joints")
        if taken.count(joint) > 1:
            raise ValueError(f"roots name joint {joint} twice")
    for joint in range(joints):
        if joint not in taken:
            raise ValueError(f"joint {joint} is no root and belongs to none")


def root_of(roots: Sequence[RootSet], joints: int) -> tuple[int, ...]:
    """Index of each joint's root; of a root its own."""
    found = list(range(joints))
    for entry in roots:
        for joint in entry.joints:
            found[joint] = entry.root
    return tuple(found)


def one_root(skeleton: Skeleton) -> tuple[RootSet, ...]:
    """All joints relative to the first of the skeleton's roots: what most subjects need."""
    root = skeleton.root[0]
    return (RootSet(root=root, joints=tuple(j for j in range(len(skeleton.joints)) if j != root)),)


def parents_of(skeleton: Skeleton, roots: Sequence[RootSet]) -> tuple[int, ...]:
    """Each joint's parent on the shortest way along the skeleton's edges to a root; -1 for roots and loose joints."""
    parents = [-1] * len(skeleton.joints)
    reached = [entry.root for entry in roots]
    known = set(reached)
    for joint in reached:  # grows while it is gone through
        for a, b in skeleton.edges:
            for near, far in ((a, b), (b, a)):
                if near == joint and far not in known:
                    parents[far] = near
                    known.add(far)
                    reached.append(far)
    return tuple(parents)


def document_of(proto: onnx.ModelProto, where: object) -> LifterDocument:
    """The document in a lifter's file, held against the file's inputs.

    Raises:
        ConfigError: The file is no lifter, or its document says something else than the file takes.
    """
    text = next((entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY), None)
    if text is None:
        raise ConfigError(
            where, f"is no lifter: it has no metadata {METADATA_KEY}", "give a file that python -m training.lift wrote"
        )
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ConfigError(where, f"metadata {METADATA_KEY} is not a JSON object", "export the lifter again")
    document = validate(content, LifterDocument, f"{where} (metadata {METADATA_KEY})")
    _check_fits(document, proto, where)
    return document


def _check_fits(document: LifterDocument, proto: onnx.ModelProto, where: object) -> None:
    inputs = network_inputs(proto)
    outputs = {value.name for value in proto.graph.output}
    missing = [name for name in INPUTS if name not in inputs] + [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise ConfigError(where, f"has no tensor {missing[0]}", "export the lifter again")
    shape = signature(inputs["points2d"])[1]
    wanted = (document.window, len(document.skeleton.joints))
    if len(shape) != 5 or shape[2:4] != wanted:
        raise ConfigError(
            where,
            f"its document says {wanted[0]} frames of {wanted[1]} joints, but points2d is {list(shape)}",
            "export the lifter again",
        )


def read_lifter_document(path: str | Path) -> tuple[LifterDocument, onnx.ModelProto]:
    """The document and the network in a lifter's file.

    Raises:
        ConfigError: The file is missing, is not ONNX, or is no lifter.
    """
    proto = read_onnx(Path(path))
    return document_of(proto, path), proto
