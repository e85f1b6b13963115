"""From board views to a rig with a verdict: lenses, first poses, adjustment, and all that could speak against it.

`calibrate` does all of it. What is found to be wrong stands in words in the outcome; nothing is repaired in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Literal

import numpy as np
from pydantic import Field

from calib.board_motion import motion_of
from calib.bundle import Free
from calib.camera import Camera
from calib.covisibility import Covisibility, covisibility
from calib.findings import NOISY, before_solving, of_rig, verdict_of
from calib.given_lens import doubts_of
from calib.held_out import Trial, judge_held_out
from calib.initial import Start, corner_noise_px, link_between, mirrored_links, start, start_from
from calib.intrinsics import Intrinsics, Model, everything_of, is_lens, solve_intrinsics
from calib.lens_doubt import with_lens_doubt
from calib.observations import BoardViews, choose
from calib.outcome import Outcome
from calib.quality import Finding
from calib.reporting import outcome_of
from calib.rig import Rig
from calib.rotation import angle_deg
from calib.sight import BoardPoses, Sight, board_poses, sight_of
from calib.solution import Solution, solve
from calib.solved import LensDoubt, Lenses, Rival, Solved
from calib.suspicions import Suspicions, carried_views, suspicions_of
from rigpose.config import Config
from rigpose.errors import ConfigError

_MIRRORINGS = 3
_ELSEWHERE_DEG = 5.0
"""A solution that differs by less is the same one, not quite at its end; mirrored ones differ by twice the tilt."""


class Options(Config):
    """How to calibrate.

    Attributes:
        model: Of lenses that are not given: ``pinhole5``, ``pinhole8`` or ``fisheye``.
        models: The same for single cameras, by name.
        intrinsics: ``auto``: given ones are held, others are freed together with the rig where the data can tell;
            ``hold``: never freed; ``joint``: all that are not given are freed, whatever the data can tell.
        moments: At most that many moments enter, chosen for what they cover.
        held_out: Whether to judge by moments that were held out; without, the verdict is at best ``unverified``.
        carry: Whether what a camera saw late is carried to the others' time where its offset is plain; the outcome
            says so.
    """

    model: Model = "pinhole5"
    models: dict[str, Model] = Field(default_factory=dict)
    intrinsics: Literal["auto", "hold", "joint"] = "auto"
    moments: int = Field(default=150, ge=4)
    held_out: bool = True
    carry: bool = True

    def model_of(self, name: str) -> Model:
        """The lens model of a camera."""
        return self.models.get(name, self.model)


def calibrate(
    views: BoardViews, given: Rig | Sequence[Camera] | None = None, options: Options | None = None
) -> Outcome:
    """Solve a rig from views of a board.

    Args:
        views: What each camera saw of the board at common moments.
        given: Cameras whose intrinsics are known, by name; their poses are not used. Those missing are solved.
        options: See `Options`.

    Returns:
        The outcome; without a rig where the cameras do not hang together, or nothing can be solved.

    Raises:
        ConfigError: A given camera has another picture size than the views.
    """
    options = options or Options()
    if len(views.names) == 1:
        raise ConfigError("calibrate", "one camera is no rig", "rigpose calibrate intrinsics solves its lens")
    began = perf_counter()
    everything = views
    views = views.select(choose(views, options.moments))
    seconds: dict[str, float] = {}
    findings = list(before_solving(views))
    usable = [name for name, n in zip(views.names, views.usable.sum(axis=1), strict=True) if n]
    if len(usable) < len(views.names) or any(finding.level == "bad" for finding in findings):
        graph = covisibility(views.usable, views.names)
        return _unsolved(views, graph, findings, seconds)

    lenses = _lenses(views, given, options)
    seconds["intrinsics"] = perf_counter() - began
    solved, motion = _solved(views, everything, lenses, options, seconds)
    if isinstance(solved, Covisibility):
        return _unsolved(views, solved, findings, seconds)
    if options.carry and solved.suspicions.is_late and not solved.suspicions.has_moved:
        rough = solved.solution
        carried = carried_views(views, rough.cameras, rough.poses, motion[0], solved.suspicions.late)
        again, _ = _solved(carried, everything, lenses, options, seconds, (solved, motion))
        # Only where it helps: the offset was an estimate.
        if isinstance(again, Solved) and again.solution.sigma_px < solved.solution.sigma_px:
            solved = replace(again, carried=solved.suspicions.late)
    findings += of_rig(solved)
    return outcome_of(solved, verdict_of(findings, solved.trial), findings, seconds)


def _solved(
    views: BoardViews,
    everything: BoardViews,
    lenses: Lenses,
    options: Options,
    seconds: dict[str, float],
    before: tuple[Solved, tuple[np.ndarray, str]] | None = None,
) -> tuple[Solved | Covisibility, tuple[np.ndarray, str]]:
    """Everything from first poses on; the graph alone where the cameras do not hang together.

    And the board's motion. ``before`` is what was known when the same views had not been carried to one time yet.
    """
    began = perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        seconds[name] = seconds.get(name, 0.0) + perf_counter() - began
        began = perf_counter()

    sight = sight_of(views, lenses.cameras)
    poses = board_poses(sight, views.target_mm, views.usable)
    held = tuple(Free() for _ in lenses.cameras)
    rivals: tuple[Rival, ...] = ()
    if before is None:
        first, graph, _ = start(sight, poses, views.target_mm, views.names)
        if first is None:
            return graph, (np.zeros((0, 6)), "")
        rough = first.poses
        solution, rivals = _best_of(first, poses, sight, views, lenses, held)
    else:
        graph, rivals, rough = before[0].graph, before[0].rivals, before[0].solution.poses
        placed = [
            replace(lens, rvec=camera.rvec, t=camera.t)
            for lens, camera in zip(lenses.cameras, before[0].solution.cameras, strict=True)
        ]
        solution = solve(views, placed, rough, held, poses.kept)
    lap("solve")
    trial = judge_held_out(views, sight, solution, held) if options.held_out else None
    lap("held out")
    free, joint = held, False
    if _wanted(lenses, solution, poses, options):
        solution, trial, sight, free, joint = _joint(views, solution, trial, sight, lenses, options)
        if joint:
            poses = board_poses(sight, views.target_mm, views.usable)
        lap("joint")
    solution = with_lens_doubt(views, solution, lenses.found, free, None if before is None else before[0].views)
    rough = np.where(np.isfinite(solution.poses), solution.poses, rough)
    motion = motion_of(views, everything, solution.cameras, rough) if before is None else before[1]
    # What single views say of a lens does not change with the time they are carried to.
    doubts = doubts_of(views, lenses) if before is None else before[0].doubts
    suspicions = _suspicions(views, sight, poses, solution, rough, motion, doubts)
    lap("judge")
    solved = Solved(views, lenses, sight, poses, graph, solution, free, joint, trial, suspicions, rivals, doubts)
    return solved, motion


def _lenses(views: BoardViews, given: Rig | Sequence[Camera] | None, options: Options) -> Lenses:
    known = {camera.name: camera for camera in (given.cameras if isinstance(given, Rig) else given or ())}
    cameras: list[Camera] = []
    found: list[Intrinsics | None] = []
    for name, size in zip(views.names, views.sizes, strict=True):
        if name in known:
            camera = known[name]
            if min(camera.size) > 0 and camera.size != size:
                raise ConfigError(
                    f"camera {name}",
                    f"was calibrated for {camera.size[0]}x{camera.size[1]}, its pictures are {size[0]}x{size[1]}",
                    "say how the pictures were made: crop | scale | letterbox",
                )
            cameras.append(replace(camera, size=size))
            found.append(None)
        else:
            lens = solve_intrinsics(views.of([name]), options.model_of(name))
            cameras.append(lens.camera)
            found.append(lens)
    return Lenses(tuple(cameras), tuple(found))


def _best_of(
    first: Start,
    poses: BoardPoses,
    sight: Sight,
    views: BoardViews,
    lenses: Lenses,
    free: tuple[Free, ...],
) -> tuple[Solution, tuple[Rival, ...]]:
    """The best of the solutions that start from the poses found and, where links are contested, from mirrored ones.

    Mirrored ones are made from the best solution so far, which is surer than what single views say.
    """
    noise = corner_noise_px(poses)
    solutions = [solve(views, first.cameras(lenses.cameras), first.poses, free, poses.kept)]
    best = solutions[0]
    for _ in range(_MIRRORINGS):
        tried = len(solutions)
        stands = [link_between(link, best.cameras) for link in first.links]
        for number, link in enumerate(stands):
            if not link.contested:
                continue
            for other in mirrored_links(link, poses, noise):
                chain = [*stands[:number], other, *stands[number + 1 :]]
                one = start_from(chain, first.graph, poses, sight, views.target_mm, noise)
                solutions.append(solve(views, one.cameras(lenses.cameras), one.poses, free, poses.kept))
        sigma = min(one.sigma_px for one in solutions)
        better = min(solutions, key=lambda one: _bounded(one, sigma))
        if better is best or len(solutions) == tried:
            break
        best = better
    if len(solutions) == 1:
        return best, ()
    # One yardstick for all: squared residuals in deviations of the best, each bounded, so that what one solution leaves
    # out does not count for it.
    sigma = min(one.sigma_px for one in solutions)
    costs = [_bounded(one, sigma) for one in solutions]
    order = np.argsort(costs)
    best = solutions[order[0]]
    rivals = []
    for index in order[1:]:
        turned = [
            float(angle_deg(mine.R, other.R))
            for mine, other in zip(best.cameras, solutions[index].cameras, strict=True)
        ]
        elsewhere = tuple(name for name, angle in zip(views.names, turned, strict=True) if angle > _ELSEWHERE_DEG)
        if elsewhere:
            rivals.append(Rival(elsewhere, max(turned), float(costs[index] - costs[order[0]])))
    return best, tuple(rivals)


def _bounded(solution: Solution, sigma_px: float) -> float:
    squares = (solution.residual_px**2).sum(axis=-1) / sigma_px**2
    return float(np.minimum(squares[~np.isnan(squares)], 30.0).sum())


def _suspicions(
    views: BoardViews,
    sight: Sight,
    poses: BoardPoses,
    solution: Solution,
    rough: np.ndarray,
    motion: tuple[np.ndarray, str],
    doubts: Sequence[LensDoubt],
) -> Suspicions:
    """What else would explain the residuals, with the lenses that the views want where those given do not fit them.

    A wrong lens leaves residuals that change as the board goes through the picture, as a step or an offset would.
    """
    if not doubts:
        return suspicions_of(views, sight, poses.kept, solution.cameras, rough, motion)
    cameras = list(solution.cameras)
    for doubt in doubts:
        view = views.names.index(doubt.camera)
        K = cameras[view].K.copy()
        K[[0, 1, 0, 1], [0, 1, 2, 2]] = doubt.seen
        cameras[view] = replace(cameras[view], K=K)
    sight = sight_of(views, cameras)
    kept = board_poses(sight, views.target_mm, views.usable).kept
    mended = solve(views, cameras, rough, tuple(Free() for _ in cameras), kept)
    settled = np.where(np.isfinite(mended.poses), mended.poses, rough)
    return suspicions_of(views, sight, kept, mended.cameras, settled, motion)


def _wanted(lenses: Lenses, solution: Solution, poses: BoardPoses, options: Options) -> bool:
    """Whether lenses that were found may be freed with the rig."""
    if options.intrinsics == "hold" or all(one is None or one.solution is None for one in lenses.found):
        return False
    own = float(np.nanmedian(poses.noise_px()))
    return options.intrinsics == "joint" or solution.sigma_px <= NOISY * max(own, 0.05)


def _joint(
    views: BoardViews, solution: Solution, trial: Trial | None, sight: Sight, lenses: Lenses, options: Options
) -> tuple[Solution, Trial | None, Sight, tuple[Free, ...], bool]:
    """The solution with the lenses freed, where moments that it did not see do not speak against it.

    First all of each model is freed, then only what the views of each camera carried by themselves.
    """
    held = tuple(Free() for _ in lenses.cameras)
    rungs = [_rungs(lens) for lens in lenses.found]
    tried: list[tuple[Free, ...]] = []
    for first in (0, 1):
        free, freed = _without_folds(views, solution, [steps[min(first, len(steps) - 1) :] for steps in rungs])
        if freed is None or free in tried:
            continue
        tried.append(free)
        new_sight = sight_of(views, freed.cameras)
        new_trial = judge_held_out(views, new_sight, freed, free) if options.held_out else None
        forced = options.intrinsics == "joint" and first == 1
        # The lenses of the one as of the other were found from all moments, those held out among them: lenses that are
        # found anew without a block would be held against such as had seen it.
        alike = judge_held_out(views, new_sight, freed, held) if options.held_out else None
        if forced or _better(alike, trial, solution.used & freed.used):
            return freed, new_trial, new_sight, free, True
    return solution, trial, sight, held, False


def _rungs(lens: Intrinsics | None) -> tuple[Free, ...]:
    """What may be freed of a camera with the rig, the most first, nothing last."""
    if lens is None or lens.solution is None:
        return (Free(),)
    return (everything_of(lens.model), replace(lens.free, extrinsics=True), Free())


def _without_folds(
    views: BoardViews, solution: Solution, rungs: Sequence[Sequence[Free]]
) -> tuple[tuple[Free, ...], Solution | None]:
    """The solution with as much freed as leaves every lens one: what bends too far is freed less, or held."""
    at = [0] * len(rungs)
    while True:
        free = tuple(steps[index] for steps, index in zip(rungs, at, strict=True))
        if all(one == Free() for one in free):
            return free, None
        freed = solve(views, solution.cameras, solution.poses, free, solution.used, alone=True, rounds=2)
        folded = [
            v
            for v, camera in enumerate(freed.cameras)
            if at[v] + 1 < len(rungs[v]) and not is_lens(camera, views.px[v][freed.used[v]])
        ]
        if not folded:
            return free, freed
        for v in folded:
            at[v] += 1


def _better(new: Trial | None, old: Trial | None, used: np.ndarray) -> bool:
    """Whether the new rigs predict no worse, within what blocks of moments can tell, on the same observations."""
    if new is None or old is None:
        return False
    both = used & np.isfinite(new.residual_px[..., 0]) & np.isfinite(old.residual_px[..., 0])
    worse = []
    for block in np.unique(old.block[old.block >= 0]):
        mine = both & (old.block == block)[:, None]
        if mine.any():
            squares = [(trial.residual_px[mine] ** 2).sum(axis=-1).mean() for trial in (new, old)]
            worse.append(np.log(squares[0] / max(squares[1], 1e-12)))
    if len(worse) < 2:
        return False
    # One standard error: the freed lenses are the fuller account of what is not known, and so are their deviations.
    return bool(np.mean(worse) <= np.std(worse, ddof=1) / np.sqrt(len(worse)))


def _unsolved(
    views: BoardViews, graph: Covisibility, findings: Sequence[Finding], seconds: dict[str, float]
) -> Outcome:
    """The outcome where there is no rig."""
    said = list(findings)
    if not graph.connected:
        groups = " | ".join(", ".join(views.names[v] for v in group) for group in graph.groups)
        for missing in graph.missing[: max(len(graph.groups) - 1, 1)]:
            said.append(Finding("bad", (), f"the cameras do not hang together ({groups}): {missing}", "film that"))
    return Outcome(
        rig=None,
        verdict="bad",
        reasons=tuple(said),
        shared=graph.shared,
        missing=graph.missing,
        board=views.board,
        seconds=seconds,
    )
