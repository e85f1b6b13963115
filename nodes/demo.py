"""`rigpose demo`: a whole rig for some seconds, with nothing but this package.

It plays the real recording where ``RIGPOSE_DATA`` and ``RIGPOSE_MODELS`` have it, else one that it draws.
"""

from __future__ import annotations

from pathlib import Path

from nodes.launch import launch
from nodes.overlay import write_overlay
from nodes.recordings import drawn_recording, real_recording
from rigpose.summary import Summary

OUT = Path("runs") / "demo"


def demo(seconds: float, out: Path = OUT) -> int:
    """Run the rig, keep its recording, summary and a picture of its last pose in ``out``."""
    play = real_recording() or drawn_recording()
    out.mkdir(parents=True, exist_ok=True)
    code = launch(
        play.config,
        data=play.data,
        model=play.model,
        mode="live",
        rate=play.rate,
        seconds=seconds,
        summary=out / "summary.json",
        record=True,
        record_to=out / "recordings",
    )
    print(f"summary: {out / 'summary.json'}")
    if code == 0:
        recording = Summary.model_validate_json((out / "summary.json").read_text()).recording or {}
        write_overlay(Path(recording["path"]), out / "pose.png")
        print(f"the last pose over its pictures: {out / 'pose.png'}")
    return code


if __name__ == "__main__":
    # The same command as `rigpose demo`.
    import sys

    from nodes.cli import main

    main(["demo", *sys.argv[1:]])
