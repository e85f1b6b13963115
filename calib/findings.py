"""What speaks against a calibration, in words, and the verdict that follows.

Every threshold is relative: to the noise that the corners themselves show, to deviations, to the size of the picture or
of the board, or to what held-out moments say. None is a number of pixels that some recording happened to have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from calib.held_out import LEAST_MOMENTS, Trial
from calib.intrinsics import OBSERVED
from calib.observations import BoardViews
from calib.outcome import Grade, Offset
from calib.quality import Finding, judge
from calib.rig import Rig
from calib.solved import Solved
from calib.suspicions import Late

NOISY = 2.0
"""Where the rig's residual is this many times what each camera's own views leave, most of it is not the corners' noise
but something that differs between cameras: exposures, a lens that holds only near where it was calibrated, a move."""
AMBIGUOUS = 25.0
"""Another solution whose squared residuals exceed the best one's by less than that many squared deviations (5 sigma)
cannot be told from it."""
OVERFIT = 1.6
"""Where held-out residuals are this many times those of the fit, the fit has learned its moments and not the rig. With
six unknowns a camera and ten moments of a dozen points the ratio is 1.1 by the count of unknowns alone."""
REJECTED = 0.25
"""A quarter of the corners wrong is no detector's noise: something else is."""
WIDE = 0.02
"""Of its distance: a camera's position that is not known better than this."""
_DOUBTS = 5.0
_SEEN_PX = 0.1
"""No corner is found better: differences below it are nobody's."""
_NO_RIG = 0.005
"""Of the picture's longer side, 6 px of 1280: views that fit no better are of no one rig."""
_FEW_PLACES = 6
_ASIDE = 2
_ASIDE_SHARE = 0.1
"""Views of a camera that are whole in themselves and yet fit no rig that the others do: from so many on, and more than
this share of what it saw together with others. Gross errors of single points never make one."""


def before_solving(views: BoardViews) -> Iterator[Finding]:
    """What the views show by themselves."""
    for name, n in zip(views.names, views.usable.sum(axis=1), strict=True):
        if n == 0:
            yield Finding(
                "bad", (name,), "never saw enough of the board", "rigpose calibrate doctor says why it was not found"
            )
    yield from _same_pictures(views)
    yield from _mirrored(views)
    yield from _outside(views)
    yield from _places(views)


def _places(views: BoardViews) -> Iterator[Finding]:
    """A board that stood still is one moment, however often it was filmed; holding it out proves nothing."""
    n = np.maximum(views.counts, 1)[..., None]
    middle = np.nan_to_num(views.px).sum(axis=2) / n
    cells = np.round(middle / (0.01 * np.array(views.sizes, dtype=np.float64)[:, None] + 1e-9))
    cells = np.where(views.usable[..., None], cells, -1e6)
    places = len(np.unique(np.moveaxis(cells, 0, 1).reshape(len(views.frames), -1), axis=0)) if len(views.frames) else 0
    if places < _FEW_PLACES <= len(views.frames):
        what = f"the board stood at {places} places only, in {len(views.frames)} moments"
        yield Finding("suspect", (), what, "move it through the whole volume, tilted to all sides")


def _same_pictures(views: BoardViews) -> Iterator[Finding]:
    for a in range(len(views.names)):
        for b in range(a + 1, len(views.names)):
            common = views.seen[a] & views.seen[b]
            if common.sum() < 20:
                continue
            # Two cameras never see a board at the same pixels all the time; a film encoded twice nearly does.
            apart = np.linalg.norm(views.px[a][common] - views.px[b][common], axis=-1)
            if np.median(apart) < 0.1:
                pair = (views.names[a], views.names[b])
                yield Finding("bad", pair, "show the same pictures: one is a copy of the other", "give each its own")


def _mirrored(views: BoardViews) -> Iterator[Finding]:
    """Points of a board seen from its front turn the same way round in the picture as on the board."""
    target = views.target_mm[:, :2] - views.target_mm[:, :2].mean(axis=0)
    turned = []
    for v, name in enumerate(views.names):
        signs = []
        for f in np.flatnonzero(views.usable[v]):
            seen = views.seen[v, f]
            px = views.px[v, f, seen]
            affine = np.linalg.lstsq(np.column_stack([target[seen], np.ones(seen.sum())]), px, rcond=None)[0]
            signs.append(np.linalg.det(affine[:2]) > 0)
        if len(signs) >= 3 and np.mean(signs) < 0.2:
            turned.append(name)
    if not turned:
        return
    if len(turned) == len(views.names):
        what = "all cameras see the board mirrored: its points or all pictures are, and the rig would be too"
        yield Finding("bad", tuple(turned), what, "describe the board as it was printed, or undo the flip")
    else:
        what = "sees the board mirrored, as through a mirror" if len(turned) == 1 else "see the board mirrored"
        yield Finding("bad", tuple(turned), what, "its pictures are flipped: undo that, or set flip for this camera")


