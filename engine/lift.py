"""Lifting on the CPU: the 2D keypoints of each view become a 3D pose relative to its roots, each view by itself.

A lifter is one ONNX file (`engine.lifter_document`) that `python -m training.lift` writes. Here it runs with numpy and
ONNX Runtime alone. Where a pose stands in the world is told by `root_in_world`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float

from calib.rig import RigArrays
from engine.lifter_document import INPUTS, OUTPUTS, LifterDocument, read_lifter_document
from engine.root_place import Placed, root_in_world
from engine.zoo import FOLDER
from rigpose.errors import ConfigError, MissingError, RigposeError

__all__ = ["Lifted", "Lifter", "Placed", "lifter_names", "lifter_path", "root_in_world"]

ZOO = FOLDER / "lifters"
"""Lifters that come with rigpose; they are no models that see pictures, and so have a folder of their own."""
_ERROR = 3


@dataclass(frozen=True, slots=True)
class Lifted:
    """What a lifter says of each view.

    Attributes:
        lifted_mm: (V, J, 3) relative to each joint's root, in the axes of each camera (x right, y down, z forward);
            0 for roots; NaN for a view that sees too little.
        covariance_mm2: (V, J, 6) xx xy xz yy yz zz of that.
    """

    lifted_mm: Float[np.ndarray, "V J 3"]
    covariance_mm2: Float[np.ndarray, "V J 6"]


def lifter_names() -> tuple[str, ...]:
    """Names of the lifters that come with this version."""
    return tuple(sorted(file.stem for file in ZOO.glob("*.onnx")))


def lifter_path(argument: str | Path) -> Path:
    """The file of a lifter that a user names by a path or a zoo name.

    Raises:
        ConfigError: There is none.
    """
    path = Path(argument).expanduser()
    if path.is_file():
        return path
    if str(argument) in lifter_names():
        return ZOO / f"{argument}.onnx"
    names = ", ".join(lifter_names()) or "none"
    raise ConfigError(f"lifter {argument}", "is neither a file nor a lifter of the zoo", f"the zoo has: {names}")


class Lifter:
    """A lifter that runs. It keeps the last frames itself where it looks at several; one object serves one subject.

    Args:
        document: What it says about itself.
        proto: The network.
        threads: Threads that it may use.

    Raises:
        ConfigError: ONNX Runtime cannot load it.
        MissingError: onnxruntime is not installed.
    """

    def __init__(self, document: LifterDocument, proto: onnx.ModelProto, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingError("lifting", f"onnxruntime is not usable: {error}", "pip install onnxruntime") from None
        self.document = document
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _ERROR
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
            raise ConfigError(
                f"lifter {document.id}",
                f"ONNX Runtime {onnxruntime.__version__} cannot load it: {error}",
                "export it again, or update onnxruntime",
            ) from None
        # What a graph does not use (a weak perspective needs no camera) is fed all the same.
        self._frames: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=document.window)

    @classmethod
    def load(cls, argument: str | Path, threads: int = 1) -> Lifter:
        """The lifter in a file or of a zoo name.

        Raises:
            ConfigError: There is none, or the file is no lifter.
        """
        document, proto = read_lifter_document(lifter_path(argument))
        return cls(document, proto, threads)

    def reset(self) -> None:
        """Forget the frames before: another subject, or a gap in time."""
        self._frames.clear()

    def lift(
        self, points2d: Float[np.ndarray, "V J 2"], confidence: Float[np.ndarray, "V J"], rig: RigArrays
    ) -> Lifted:
        """Lift the newest frame of each view.

        Args:
            points2d: Raw px, NaN = not seen.
            confidence: 0..1, 0 = not seen.
            rig: Arrays of the rig whose views these are, numpy of any float type.

        Raises:
            RigposeError: The joints are not the lifter's, or ONNX Runtime failed.
        """
        points = np.asarray(points2d, dtype=np.float32)
        sure = np.asarray(confidence, dtype=np.float32)
        n = len(self.document.skeleton.joints)
        if points.shape[1:] != (n, 2) or sure.shape != points.shape[:2]:
            raise RigposeError(
                f"lifter {self.document.id}",
                f"was given points {list(points.shape)} and confidences {list(sure.shape)}, but knows {n} joints",
                "give the lifter that was trained for this skeleton",
            )
        if self._frames and self._frames[-1][0].shape != points.shape:
            self.reset()
        self._frames.append((points, sure))
        window = self.document.window
        if window > 1:
            missing = window - len(self._frames)
            before = [(np.full_like(points, np.nan), np.zeros_like(sure))] * missing
            frames = [*before, *self._frames]
            points, sure = (np.stack(part, axis=1) for part in zip(*frames, strict=True))
        else:
            points, sure = points[:, None], sure[:, None]
        lifted, covariance = self.run(points[None], sure[None], rig)
        return Lifted(lifted[0], covariance[0])

    def run(
        self, points2d: Float[np.ndarray, "B V T J 2"], confidence: Float[np.ndarray, "B V T J"], rig: RigArrays
    ) -> tuple[Float[np.ndarray, "B V J 3"], Float[np.ndarray, "B V J 6"]]:
        """Lift many windows at once; nothing is kept.

        Raises:
            RigposeError: ONNX Runtime failed.
        """
        arrays = (points2d, confidence, rig.K, rig.dist, rig.fisheye)
        feeds = {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in zip(INPUTS, arrays, strict=True)}
        try:
            lifted, covariance = self._session.run(list(OUTPUTS), feeds)
        except Exception as error:  # as above
            raise RigposeError(
                f"lifter {self.document.id}", f"ONNX Runtime failed: {error}", "check the shapes and the file"
            ) from None
        return lifted, covariance
