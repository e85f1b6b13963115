"""What readers of 3D poses share: what the user says, and checks of what a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from calib.formats import mat
from calib.formats.tables import MM_PER
from calib.rig import Rig
from capture.labels.poses3d import Poses3D
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError, RigposeError
from rigpose.skeleton import Skeleton

MOST_BYTES = 2**30
"""Of a file of poses: half a million moments of 38 joints in eight cameras."""


@dataclass(frozen=True, slots=True)
class How:
    """What a user says about poses that their file does not; as in `capture.labels.poses.reader.read_poses3d`."""

    units: str | None = None
    rig: Rig | None = None
    skeleton: Skeleton | None = None
    rate_hz: float | None = None
    subject: str | None = None
    size: tuple[int, int] | None = None
    cameras: tuple[str, ...] = ()
    pick: str | None = None
    predictions: Literal["alone", "always", "never"] = "alone"
    min_confidence: float = 0.5
    accept_bad_rig: bool = False

    def millimetres(self, stated: str | None, where: object) -> float:
        """How many mm one unit of the file is.

        Raises:
            ConfigError: Neither the file nor the user says it, or they say different units.
        """
        if stated is not None and stated not in MM_PER:
            raise ConfigError(where, f"{stated!r} is no unit known here", "write mm, cm or m")
        if stated and self.units and stated != self.units:
            raise ConfigError(where, f"says {stated}, and --units says {self.units}", "leave --units out")
        unit = stated or self.units
        if unit is None:
            raise ConfigError(where, "does not say in which unit its positions are", "give --units mm|cm|m")
        return MM_PER[unit]

    def own_cameras(self, where: object) -> None:
        """Of a file that has its own cameras.

        Raises:
            ConfigError: The user gives others.
        """
        if self.rig is not None:
            raise ConfigError("--rig", f"is not for {where}, which has its own cameras", "leave it out")

    def rate(self, stated: float | None, where: object) -> float | None:
        """Frames a second, as the file or the user says.

        Raises:
            ConfigError: They say different ones, or one that cannot be.
        """
        if stated is not None and not 0 < stated < np.inf:
            raise ConfigError(where, f"has {stated:g} frames a second", "correct it")
        if stated is not None and self.rate_hz is not None and not np.isclose(stated, self.rate_hz, rtol=1e-3):
            raise ConfigError(where, f"says {stated:g} Hz, and --rate says {self.rate_hz:g}", "leave --rate out")
        return self.rate_hz if stated is None else stated

    def ordered(self, named: Skeleton, where: object) -> Skeleton:
        """The user's skeleton for a file that names its joints: it may add bones, not change names.

        Raises:
            ConfigError: It has other joints, or another order.
        """
        if self.skeleton is None:
            return named
        if self.skeleton.joints != named.joints:
            what = f"has the joints {', '.join(named.joints)}, and the skeleton {self.skeleton.name} others"
            raise ConfigError(where, what, "leave --skeleton out, or give one of these joints")
        return self.skeleton

    def joints(self, n: int, where: object) -> Skeleton:
        """The skeleton of a file that names no joints: the user's, or numbered joints.

        Raises:
            ConfigError: The user's has another number of joints.
        """
        if self.skeleton is None:
            return skeleton_of([f"joint_{index}" for index in range(n)], where)
        return fitting(self.skeleton, n, where)


def fitting(skeleton: Skeleton, n: int, where: object) -> Skeleton:
    """A skeleton that has as many joints as the poses.

    Raises:
        ConfigError: It has not.
    """
    if len(skeleton.joints) != n:
        what = f"has {n} joints, and the skeleton {skeleton.name} {len(skeleton.joints)}"
        raise ConfigError(where, what, "give the skeleton of these poses: --skeleton")
    return skeleton


def positions(values: Any, where: object, key: str) -> Float[np.ndarray, "T J 3"]:
    """An array of positions as a file has it.

    Raises:
        ConfigError: It has other axes.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ConfigError(where, f"{key} holds no numbers", "save it as an array of numbers")
    if array.ndim != 3 or array.shape[-1] != 3:
        what = f"{key} has shape {list(array.shape)}, not frames x joints x 3"
        swapped = array.ndim == 3 and 3 in array.shape
        remedy = "exchange its axes: x, y and z come last" if swapped else "save it with these axes"
        raise ConfigError(where, what, remedy)
    return array.astype(np.float64)


