"""What the views show of one subject: crops, one graph, and what cameras sent instead of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from calib.triangulate import triangulate_with_residuals
from capture.buffers import BufferPool
from capture.frame import Frame
from engine.config import EngineSection
from engine.crop import Crop, Picture
from engine.document import ModelDocument
from engine.geometry import Geometry
from engine.graph import BASE_INPUTS, SPREAD
from engine.runtimes import Runtime
from engine.runtimes.feeds import available_threads
from engine.solve import Observation
from rigpose.errors import ConfigError

_BORDERS = {"constant": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}


class Observer:
    """Runs the graph where it is told to look.

    Args:
        geometry: Of the rig, for the pictures that really come.
        document: What the model is.
        runtime: Runs the composed graph; where it has a ``look`` (`engine.gpu.look`), that is given whole pictures.
        config: How wrong keypoints are.
        volumetric: Whether the graph reads joints from a cube.
    """

    def __init__(
        self,
        geometry: Geometry,
        document: ModelDocument,
        runtime: Runtime,
        config: EngineSection,
        *,
        volumetric: bool,
    ) -> None:
        self._geometry, self._document, self._runtime, self._config = geometry, document, runtime, config
        self._volumetric = volumetric
        self._border = _BORDERS[document.crop.padding]
        self._size = document.input.size
        width, height = self._size
        self._crops = np.zeros((1, len(geometry.rig), height, width, 3), np.uint8)
        self._nowhere = np.tile(np.eye(2, 3, dtype=np.float32), (1, len(geometry.rig), 1, 1))
        self._cutters = min(len(geometry.rig), config.threads or available_threads())
        self._helpers = ThreadPoolExecutor(self._cutters - 1, "crop") if self._cutters > 1 else None

    @property
    def pool(self) -> BufferPool | None:
        """Where the runtime wants pictures to be received into; ``None`` = it does not care."""
        return getattr(getattr(self._runtime, "look", None), "pool", None)

    def __call__(
        self,
        pictures: Sequence[Picture | None],
        crops: Sequence[Crop | None],
        frames: Sequence[Frame | None],
        middle: np.ndarray | None = None,
    ) -> Observation:
        """Run the graph on one crop a view; views that sent points instead of pixels bring their own.

        Args:
            pictures: Of each view; ``None`` = the camera is absent, or sent points.
            crops: Where to look in each; ``None`` = nowhere.
            frames: What the cameras sent.
            middle: (3,) world, where the cube of a volumetric graph stands; ``None`` = where it finds the root itself.

        Raises:
            ConfigError: A camera sent points of another skeleton.
        """
        views = len(self._geometry.rig)
        weight = np.zeros((1, views), np.float32)
        to_image = self._nowhere.copy()
        sigma_px = np.full(views, self._config.solve.sigma_share * max(self._size))
        for view, (picture, crop) in enumerate(zip(pictures, crops, strict=True)):
            if picture is not None and crop is not None:
                weight[0, view] = 1.0
                sigma_px[view] *= max(crop.scale, 0.5)
        if weight.any():
            given = self._geometry.single._asdict() | (_base_of(middle) if self._volumetric else {})
            out = self._by_frames(pictures, crops, given)
            if out is None:
                self._cut(pictures, crops, to_image)
                inputs = {"crops": self._crops, "crop_to_image": to_image, "view_weight": weight, **given}
                out = self._runtime.run(inputs)
            seen = Observation(
                points=out["points2d"][0],
                confidence=out["confidence"][0] * weight[0, :, None],
                position_mm=out["points3d"][0],
                residual_px=out["residual_px"][0],
                sigma_px=sigma_px,
                covariance_mm2=out[SPREAD][0] if self._volumetric else None,
            )
        else:
            joints = len(self._document.skeleton.joints)
            seen = Observation(
                points=np.full((views, joints, 2), np.nan),
                confidence=np.zeros((views, joints)),
                position_mm=np.full((joints, 3), np.nan),
                residual_px=np.full((views, joints), np.nan),
                sigma_px=sigma_px,
            )
        return self._with_sent_points(seen, frames)

    def _cut(self, pictures: Sequence[Picture | None], crops: Sequence[Crop | None], to_image: np.ndarray) -> None:
        """Fill in the crops, and ``to_image`` (1, V, 2, 3), on the cores that wait for the network's input anyhow."""

        def cut(view: int, picture: Picture, crop: Crop) -> None:
            to_image[0, view] = picture.cut(crop, self._crops[0, view], self._border)

        work = [
            (view, picture, crop)
            for view, (picture, crop) in enumerate(zip(pictures, crops, strict=True))
            if picture is not None and crop is not None
        ]
        waiting = iter(work)

        def cut_waiting() -> None:
            for one in waiting:
                cut(*one)

        # Each takes the next view: a helper that gets its core late, beside cameras and sockets, holds up nobody.
        helpers = [] if self._helpers is None else [self._helpers.submit(cut_waiting) for _ in work[1 : self._cutters]]
        cut_waiting()
        for helper in helpers:
            if not helper.cancel():
                helper.result()

    def _by_frames(
        self, pictures: Sequence[Picture | None], crops: Sequence[Crop | None], given: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray] | None:
        """The graph's answer by a runtime that takes whole pictures (`engine.gpu.look`), where it is one."""
        look = getattr(self._runtime, "look", None)
        if look is None:
            return None
        here = [p if c is not None else None for p, c in zip(pictures, crops, strict=True)]
        images = [None if picture is None else picture.pixels for picture in here]
        nv12 = {view for view, picture in enumerate(here) if picture is not None and picture.is_nv12}
        answer = look(images, crops, self._border, given, nv12)
        return None if answer is None else answer[0]

    def _with_sent_points(self, seen: Observation, frames: Sequence[Frame | None]) -> Observation:
        sent = {v: f.points for v, f in enumerate(frames) if f is not None and f.points is not None}
        if not sent:
            return seen
        points, confidence = np.array(seen.points, float), np.array(seen.confidence, float)
        sigma_px = seen.sigma_px.copy()
        for view, keypoints in sent.items():
            if keypoints.points.shape != points[view].shape:
                raise ConfigError(
                    f"camera {self._geometry.rig.names[view]}",
                    f"sends {len(keypoints.points)} points, model {self._document.id} has {points.shape[1]} joints",
                    "send the joints of the model's skeleton, in its order",
                )
            points[view], confidence[view] = keypoints.points, keypoints.confidence
            sigma_px[view] = self._config.solve.sigma_sent_px
        weight = np.where(confidence >= self._document.output.min_score, confidence, 0.0)
        position, residual = triangulate_with_residuals(points, weight, self._geometry.exact)
        return Observation(points, confidence, position, residual, sigma_px)


def _base_of(middle: np.ndarray | None) -> dict[str, np.ndarray]:
    given = middle is not None
    where = np.zeros((1, 3), np.float32) if middle is None else middle[None].astype(np.float32)
    return dict(zip(BASE_INPUTS, (where, np.full(1, given, np.float32)), strict=True))
