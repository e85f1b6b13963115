"""The base of every value that configures rigpose, and the way from a YAML file to one.

A config file is YAML with ``version: 1``. Paths in it are relative to the file, ``${data}`` stands
for the folder given as ``--data``, and ``--set a.b=c`` replaces any key before it is checked.
"""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Tag, ValidationError, ValidationInfo

from rigpose.errors import ConfigError

CONFIG_VERSION = 1
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Config(BaseModel):
    """A frozen value; an unknown key is an error, never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _resolve(value: object, info: ValidationInfo) -> object:
    base = (info.context or {}).get("base")
    if base is None or not isinstance(value, str | os.PathLike):
        return value
    path, base = Path(value).expanduser(), Path(base)
    # A way up from a resolved folder is plain; a person reads /rig/recordings, not /rig/examples/../recordings.
    while path.parts[:1] == ("..",):
        path, base = Path(*path.parts[1:]), base.parent
    return path if path.is_absolute() else base / path


FilePath = Annotated[Path, BeforeValidator(_resolve)]
"""A path in a config file, relative to that file."""

M = TypeVar("M", bound=BaseModel)


class _OneOfEach(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: the first of two cameras must not vanish."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading keys", node.start_mark, f"key {key.value} stands there twice", key.start_mark
                )
            seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: The file is missing, is not YAML, holds a key twice, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except OSError as error:
        raise ConfigError(
            path, f"cannot be read: {error.strerror or error}", "give a YAML file that you may read"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "is not text", "give a YAML file in UTF-8") from None
    try:
        document = yaml.load(text, _OneOfEach)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "malformed"
        what = problem if isinstance(error, yaml.constructor.ConstructorError) else f"is not YAML: {problem}"
        raise ConfigError(f"{path}{line}", what, "mend that line") from None
    if not isinstance(document, dict):
        raise ConfigError(path, "holds no mapping of keys to values", "see the examples folder")
    return document


def set_keys(document: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Apply ``a.b=value`` assignments (the value is YAML) to a document, in place.

    Raises:
        ConfigError: An assignment has no ``=`` or goes through a key that holds a plain value.
    """
    for assignment in assignments:
        dotted, equals, value = assignment.partition("=")
        if not equals or not dotted:
            raise ConfigError(f"--set {assignment}", "is not of the form a.b=value", "as in --set engine.threads=2")
        *parents, last = dotted.split(".")
        node = document
        for key in parents:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                raise ConfigError(f"--set {assignment}", f"{key} holds a plain value, not keys", "name another key")
            node = child
        try:
            node[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {assignment}", "the value is not YAML", "quote it") from None
    return document


def _substitute(value: object, variables: Mapping[str, str], path: Path) -> object:
    if isinstance(value, dict):
        return {key: _substitute(item, variables, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, variables, path) for item in value]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables:
            raise ConfigError(path, f"uses ${{{name}}}, which is not set", f"give --{name} FOLDER")
        return variables[name]

    return _VARIABLE.sub(lookup, value)


def describe(error: ValidationError) -> tuple[str, str]:
    """The dotted key and the message of the first problem in a pydantic error."""
    first = error.errors()[0]
    # Discriminated unions and unions put their tag into the location; tags are not keys of the file.
    key = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part))
    if first["type"] == "extra_forbidden":
        return key, "is not a key that exists here"
    if first["type"] == "missing":
        return key, "is missing"
    message = first["msg"].removeprefix("Value error, ")
    return key, message[:1].lower() + message[1:]


def validate(document: Mapping[str, Any], model: type[M], where: object, base: Path | None = None) -> M:
    """A document as a checked value.

    Args:
        document: Keys and values, as read from a file.
        model: The model that says what is allowed.
        where: What an error names, usually the file.
        base: The folder that relative paths belong to.

    Raises:
        ConfigError: Names the file, the key and what is allowed there.
    """
    try:
        return model.model_validate(document, context={"base": base})
    except ValidationError as error:
        key, problem = describe(error)
        first = error.errors()[0]
        remedy = "correct or remove the key"
        if first["type"] == "extra_forbidden":
            allowed = _allowed_keys(model, first["loc"][:-1])
            remedy = f"allowed are: {', '.join(allowed)}" if allowed else remedy
        elif first["type"] == "missing":
            remedy = "add it"
        raise ConfigError(where, f"key {key}: {problem}" if key else problem, remedy) from None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is or may be (``Model``, ``Model | None``, ``Annotated[Model, ...]``)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return next((model for a in typing.get_args(annotation) if (model := _model_in(a)) is not None), None)
    return None


def _allowed_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys of the model at a location, where the way to it is plain; else nothing."""
    current: Any = model
    for part in location:
        owner = _model_in(current)
        if owner is not None and part in owner.model_fields:
            current = owner.model_fields[str(part)].annotation
        else:
            candidates = [a for a in typing.get_args(current) if typing.get_origin(a) or isinstance(a, type)]
            tagged = [a for a in candidates if isinstance(part, str) and _tag(a) == part]
            current = (tagged or candidates or [None])[-1]
    owner = _model_in(current)
    return sorted(owner.model_fields) if owner is not None else []


def _tag(annotation: Any) -> str | None:
    """By which a union tells one of its models."""
    return next((meta.tag for meta in getattr(annotation, "__metadata__", ()) if isinstance(meta, Tag)), None)


def load(
    path: str | Path,
    model: type[M],
    *,
    variables: Mapping[str, str] | None = None,
    assignments: Iterable[str] = (),
) -> M:
    """Read a YAML config file into a checked value.

    Args:
        path: The file.
        model: What it must hold; the key ``version`` must be 1 where the model has it.
        variables: What ``${name}`` stands for.
        assignments: ``a.b=value`` strings that replace keys of the file.

    Raises:
        ConfigError: One line with the file, the key and the remedy.
    """
    path = Path(path)
    document = set_keys(read_yaml(path), assignments)
    version = document.get("version", None)
    if "version" in model.model_fields and version != CONFIG_VERSION:
        problem = f"key version: is {version}, this program reads {CONFIG_VERSION}"
        raise ConfigError(path, problem, f"write version: {CONFIG_VERSION}")
    resolved = _substitute(document, dict(variables or {}), path)
    assert isinstance(resolved, dict)
    return validate(resolved, model, path, path.resolve().parent)