def absent_where_zero(position: Float[np.ndarray, "T J 3"]) -> Float[np.ndarray, "T J 3"]:
    """The same with joints at exactly (0, 0, 0) missing, as programs write them that know no NaN."""
    return np.where((position == 0).all(axis=-1, keepdims=True), np.nan, position)


def made(where: object, **values: Any) -> Poses3D:
    """`Poses3D`, with a file's contradictions as the file's error.

    Raises:
        ConfigError: The values do not go together.
    """
    try:
        return Poses3D(**values)
    except ValueError as error:
        raise ConfigError(where, f"does not fit together: {error}", "correct the file") from None


def texts(values: Any, where: object, key: str) -> tuple[str, ...]:
    """Names, of an array of texts or bytes or of MATLAB's cells.

    Raises:
        ConfigError: They are none.
    """
    flat: Sequence[Any] = np.ravel(np.asarray(values)).tolist()
    names = []
    for value in flat:
        inner = np.ravel(value) if isinstance(value, np.ndarray) else np.array([value])
        one = inner[0] if len(inner) else ""
        name = one.decode("utf-8", "replace") if isinstance(one, bytes) else one
        if not isinstance(name, str):
            raise ConfigError(where, f"{key} holds something that is no text", "save names as texts")
        names.append(name.strip())
    return tuple(names)


def mat_names(path: Path) -> set[str]:
    """Names of the variables in a .mat file; none for any other."""
    if path.suffix.lower() != ".mat" or not path.is_file():
        return set()
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(b"\x89HDF") or head.startswith(b"MATLAB 7"):
            return set(mat.load(path, MOST_BYTES))
        from scipy import io as scipy_io  # here, for it is slow to import and few files need it

        mat.check(path.read_bytes(), MOST_BYTES)
        return {name for name, _, _ in scipy_io.whosmat(path)}
    except (OSError, ValueError, RigposeError):
        return set()


def matlab_struct(cell: Any, where: str) -> dict[str, Any]:
    """The fields of a MATLAB struct, itself or in a cell.

    Raises:
        ConfigError: It is none.
    """
    inner = np.ravel(cell)
    while len(inner) == 1 and isinstance(inner, np.ndarray) and inner.dtype == object:
        inner = np.ravel(inner[0])
    if not isinstance(inner, np.ndarray) or inner.dtype.names is None or not len(inner):
        raise ConfigError(where, "is no struct", "give the .mat as its program wrote it")
    return {name: inner[0][name] for name in inner.dtype.names}


def matlab_rows(values: Any, axes: int, where: str) -> Float[np.ndarray, "T J A"]:
    """Points of a table whose rows are frames and whose columns run x, y(, z) joint by joint.

    Raises:
        ConfigError: It is no such table.
    """
    array = np.asarray([] if values is None else values)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size or array.shape[1] % axes:
        what = f"has shape {list(array.shape)}, not frames x {axes} columns a joint"
        raise ConfigError(where, what, "give the .mat as its program wrote it")
    return array.astype(np.float64).reshape(len(array), -1, axes)


def in_order(frame: Int[np.ndarray, " T"], where: str) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " T"]]:
    """Frame numbers in rising order, and the rows that they come from.

    Raises:
        ConfigError: One is there twice.
    """
    order = np.argsort(frame, kind="stable")
    rising = frame[order]
    if (np.diff(rising) == 0).any():
        twice = int(rising[:-1][np.diff(rising) == 0][0])
        raise ConfigError(where, f"has frame {twice} twice", "keep one of its poses")
    return rising, order
