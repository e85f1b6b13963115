"""How far a lift can be trusted where it stands in for views that do not see: figures fitted where nothing is judged.

They belong to a lifter and stand in its file, as JSON in the metadata under `METADATA_KEY`; `python -m
training.fallback` fits and writes them. A lifter without them gets cautious ones.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float
from pydantic import Field

from engine.lifter_document import LifterDocument
from rigpose.config import Config, validate
from rigpose.errors import ConfigError

METADATA_KEY = "rigpose.fallback"
_REACH = 2.0
"""Bones over which errors of a lift fall to 1/e in common, where nothing was fitted."""


class FallbackTuning(Config):
    """What is known of a lifter's errors and of its subject's motion.

    Attributes:
        view_correlation: What errors of two views' lifts have in common: 1 = a second view adds nothing (the bias is
            the network's), 0 = they are independent.
        lift_scale: Factor on the lifter's deviations.
        lift_memory_s: Seconds after which an error of the lift has changed to 1/e.
        lift_noise: Share of the lift's variance that is another one in each frame.
        correlation: (J J) of the errors of two joints of one lift, row by row; ``None`` = it falls with the bones
            between them.
        scale_sigma: How much the subject's size may differ from the lifter's, relative (standard deviation).
        speed_per_s: Standard deviation of a joint's velocity along each axis, in sizes of the subject a second; one
            figure, or one for each joint.
        speed_memory_s: Seconds after which a velocity has changed to 1/e.
        pixel_scale: Factor on the deviation of keypoints.
        freedom: Degrees of freedom of the distribution (Student's) of which keypoints and lifts are; 0 = a normal one.
            The fewer, the more the covariance of a lifted joint tells how well its ray and the lift agree.
        lifted_scale: Factor on the deviations of what is published as ``lifted`` ...
        predicted_scale: ... and as ``predicted``.
        alone_scale: Factor on both where no joint is triangulated any more: nothing holds the lift then, and what the
            keypoints of the one view are off by for long is not averaged away.
    """

    view_correlation: float = Field(0.8, ge=0, le=1)
    lift_scale: float = Field(1.0, gt=0)
    lift_memory_s: float = Field(0.4, gt=0)
    lift_noise: float = Field(0.1, ge=0, lt=1)
    correlation: tuple[float, ...] | None = None
    scale_sigma: float = Field(0.05, ge=0)
    speed_per_s: tuple[float, ...] = Field((0.5,), min_length=1)
    speed_memory_s: float = Field(0.3, gt=0)
    pixel_scale: float = Field(1.5, gt=0)
    freedom: float = Field(5.0, ge=0)
    lifted_scale: float = Field(1.2, gt=0)
    predicted_scale: float = Field(1.2, gt=0)
    alone_scale: float = Field(1.2, gt=0)

    def correlations(self, document: LifterDocument) -> Float[np.ndarray, "J J"]:
        """Of the errors of a lifter's joints; positive semi-definite, ones on the diagonal."""
        joints = len(document.skeleton.joints)
        if self.correlation is not None:
            return np.array(self.correlation).reshape(joints, joints)
        # An exponential of distances on a tree is a covariance.
        return np.exp(-_bones_between(document) / _REACH)

    def speeds_mm(self, document: LifterDocument) -> Float[np.ndarray, " J"]:
        """`speed_per_s` of each joint in mm/s."""
        joints = len(document.skeleton.joints)
        return document.size_mm * np.broadcast_to(np.array(self.speed_per_s), joints)


def _bones_between(document: LifterDocument) -> np.ndarray:
    parents = document.parents
    chains = []
    for joint in range(len(parents)):
        chain = [joint]
        while parents[chain[-1]] >= 0:
            chain.append(parents[chain[-1]])
        chains.append(chain)
    between = np.full((len(parents), len(parents)), np.inf)
    for i, one in enumerate(chains):
        for j, other in enumerate(chains):
            common = [joint for joint in one if joint in other]
            if common:
                between[i, j] = one.index(common[0]) + other.index(common[0])
    return between


def tuning_of(proto: onnx.ModelProto, document: LifterDocument, where: object) -> FallbackTuning:
    """The figures in a lifter's file, or cautious ones.

    Raises:
        ConfigError: They are malformed, or of another number of joints.
    """
    text = next((entry.value for entry in proto.metadata_props if entry.key == METADATA_KEY), None)
    if text is None:
        return FallbackTuning()
    try:
        content: Any = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ConfigError(where, f"metadata {METADATA_KEY} is not a JSON object", "fit it again: training.fallback")
    tuning = validate(content, FallbackTuning, f"{where} (metadata {METADATA_KEY})")
    joints = len(document.skeleton.joints)
    if (tuning.correlation is not None and len(tuning.correlation) != joints**2) or (
        len(tuning.speed_per_s) not in (1, joints)
    ):
        raise ConfigError(
            where, f"metadata {METADATA_KEY} is not of {joints} joints", "fit it again: training.fallback"
        )
    return tuning


def signed(proto: onnx.ModelProto, tuning: FallbackTuning) -> None:
    """Write the figures in a lifter's metadata, instead of what stood there."""
    others = [entry for entry in proto.metadata_props if entry.key != METADATA_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(others)
    proto.metadata_props.add(key=METADATA_KEY, value=tuning.model_dump_json())
