"""Files as MATLAB's ``save -v7.3`` lays them out, made from the variables that `scipy.io.savemat` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

CLASSES = {"f8": "double", "f4": "single", "b1": "logical", "u1": "uint8", "u2": "uint16", "i4": "int32", "i8": "int64"}


class Writer:
    """One file; `save` closes it behind MATLAB's own 512 bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = h5py.File(path, "w", userblock_size=512)
        self._refs = 0

    def save(self, variables: dict[str, Any]) -> Path:
        for name, value in variables.items():
            self.put(self.file, name, value)
        self.file.close()
        text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Fri Mar 01 12:00:00 2024 HDF5 schema 1.00 ."
        with self.path.open("r+b") as file:
            file.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")
        return self.path

    def put(self, group: h5py.Group, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            node = group.create_group(name)
            node.attrs["MATLAB_class"] = np.bytes_("struct")
            for field, inner in value.items():
                self.put(node, field, inner)
            return node
        if isinstance(value, list):  # an array of structs
            node = group.create_group(name)
            node.attrs["MATLAB_class"] = np.bytes_("struct")
            for field in value[0]:
                cells = np.empty((len(value), 1), dtype=object)
                cells[:, 0] = [one[field] for one in value]
                node.create_dataset(field, data=self._references(cells))
            return node
        if isinstance(value, str):
            codes = np.frombuffer(value.encode("utf-16-le"), "<u2")
            node = group.create_dataset(name, data=codes[:, None])  # 1 x n, its axes reversed
            node.attrs["MATLAB_class"], node.attrs["MATLAB_int_decode"] = np.bytes_("char"), np.int32(2)
            return node
        value = np.atleast_2d(value)
        kind = "cell" if value.dtype == object else CLASSES[value.dtype.str[1:]]
        if value.size == 0:
            node = group.create_dataset(name, data=np.array(value.shape, np.uint64))
            node.attrs["MATLAB_empty"] = np.uint8(1)
        elif kind == "cell":
            node = group.create_dataset(name, data=self._references(value))
        else:
            data = value.astype(np.uint8) if kind == "logical" else value
            big = value.size > 1000
            node = group.create_dataset(name, data=data.T, compression="gzip" if big else None)
        node.attrs["MATLAB_class"] = np.bytes_(kind)
        return node

    def _references(self, cells: np.ndarray) -> np.ndarray:
        hidden = self.file.require_group("#refs#")
        out = np.empty(cells.shape, dtype=h5py.ref_dtype)
        for index in np.ndindex(cells.shape):
            self._refs += 1
            out[index] = self.put(hidden, f"r{self._refs}", cells[index]).ref
        return out.T


def savemat73(path: Path, variables: dict[str, Any]) -> Path:
    """What ``save -v7.3`` writes of these variables."""
    return Writer(path).save(variables)
