"""`rigpose models`: the networks that ``--model`` takes by name, how one is added, what one says about itself."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import yaml

from engine import zoo
from engine.document import (
    METADATA_KEY,
    LocatedModel,
    ModelDocument,
    UndescribedModelError,
    find_model,
    read_document,
)
from engine.fitting import read_onnx
from nodes.download import fetch, is_address, local_path, plain
from rigpose.errors import ConfigError, RigposeError

MAX_BYTES = 2**31
"""What a single ONNX file can have."""
MAX_DOCUMENT_BYTES = 2**20
SHIPPED = "shipped"


def known_models() -> list[dict[str, Any]]:
    """A row for each network that has a name, then one for each that is known by its bytes."""
    rows = []
    for name in zoo.names():
        try:
            rows.append(_row(name, find_model(name)))
        except RigposeError as error:
            # One that was changed by hand must not hide the others.
            rows.append({"name": name, "problem": str(error).splitlines()[0], "origin": _origin(name)["source"]})
    for file in sorted((zoo.FOLDER / "known").glob("*.yaml")):
        document = read_document(file)
        rows.append({**_facts(document), "name": None, "path": None, "sha256": file.stem, "origin": document.source})
    return rows


def _facts(document: ModelDocument) -> dict[str, Any]:
    return {
        "id": document.id,
        "domain": document.domain,
        "skeleton": document.skeleton.name,
        "joints": len(document.skeleton.joints),
        "input": list(document.input.size),
        "licence": document.licence,
    }


def _row(name: str, located: LocatedModel) -> dict[str, Any]:
    origin = _origin(name)
    if origin.get("sha256", located.sha256) != located.sha256:
        raise ConfigError(
            located.path, "is not the file that was added", f"remove {located.path.parent} and add it again"
        )
    return {
        **_facts(located.document),
        "name": name,
        "path": str(located.path),
        "sha256": located.sha256,
        "origin": origin["source"],
    }


def _origin(name: str) -> dict[str, Any]:
    """What was kept about where a model is from."""
    if name in zoo.shipped():
        return {"source": SHIPPED}
    try:
        origin = json.loads((zoo.user_folder() / name / zoo.ORIGIN).read_text(encoding="utf-8"))
        return {**origin, "source": str(origin["source"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"source": "unknown"}


def list_models(as_json: bool = False) -> int:
    """Print the zoo, what was added to it, and the networks that are known by their bytes."""
    rows = known_models()
    if as_json:
        print(json.dumps({"schema": 1, "models": rows}, indent=2))
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("--model", "what it is", "domain", "skeleton", "input px", "licence", "from"):
        table.add_column(title, overflow="fold")
    for row in rows:
        if "problem" in row:
            table.add_row(row["name"], f"[red]{escape(row['problem'])}[/]", "", "", "", "", escape(row["origin"]))
            continue
        width, height = row["input"]
        name = row["name"] or "[dim]your file[/]"
        texts = row["id"], row["domain"], f"{row['skeleton']} ({row['joints']})", f"{width}x{height}", row["licence"]
        table.add_row(name, *(escape(text) for text in (*texts, row["origin"])))
    if rows:
        console.print(table)
    else:
        console.print("No network is shipped with this version.")
    console.print(
        "\n--model also takes an ONNX file with a document in it or a YAML beside it: rigpose models show FILE\n"
        "A file or web address gets a name of its own by: rigpose models add"
    )
    return 0


def add_model(source: str, document: Path | None = None, name: str | None = None, sha256: str | None = None) -> int:
    """Bring a network into the user's model folder, so that ``--model NAME`` finds it; `rigpose models add`.

    It is fetched beside its place, described, checked against its description, and only then put there,
    whole or not at all. Nothing in it is unpacked or run.

    Args:
        source: An http(s) or file address, or a path, of an ONNX file.
        document: The YAML that describes it, where it neither describes itself, has one beside it, nor is known.
        name: By default its file name.
        sha256: What its checksum has to be.

    Raises:
        UndescribedModelError: Nothing describes the network; the message holds a YAML to fill in.
        RigposeError: It cannot be had, is another one than was asked for, does not fit its document, or the
            name is taken.
    """
    name = _name(source, name)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError("--sha256", "is not a sha256: 64 hexadecimal digits", "copy it whole from where the model is")
    folder = zoo.user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".adding-") as temporary:
            place = Path(temporary) / name
            place.mkdir()
            located = _prepare(place / f"{name}.onnx", source, document, sha256)
            _refuse_taken(name)
            # Where another process was faster the folder is there and not empty, and this fails.
            place.rename(folder / name)
    except OSError as error:
        raise ConfigError(
            folder, f"cannot be written: {error.strerror}", "check its rights and the space left"
        ) from None
    _tell(name, source, located)
    return 0


def _name(source: str, name: str | None) -> str:
    path = local_path(source) or PurePosixPath(unquote(urlsplit(source).path))
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_")[:64]
    if not zoo.is_name(name):
        raise ConfigError(f"--name {name}", "is not a name for a model", "letters, digits, - and _, at most 64 of them")
    _refuse_taken(name)
    return name


def _refuse_taken(name: str) -> None:
    if name in zoo.shipped():
        raise ConfigError(name, "is a model that rigpose ships", "give it another --name")
    if (zoo.user_folder() / name).exists():
        remedy = f"give another --name, or remove {zoo.user_folder() / name} first"
        raise ConfigError(name, "is the name of a model that was added before", remedy)


def _prepare(path: Path, source: str, document: Path | None, wanted: str | None) -> LocatedModel:
    """Fetch, describe and check a network in a place of its own."""
    sha256 = fetch(source, path, limit_bytes=MAX_BYTES, show=sys.stderr.isatty())
    if wanted is not None and sha256 != wanted.lower():
        raise ConfigError(
            plain(source), f"has the sha256 {sha256}, not the one given", "it is another file or was changed"
        )
    try:
        proto = read_onnx(path)
    except ConfigError as error:
        raise ConfigError(
            plain(source), error.what, "give the address of an .onnx file, with its weights in it"
        ) from None
    describes_itself = any(entry.key == METADATA_KEY for entry in proto.metadata_props)
    if document is not None and describes_itself:
        raise ConfigError(document, "is not needed: the network describes itself", "leave --document out")
    found = None if describes_itself else _found_document(path, source, document, sha256)
    if found is not None:
        content = found.model_dump(mode="json", by_alias=True, exclude_none=True) | {"sha256": sha256}
        path.with_suffix(".yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
    try:
        located = find_model(path)
    except UndescribedModelError as error:
        where = "write a YAML with this, filled in, and give it as --document:"
        raise UndescribedModelError(plain(source), error.what, where, error.template) from None
    except ConfigError as error:
        where = error.where.replace(str(path.with_suffix(".yaml")), str(document or f"the document of {plain(source)}"))
        raise ConfigError(where.replace(str(path), plain(source)), error.what, error.remedy) from None
    origin = {
        "schema": 1,
        "source": plain(source) if is_address(source) else str(Path(source).expanduser().resolve()),
        "sha256": sha256,
        "bytes": path.stat().st_size,
        "added": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "licence": located.document.licence,
    }
    (path.parent / zoo.ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return located


def _found_document(path: Path, source: str, document: Path | None, sha256: str) -> ModelDocument | None:
    """The document of a network that does not describe itself: given, beside it, or known by its bytes."""
    if document is not None:
        found = read_document(document)
        if found.sha256 not in (None, sha256):
            raise ConfigError(document, "key sha256: is that of another network", "get the document of this one")
        return found
    local = local_path(source)
    if local is not None:
        beside = [file for file in (local.with_suffix(".yaml"), local.with_suffix(".yml")) if file.is_file()]
        if beside:
            return read_document(beside[0])
    elif (fetched := _document_beside(path.with_name("beside.yaml"), source)) is not None:
        return fetched
    known = zoo.known(sha256)
    return read_document(known) if known is not None else None


def _document_beside(target: Path, source: str) -> ModelDocument | None:
    """What lies beside a network at its web address under the same name with ``.yaml``."""
    parts = urlsplit(source)
    address = urlunsplit(parts._replace(path=str(PurePosixPath(parts.path).with_suffix(".yaml"))))
    try:
        fetch(address, target, limit_bytes=MAX_DOCUMENT_BYTES)
        found = read_document(target)
    except ConfigError as error:
        # A server that has none often answers with a page of its own.
        if target.is_file() and target.read_bytes().lstrip()[:1] == b"<":
            return None
        raise ConfigError(plain(address), error.what, error.remedy) from None
    except RigposeError:
        return None
    finally:
        target.unlink(missing_ok=True)
    return found


def _tell(name: str, source: str, located: LocatedModel) -> None:
    document = located.document
    print(f"added {name}: {document.id}, {document.skeleton.name} ({len(document.skeleton.joints)} joints)")
    print(f"  from     {plain(source)}")
    print(f"  sha256   {located.sha256}")
    print(f"  licence  {document.licence}")
    if document.domain == "synthetic":
        print("  trained on drawn pictures: real cameras need --force")
    print(f"use it: rigpose launch CONFIG --model {name}")


def show_model(argument: str, as_json: bool = False) -> int:
    """Print the document of one network, after a check that its file agrees with it.

    Args:
        argument: An ONNX file, the YAML beside one, or a name of the zoo.
        as_json: Print JSON.

    Raises:
        ConfigError: Nothing describes the network, or description and network do not fit.
    """
    located = find_model(argument)
    if as_json:
        document = located.document.model_dump(mode="json", by_alias=True, exclude_none=True)
        whole = {"path": str(located.path), "described_by": located.origin, **document, "sha256": located.sha256}
        print(json.dumps(whole, indent=2))
        return 0
    _show(located)
    return 0


def _show(located: LocatedModel) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    document = located.document
    skeleton, source, output = document.skeleton, document.input, document.output
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def line(name: str, text: object) -> None:
        table.add_row(name, escape(str(text)))

    line("id", document.id)
    line("file", f"{located.path} ({located.path.stat().st_size / 1e6:.1f} MB)")
    line("sha256", located.sha256)
    line("described by", "its own metadata" if located.origin == "metadata" else located.origin)
    drawn = " (trained on drawn pictures; real cameras need --force)" if document.domain == "synthetic" else ""
    line("domain", f"{document.domain}{drawn}")
    line("licence", document.licence)
    if document.source:
        line("source", document.source)
    width, height = source.size
    line("input", f"{source.name}: {width}x{height} px, {source.colour}, {source.dtype}, {source.layout}")
    if not source.is_raw:
        line("", f"(pixel * {source.scale:g} - {_numbers(source.mean)}) / {_numbers(source.std)}")
    line("output", f"{output.kind}: {', '.join(output.name) or 'the whole graph'}")
    stride = f", stride {output.stride:g} px" if output.stride else ""
    line("", f"scores are {output.score}; below {output.min_score:g} a joint has no say{stride}")
    line("crop", f"aspect {document.aspect:g}, margin {document.crop.margin:g}, padding {document.crop.padding}")
    line("skeleton", f"{skeleton.name}: {len(skeleton.joints)} joints, {len(skeleton.edges)} bones")
    line("joints", ", ".join(f"{index}\u00a0{name}" for index, name in enumerate(skeleton.joints)))
    Console(highlight=False).print(table)


def _numbers(values: tuple[float, ...]) -> str:
    text = ", ".join(f"{value:g}" for value in values)
    return text if len(values) == 1 else f"[{text}]"


if __name__ == "__main__":
    # The same command as `rigpose models`.
    import sys

    from nodes.cli import main

    main(["models", *sys.argv[1:]])
