"""`rigpose demo`: a whole rig for some seconds, with nothing but this package.

Four virtual cameras see a figure that walks about; its true pose is known, so that the error of the
poses stands beside their latency.
"""

from __future__ import annotations

from pathlib import Path

from nodes.launch import launch
from nodes.overlay import write_overlay
from rigpose.summary import Summary

OUT = Path("runs") / "demo"


def demo(seconds: float, out: Path = OUT) -> int:
    """Run the rig, keep its recording, summary and a picture of its last pose in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    code = launch(
        seconds=seconds,
        summary=out / "summary.json",
        record=True,
        record_to=out / "recordings",
    )
    print(f"summary: {out / 'summary.json'}")
    if code == 0:
        recording = Summary.model_validate_json((out / "summary.json").read_text()).recording or {}
        write_overlay(Path(recording["path"]), out / "pose.png")
        print(f"the last pose over the truth: {out / 'pose.png'}")
    return code


if __name__ == "__main__":
    # The same command as `rigpose demo`.
    import sys

    from nodes.cli import main

    main(["demo", *sys.argv[1:]])
