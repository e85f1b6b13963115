"""`rigpose models`: the networks that ``--model`` takes by name, and what one says about itself."""

from __future__ import annotations

import json
from typing import Any

from engine import zoo
from engine.document import LocatedModel, find_model, read_document


def shipped() -> list[dict[str, Any]]:
    """A row for each network of the zoo, then one for each that is known by its bytes."""
    rows = [_row(name, find_model(name)) for name in zoo.names()]
    for file in sorted((zoo.FOLDER / "known").glob("*.yaml")):
        document = read_document(file)
        rows.append(
            {
                "name": None,
                "id": document.id,
                "domain": document.domain,
                "skeleton": document.skeleton.name,
                "joints": len(document.skeleton.joints),
                "input": list(document.input.size),
                "licence": document.licence,
                "path": None,
                "sha256": file.stem,
            }
        )
    return rows


def _row(name: str, located: LocatedModel) -> dict[str, Any]:
    document = located.document
    return {
        "name": name,
        "id": document.id,
        "domain": document.domain,
        "skeleton": document.skeleton.name,
        "joints": len(document.skeleton.joints),
        "input": list(document.input.size),
        "licence": document.licence,
        "path": str(located.path),
        "sha256": located.sha256,
    }


def list_models(as_json: bool = False) -> int:
    """Print the zoo and the documents of networks that are known by their bytes."""
    rows = shipped()
    if as_json:
        print(json.dumps({"schema": 1, "models": rows}, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("--model", "what it is", "domain", "skeleton", "input px", "licence"):
        table.add_column(title, overflow="fold")
    for row in rows:
        width, height = row["input"]
        name = row["name"] or "[dim]your file[/]"
        skeleton = f"{row['skeleton']} ({row['joints']})"
        table.add_row(name, row["id"], row["domain"], skeleton, f"{width}x{height}", row["licence"])
    if rows:
        console.print(table)
    else:
        console.print("No network is shipped with this version.")
    console.print(
        "\n--model also takes an ONNX file with a document in it or a YAML beside it: rigpose models show FILE"
    )
    return 0


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
