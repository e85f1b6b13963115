"""OpenCV's FileStorage, YAML, XML and JSON, as plain maps: read and written without losing a digit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np

from calib.formats import text
from rigpose.errors import ConfigError

Node = Any
"""Text, a list of nodes, or a map of nodes; a matrix is the map {rows, cols, data}."""


def read(path: Path) -> dict[str, Node]:
    """The document's map.

    Raises:
        ConfigError: It is missing, cannot be parsed, or is no map.
    """
    head = text.peek(path).lstrip()
    if head.startswith("<"):
        root = text.read_xml(path)
        document = _of_xml(root)
    elif head.startswith("{"):
        document = text.read_json(path)
    else:
        document = text.read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigError(path, "holds no keys", "give a file of OpenCV's FileStorage")
    return document


def _of_xml(element: ElementTree.Element) -> Node:
    children = list(element)
    if not children:
        words = (element.text or "").split()
        if "type_id" not in element.attrib and len(words) > 1 and '"' not in (element.text or ""):
            return words
        return (element.text or "").strip().strip('"')
    if all(child.tag == "_" for child in children):
        return [_of_xml(child) for child in children]
    return {child.tag: _of_xml(child) for child in children}


def is_matrix(node: Node) -> bool:
    """Whether a node is one of OpenCV's matrices."""
    return isinstance(node, dict) and {"rows", "cols", "data"} <= set(node)


def matrix(node: Node, where: str, key: str) -> np.ndarray:
    """A node as float64: (rows, cols) of a matrix, else the shape of the nested lists.

    Raises:
        ConfigError: It is none, or its data do not fill it.
    """
    if is_matrix(node):
        data = node["data"].split() if isinstance(node["data"], str) else node["data"]
        values = _floats(data, where, key).ravel()
        try:
            shape = (int(node["rows"]), int(node["cols"]))
        except (TypeError, ValueError):
            raise ConfigError(where, f"{key} has rows or cols that are no numbers", "correct it") from None
        if values.size != shape[0] * shape[1]:
            raise ConfigError(where, f"{key} has {values.size} values for {shape[0]}x{shape[1]}", "correct it")
        return values.reshape(shape)
    return _floats(node, where, key)


def _floats(data: Any, where: str, key: str) -> np.ndarray:
    try:
        return np.array(data, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(where, f"{key} is not an array of numbers", "correct it") from None


def write_yaml(document: Mapping[str, Any]) -> str:
    """A document as OpenCV's YAML: 2D arrays become matrices, lists and maps nest, text is quoted."""
    return "%YAML:1.0\n---\n" + "".join(_yaml(key, value, "") for key, value in document.items())


def _yaml(key: str, value: Any, indent: str) -> str:
    head = f"{indent}{key}:"
    if isinstance(value, np.ndarray):
        rows, cols = value.shape
        inner = f"{indent}   "
        data = text.float_text(value)
        return (
            f"{head} !!opencv-matrix\n{inner}rows: {rows}\n{inner}cols: {cols}\n{inner}dt: d\n{inner}data: [ {data} ]\n"
        )
    if isinstance(value, dict):
        return f"{head}\n" + "".join(_yaml(name, item, indent + "   ") for name, item in value.items())
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], dict):
            return f"{head}\n" + "".join(f"{indent}   -\n{_items(item, indent + '      ')}" for item in value)
        return f"{head}\n" + "".join(f"{indent}   - {_scalar(item)}\n" for item in value)
    return f"{head} {_scalar(value)}\n"


def _items(value: Mapping[str, Any], indent: str) -> str:
    return "".join(_yaml(name, item, indent) for name, item in value.items())


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"'
    return repr(value)


def write_xml(document: Mapping[str, Any]) -> str:
    """A document as OpenCV's XML."""
    body = "".join(_xml(key, value) for key, value in document.items())
    return f'<?xml version="1.0"?>\n<opencv_storage>\n{body}</opencv_storage>\n'


def _xml(key: str, value: Any) -> str:
    if isinstance(value, np.ndarray):
        rows, cols = value.shape
        data = text.float_text(value).replace(",", "")
        inner = f"  <rows>{rows}</rows>\n  <cols>{cols}</cols>\n  <dt>d</dt>\n  <data>\n    {data}</data>"
        return f'<{key} type_id="opencv-matrix">\n{inner}</{key}>\n'
    if isinstance(value, dict):
        return f"<{key}>\n" + "".join(_xml(name, item) for name, item in value.items()) + f"</{key}>\n"
    if isinstance(value, list | tuple):
        return f"<{key}>\n" + "".join(_xml("_", item) for item in value) + f"</{key}>\n"
    content = f'"{escape(value)}"' if isinstance(value, str) else repr(value)
    return f"<{key}>{content}</{key}>\n"
