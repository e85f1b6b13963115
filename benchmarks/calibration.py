"""Calibration of real and of synthetic rigs, beside aniposelib on the same pictures.

Real recordings (``RIGPOSE_DATA``, and ``RIGPOSE_MODELS`` for the keypoints): every tool looks for the board by itself,
solves from scratch as its users do, in turn with the other; solving is timed without detection. *rms* and
*median* are what a tool states of its own solution: ours to the rigid board, aniposelib's to triangulated points;
*triangulated* and *distance error* are the same measure for both. Synthetic rigs: whether errors are as large as the
stated deviations say, and a table of fault against verdict. With ``--keep DIR`` finished parts are kept, and a run that
was broken off goes on behind them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from benchmarks._calibration_data import data_folder, keep_in_temporary_folder
from benchmarks._calibration_faults import FAULTS, Fault, Line, Said, line_of, table_of
from benchmarks._calibration_synthetic import CRASHED, Errors, errors_of, over_seeds
from benchmarks._parts import Parts, hash_of
from benchmarks._report import Report, arguments, finish
from rigpose.program import run as run_program

REAL = ("webcams", "mouse", "stereo", "balance", "imports")
SYNTHETIC = ("deviations", "faults")


SOURCES = ("calib/**/*.py", "benchmarks/*calibration*.py", "benchmarks/_rigs.py", "benchmarks/goals.py")
"""What the figures depend on."""


def real(report: Report, name: str, quick: bool) -> None:
    """The rows of a real recording."""
    data = data_folder()
    if data is None:
        report.notes.append("RIGPOSE_DATA is not set: no rows of real recordings")
        return
    from benchmarks._calibration_real import Real

    models = os.environ.get("RIGPOSE_MODELS")
    with tempfile.TemporaryDirectory() as folder:
        run = Real(report, data, Path(models).resolve() if models else None, quick, Path(folder))
        getattr(run, name)()


def deviations(report: Report, seeds: Sequence[int], workers: int, *, given: bool) -> None:
    """Whether errors are as large as the stated deviations say."""
    found: list[Errors] = over_seeds(partial(errors_of, given=given), seeds, workers)
    case = f"synthetic, {'given intrinsics' if given else 'from scratch'}"
    stand = [one for one in found if one.verdict not in ("bad", CRASHED)]
    kinds = ("position", "turn") if given else ("position", "turn", "focal")
    every = {kind: np.concatenate([getattr(one, kind) for one in stand] or [np.zeros(0)]) for kind in kinds}
    every["all"] = np.concatenate(list(every.values()))
    for kind, values in every.items():
        within = [100 * float((np.abs(values) < bound).mean()) if len(values) else None for bound in (1, 2)]
        name = "" if kind == "all" else f" ({kind})"
        report.add(case, f"within one deviation{name}", "%", within[0], n=len(values), better="higher")
        report.add(case, f"within two deviations{name}", "%", within[1], n=len(values), better="higher")
        if kind == "all":
            for metric, value, wanted in (("one deviation", within[0], 68), ("two deviations", within[1], 95)):
                off = None if value is None else abs(value - wanted)
                report.add(case, f"within {metric}: off {wanted} %", "%", off, n=len(values))
    report.add(case, "largest error of a position", "mm", [one.worst_mm for one in stand])
    report.add(case, "not solved, or called bad", "%", 100 * (1 - len(stand) / len(found)), n=len(found))
    report.add(case, "solve", "s", [one.seconds for one in found])
    _tell_crashes(report, case, [one.verdict for one in found], seeds)


def fault_line(report: Report, fault: Fault, seeds: Sequence[int], workers: int) -> dict[str, object]:
    """A row of the table of fault against verdict, as JSON."""
    found = over_seeds(partial(_said, FAULTS.index(fault)), seeds, workers)
    line = line_of(fault, seeds, found)
    case = f"fault: {fault.name}, {fault.by}" if not fault.good else f"good rigs, {fault.by}"
    if fault.good:
        report.add(case, "false alarms", "%", 100 * line.alarms / line.n, n=line.n)
    else:
        report.add(case, "recognised and named", "%", 100 * line.named / line.n, n=line.n, better="higher")
        report.add(case, "silent", "%", 100 * (line.n - line.named - line.noticed) / line.n, n=line.n)
    verdicts = ", ".join(f"{word} {n}" for word, n in sorted(line.verdicts.items()))
    text = f"{case}: {verdicts}"
    if line.missed:
        text += f"; {'alarm' if fault.good else 'silent'} at seeds {', '.join(map(str, line.missed[:12]))}"
    report.notes.append(text + (f'; as in "{line.example}"' if line.example else ""))
    _tell_crashes(report, case, [one.verdict for one in found], seeds)
    return line.document()


def _tell_crashes(report: Report, case: str, verdicts: Sequence[str], seeds: Sequence[int]) -> None:
    at = [seed for seed, verdict in zip(seeds, verdicts, strict=True) if verdict == CRASHED]
    if at:
        report.notes.append(f"{case}: CRASHED at seeds {', '.join(map(str, at[:12]))}")


def _said(index: int, seed: int) -> object:
    fault: Fault = FAULTS[index]
    try:
        return fault.make(seed)
    except Exception:  # a defect, which must not take the other seeds' answers with it
        traceback.print_exc()
        return Said(CRASHED, ())


def options_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = arguments("calibration", (__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", action="append", choices=(*REAL, *SYNTHETIC), metavar="NAME", help=f"{', '.join(REAL + SYNTHETIC)}"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="synthetic rigs; by default 200, with --quick 20")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep finished parts there, and take them from there")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes for the synthetic rigs")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    options = options_of(argv)
    cv2.setNumThreads(1)
    keep_in_temporary_folder()
    report = Report.begin("calibration", options.quick)
    wanted = options.only or (*REAL, *SYNTHETIC)
    seeds = range(options.seeds or (20 if options.quick else 200))
    console = Console(width=None if sys.stdout.isatty() else 140)
    parts = Parts(report, options.keep, hash_of(SOURCES, options.quick, len(seeds), report.versions))
    for name in REAL:
        if name in wanted:
            parts.run(name, partial(real, name=name, quick=options.quick))
    if "deviations" in wanted:
        for given in (True, False):
            body = partial(deviations, seeds=seeds, workers=options.workers, given=given)
            parts.run(f"deviations {'given' if given else 'scratch'}", body)
    if "faults" in wanted:
        lines = []
        for number, fault in enumerate(FAULTS):
            said = partial(fault_line, fault=fault, seeds=seeds, workers=options.workers)
            lines.append(Line.of(fault, parts.run(f"fault {number} {fault.name}", said)))
        console.print(table_of(lines))
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