def _outside(views: BoardViews) -> Iterator[Finding]:
    for v, (name, size) in enumerate(zip(views.names, views.sizes, strict=True)):
        px = views.px[v][views.seen[v]]
        # A few are errors of the detector; a tenth are pictures of another size.
        if len(px) and ((px < -1) | (px > np.array(size))).any(axis=-1).mean() > 0.1:
            at = np.quantile(px, 0.99, axis=0)
            yield Finding(
                "bad",
                (name,),
                f"points lie at ({at[0]:.0f}, {at[1]:.0f}), outside of its picture of {size[0]}x{size[1]}",
                "give the size that the pictures really have",
            )


def of_rig(solved: Solved) -> Iterator[Finding]:
    """What a solved rig shows."""
    yield from _rivals(solved)
    # Of what single views say by themselves no camera's place is to blame.
    yield from of_lenses(solved)
    yield from _suspicions(solved)
    yield from _contradictions(solved)
    yield from _residuals(solved)
    yield from _sureness(solved)
    yield from _links(solved)
    yield from judge(Rig(solved.solution.cameras)).findings


def verdict_of(findings: Sequence[Finding], trial: Trial | None) -> Grade:
    """The verdict that follows: the worst finding; nothing held out to judge by = at best unverified."""
    levels = {finding.level for finding in findings}
    if "bad" in levels:
        return "bad"
    if "suspect" in levels:
        return "suspect"
    return "good" if trial is not None and (trial.block >= 0).any() else "unverified"


def _rivals(solved: Solved) -> Iterator[Finding]:
    for rival in solved.rivals:
        if rival.worse < AMBIGUOUS:
            what = (
                f"two solutions explain the views alike: with the board's mirrored poses these cameras stand "
                f"{rival.turned_deg:.0f} degrees elsewhere"
            )
            yield Finding("bad", rival.cameras, what, "film the board tilted to all sides, nearer, and turned")
            return


def _suspicions(solved: Solved) -> Iterator[Finding]:
    found = solved.suspicions
    if found.has_moved and found.moved is not None:
        step = found.moved
        who = "moved" if len(step.camera) == 1 else "moved against each other"
        what = (
            f"{who} at frame {step.frame}: by {step.moved_mm:.1f} mm and {step.turned_deg:.2f} degrees (explains "
            f"{100 * step.explains:.0f} % of the squared residuals)"
        )
        yield Finding("bad", step.camera, what, "use the moments before or after it, or film again")
    if solved.carried is not None:
        what = f"{_lateness(solved.carried)}; what it saw was carried to the others' time"
        one = _most_late(solved.carried)
        yield Finding("suspect", (one.camera,), what, "synchronise the cameras, or give their time stamps")
    if found.is_late:
        more = " more" if solved.carried is not None else ""
        one = _most_late(found.late)
        what = f"{_lateness(found.late)}{more}"
        yield Finding("bad", (one.camera,), what, "synchronise the cameras, or give their time stamps")


def _most_late(late: Late) -> Offset:
    return max((o for o in late.offsets if o.camera in late.camera), key=lambda o: abs(o.frames))


def _lateness(late: Late) -> str:
    one = _most_late(late)
    how = "late" if one.frames > 0 else "early"
    against = "the others" if len(late.camera) == 1 else next(c for c in late.camera if c != one.camera)
    number = f"{abs(one.frames):.2f} +- {one.deviation:.2f} frames"
    if one.unit == "s":
        number = f"{1000 * abs(one.frames):.0f} +- {1000 * one.deviation:.0f} ms"
    return f"is {number} {how} against {against} (explains {100 * late.explains:.0f} % of the squared residuals)"


def of_lenses(solved: Solved) -> Iterator[Finding]:
    """What speaks against the lenses."""
    adjusted = solved.solution.adjusted
    for camera, lens in zip(solved.solution.cameras, solved.lenses.found, strict=True):
        if lens is None:
            continue
        focal = camera.K[[0, 1], [0, 1]]
        sure = np.array(lens.focal_deviation_px)
        if solved.joint and lens.solution is not None:
            sure = np.nan_to_num(adjusted.deviation(camera.name).focal_px, nan=np.inf)
        if not (sure <= OBSERVED * focal).all():
            what = f"focal length not observable: {focal.mean():.0f} +- {sure.max():.0f} px"
            if lens.solution is None:
                what = f"focal length not observable: {lens.views} usable views, the lens is a guess"
            remedy = "show the board tilted, near and far, or give the intrinsics"
            yield Finding("suspect", (camera.name,), what, remedy)
    for doubt in solved.doubts:
        given, seen = np.array(doubt.given), np.array(doubt.seen)
        sure = np.array(doubt.deviation)
        name = (doubt.camera,)
        off = np.abs(given[2:] - seen[2:])
        swapped = np.abs(given[[3, 2]] - seen[2:])
        at = f"principal point ({given[2]:.0f}, {given[3]:.0f})"
        if swapped.max() < 0.5 * off.max() and (swapped <= np.maximum(_DOUBTS * sure[2:], 0.25 * off.max())).all():
            what = f"{at}: x and y are swapped (its views say {seen[2]:.0f}, {seen[3]:.0f})"
            yield Finding("bad", name, what, "swap cx and cy")
            continue
        what = (
            f"the given lens (f {given[:2].mean():.0f}, centre {given[2]:.0f}, {given[3]:.0f}) does not fit its views, "
            f"which say f {seen[:2].mean():.0f} +- {sure[:2].max():.0f}, centre {seen[2]:.0f}, {seen[3]:.0f} "
            f"+- {sure[2:].max():.0f} px"
        )
        yield Finding("suspect", name, what, "is it for this camera, zoom and picture size? solve it again")


def _contradictions(solved: Solved) -> Iterator[Finding]:
    """Views that were left out whole: too few for `calib.suspicions` to say what happened, too many for chance."""
    if solved.suspicions.has_moved:
        return
    solution, kept = solved.solution, solved.poses.kept
    shared = (kept.sum(axis=-1) >= 4) & np.isfinite(solution.poses).all(axis=-1)
    shared &= shared.sum(axis=0) >= 2
    aside = shared & ((solution.used & kept).sum(axis=-1) < 0.5 * kept.sum(axis=-1))
    for name, mine, out in zip(solved.views.names, shared, aside, strict=True):
        n, n_all = int(out.sum()), int(mine.sum())
        if n < _ASIDE or n <= _ASIDE_SHARE * n_all:
            continue
        frames = solved.views.frames[out]
        told = ", ".join(str(frame) for frame in frames[:4]) + (f" and {n - 4} more" if n > 4 else "")
        what = f"{n} of its {n_all} views contradict the other cameras and were left out (frames {told})"
        fitting = solved.views.frames[mine & ~out]
        if len(fitting) and (frames.min() > fitting.max() or frames.max() < fitting.min()):
            step = frames.min() if frames.min() > fitting.max() else fitting.min()
            what += f", as if it had moved at frame {step}"
        yield Finding("suspect", (name,), what, "look at these pictures: was it touched, is the board misread in them?")


def _residuals(solved: Solved) -> Iterator[Finding]:
    solution = solved.solution
    seen = np.isfinite(solution.residual_px[..., 0]) & (solution.used.sum(axis=(0, 2)) > 0)[:, None]
    rejected = float((seen & ~solution.used).sum() / max(seen.sum(), 1))
    if rejected > REJECTED:
        level = "bad" if rejected > 0.5 else "suspect"
        what = f"{100 * rejected:.0f} % of the observations do not fit and were left out"
        yield Finding(level, (), what, "look at which cameras and moments they are in")  # type: ignore[arg-type]
    own = float(np.nanmedian(solved.poses.noise_px()))
    ratio = solution.sigma_px / max(own, 0.05)
    if ratio > NOISY:
        what = (
            f"the cameras disagree by {ratio:.1f} times what the corners of single views show "
            f"({solution.sigma_px:.2f} against {own:.2f} px)"
        )
        remedy = "exposures that differ while the board moves? hold it still, or trigger the cameras together"
        wide = float(np.median([max(size) for size in solved.views.sizes]))
        yield Finding("bad" if solution.sigma_px > _NO_RIG * wide else "suspect", (), what, remedy)
    trial = solved.trial
    if trial is None:
        what = f"fewer than {LEAST_MOMENTS} common moments: none could be held out to judge by"
        yield Finding("note", (), what, "film the board at more places")
        return
    # A block may hold the only views of a corner of a picture: what lies there was not fitted badly but not at all.
    judged = solution.used & np.isfinite(trial.residual_px[..., 0]) & trial.within
    if judged.any():
        # Nine in ten: a lens is little sure already where it was hardly fitted.
        unseen = float(np.quantile(np.linalg.norm(trial.residual_px[judged], axis=-1), 0.9))
        fitted = float(np.quantile(np.linalg.norm(solution.residual_px[judged], axis=-1), 0.9))
        if unseen > max(OVERFIT * fitted, _SEEN_PX):
            what = f"nine in ten points are within {unseen:.2f} px where not fitted, {fitted:.2f} px where fitted"
            yield Finding("suspect", (), what, "film the board at more places and slants")


def _sureness(solved: Solved) -> Iterator[Finding]:
    adjusted = solved.solution.adjusted
    placed = solved.solution.poses[np.isfinite(solved.solution.poses).all(axis=-1), 3:]
    middle = np.median(placed, axis=0)
    for camera in solved.solution.cameras:
        reach = float(np.linalg.norm(camera.center_mm - middle))
        sure = adjusted.deviation(camera.name).position_total_mm
        if not sure <= WIDE * reach:
            what = f"its position is only known to {sure:.0f} mm, {reach:.0f} mm from the board"
            yield Finding("suspect", (camera.name,), what, "film the board before it and a neighbour more often")


def _links(solved: Solved) -> Iterator[Finding]:
    for words in solved.graph.missing:
        yield Finding("note", (), words, "more common moments make it surer")
