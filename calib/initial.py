"""First poses of all cameras and boards, from the two poses of a flat board in each view.

For a pair of cameras every common moment proposes up to four relative poses (two of the board in each view). The true
one is the same at all moments, the mirrored ones turn with the board: the proposal that most moments agree with wins,
each counted by how sure it is. Pairs whose moments also agree with another pose are called contested, and are used
last. The rig is then chained along the maximum-weight tree of pairs, and each moment's board is put where all cameras
like it best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float

from calib.camera import Camera, relative_pose
from calib.covisibility import Covisibility, covisibility
from calib.moments import Stance, blocks_of, place
from calib.relative import Pair
from calib.rotation import angle_deg
from calib.sight import BoardPoses, Sight

_PROPOSERS = 16
_WITNESSES = 30
_JURY = 8
_FINALISTS = 10
_SURE = 100.0
"""Where the second pose's chi-square exceeds the first one's by that much, noise cannot have exchanged them."""
CONTESTED = 0.5
"""A pair is contested when another relative pose has at least this share of the agreement that the best one has."""
_ANOTHER_DEG = 4.0


@dataclass(frozen=True, eq=False)
class Link:
    """How camera ``b`` stands to camera ``a``.

    Attributes:
        a, b: Indices of the cameras.
        R, t: From a's frame to b's.
        agreement: Number of common moments that agree (softly counted).
        shared: Number of common moments.
        rival: The next best pose (R, t) that is another one, where there is one with any agreement.
        rival_share: Its agreement over the best one's.
    """

    a: int
    b: int
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]
    agreement: float
    shared: int
    rival: tuple[np.ndarray, np.ndarray] | None
    rival_share: float

    @property
    def contested(self) -> bool:
        """Whether the moments agree nearly as well with another pose."""
        return self.rival is not None and self.rival_share >= CONTESTED

    def with_rival(self) -> Link:
        """The link with the two poses exchanged."""
        assert self.rival is not None
        return replace(self, R=self.rival[0], t=self.rival[1], rival=(self.R, self.t))


@dataclass(frozen=True, eq=False)
class Start:
    """Where everything is, roughly; the first camera's frame is the world.

    Attributes:
        stance: Of the cameras.
        R, t: (F, ...) of the board, from board to world; NaN = unknown.
        links: Of the tree that was chained.
        graph: Of common views that agree.
        cost: Mean bounded residual of all views, 0 (perfect) to 1 (none fits): to compare starts with.
    """

    stance: Stance
    R: Float[np.ndarray, "F 3 3"]
    t: Float[np.ndarray, "F 3"]
    links: tuple[Link, ...]
    graph: Covisibility
    cost: float

    @property
    def poses(self) -> Float[np.ndarray, "F 6"]:
        """(F, 6) rvec and t of the board; NaN = unknown."""
        poses = np.full((len(self.R), 6), np.nan)
        for f in np.flatnonzero(np.isfinite(self.t[:, 0])):
            poses[f, :3] = cv2.Rodrigues(self.R[f])[0].ravel()
        poses[:, 3:] = self.t
        return poses

    def cameras(self, cameras: Sequence[Camera]) -> tuple[Camera, ...]:
        """The same cameras, standing where they were found to stand."""
        return tuple(
            replace(camera, rvec=cv2.Rodrigues(R)[0].ravel(), t=t)
            for camera, R, t in zip(cameras, self.stance.R, self.stance.t, strict=True)
        )


def links_of(poses: BoardPoses, noise_px: Float[np.ndarray, " V"]) -> tuple[Link, ...]:
    """The links of all pairs of cameras with common moments."""
    covariance = _covariances(poses, noise_px)
    plausible = _plausible(poses, noise_px)
    n_views = len(noise_px)
    links = []
    for a in range(n_views):
        for b in range(a + 1, n_views):
            link = _link(poses, covariance, plausible, a, b)
            if link is not None:
                links.append(link)
    return tuple(links)


def graph_of(links: Sequence[Link], known: Bool[np.ndarray, "V F"], names: Sequence[str]) -> Covisibility:
    """The graph of links: worth their agreement, and little where they are contested."""
    weight = np.zeros((len(names), len(names)))
    for link in links:
        # Half a moment's agreement is chance.
        if link.agreement > 0.5:
            weight[link.a, link.b] = weight[link.b, link.a] = link.agreement * (1.02 - min(link.rival_share, 1.0))
    return covisibility(known, names, weight)


def start_from(
    links: Sequence[Link],
    graph: Covisibility,
    poses: BoardPoses,
    sight: Sight,
    target_mm: Float[np.ndarray, "N 3"],
    noise_px: Float[np.ndarray, " V"],
) -> Start:
    """Chain a connected graph and place the boards."""
    by_pair = {(link.a, link.b): link for link in links}
    n_views = len(noise_px)
    R, t = np.tile(np.eye(3), (n_views, 1, 1)), np.zeros((n_views, 3))
    used = []
    for parent, child in graph.tree:
        link = by_pair[min(parent, child), max(parent, child)]
        used.append(link)
        step_R, step_t = (link.R, link.t) if parent == link.a else (link.R.T, -link.R.T @ link.t)
        R[child], t[child] = step_R @ R[parent], step_R @ t[parent] + step_t
    # The first camera's frame is the world.
    R0, t0 = R[0].copy(), t[0].copy()
    R = R @ R0.T
    t = t - R @ t0
    stance = Stance(R, t)
    board_R, board_t, cost = _boards(stance, poses, sight, target_mm, noise_px)
    return Start(stance, board_R, board_t, tuple(used), graph, cost)


def start(
    sight: Sight, poses: BoardPoses, target_mm: Float[np.ndarray, "N 3"], names: Sequence[str]
) -> tuple[Start | None, Covisibility, tuple[Link, ...]]:
    """First poses of everything; ``None`` where the cameras do not hang together (the graph says what lacks)."""
    noise = corner_noise_px(poses)
    links = links_of(poses, noise)
    graph = graph_of(links, poses.known, names)
    if not graph.connected:
        return None, graph, links
    return start_from(links, graph, poses, sight, target_mm, noise), graph, links


def mirrored_links(link: Link, poses: BoardPoses, noise_px: Float[np.ndarray, " V"]) -> tuple[Link, ...]:
    """The link with the board mirrored in one view or both at all moments, wherever noise allows that."""
    common = np.flatnonzero(poses.known[link.a] & poses.known[link.b])
    pair = Pair(poses, _covariances(poses, noise_px), _plausible(poses, noise_px), link.a, link.b)
    return tuple(replace(link, R=R, t=t) for R, t in pair.mirrored(link.R, link.t, common))


def link_between(link: Link, cameras: Sequence[Camera]) -> Link:
    """The link as its two cameras stand."""
    R, t = relative_pose(cameras[link.a], cameras[link.b])
    return replace(link, R=R, t=t)


def corner_noise_px(poses: BoardPoses) -> np.ndarray:
    """(V,) px that each camera's own views leave.

    Not below a tenth: no corner is found better, and data without noise would know no agreement.
    """
    return np.maximum(np.nan_to_num(poses.noise_px(), nan=1.0), 0.1)


def _covariances(poses: BoardPoses, noise_px: np.ndarray) -> np.ndarray:
    """(V, F, 2, 6, 6) of each pose, in rad and mm."""
    information = poses.information / (noise_px**2)[:, None, None, None, None]
    diagonal = np.sqrt(np.maximum(np.einsum("...ii->...i", information), 1e-300))
    known = poses.known[..., None, None, None]
    unit = np.where(known, information / diagonal[..., :, None] / diagonal[..., None, :], np.eye(6))
    inverse = np.linalg.inv(unit + 1e-9 * np.eye(6))
    return np.where(known, inverse / diagonal[..., :, None] / diagonal[..., None, :], np.eye(6))


def _plausible(poses: BoardPoses, noise_px: np.ndarray) -> np.ndarray:
    """(V, F, 2) which of both poses may be the true one."""
    gap = (poses.chi2[..., 1] - poses.chi2[..., 0]) / (noise_px**2)[:, None]
    second = poses.two & (gap < _SURE)
    return np.stack([poses.known, second], axis=-1)


def _link(poses: BoardPoses, covariance: np.ndarray, plausible: np.ndarray, a: int, b: int) -> Link | None:
    common = np.flatnonzero(poses.known[a] & poses.known[b])
    if not len(common):
        return None
    # The surest moments propose and judge: many more would only cost time.
    unsure = np.linalg.slogdet(covariance[a, common, 0])[1] + np.linalg.slogdet(covariance[b, common, 0])[1]
    surest = common[np.argsort(unsure)]
    proposers, witnesses = _spread(surest, _PROPOSERS), _spread(surest, _WITNESSES)
    pair = Pair(poses, covariance, plausible, a, b)
    R, t = pair.proposals(proposers)
    # A few moments tell most wrong proposals; the rest is judged by more.
    if len(R) > _FINALISTS:
        first = pair.agreement(R, t, _spread(surest, _JURY))
        finalists = np.argsort(-first, kind="stable")[: _FINALISTS // 2]
        turned = angle_deg(R, R[finalists[0]])
        others = np.argsort(-np.where(turned > _ANOTHER_DEG, first, -1.0), kind="stable")[: _FINALISTS // 2]
        chosen = np.unique(np.concatenate([finalists, others]))
        R, t = R[chosen], t[chosen]
    agreement = pair.agreement(R, t, witnesses)
    best = int(agreement.argmax())
    best_R, best_t = pair.averaged(R[best], t[best], witnesses)
    everyone = _spread(surest, len(surest))
    support = float(pair.agreement(best_R[None], best_t[None], everyone)[0])
    # Rivals: what other single moments proposed, and what all moments say with one or both views' boards mirrored.
    rivals = pair.mirrored(best_R, best_t, witnesses)
    turned = angle_deg(R, best_R)
    other = np.where(turned > _ANOTHER_DEG, agreement, -1.0)
    if other.max() > 0:
        second = int(other.argmax())
        rivals.append(pair.averaged(R[second], t[second], witnesses))
    rivals = [one for one in rivals if angle_deg(one[0], best_R) > _ANOTHER_DEG]
    if not rivals:
        return Link(a, b, best_R, best_t, support, len(common), None, 0.0)
    against = pair.agreement(np.stack([one[0] for one in rivals]), np.stack([one[1] for one in rivals]), everyone)
    rival = rivals[int(against.argmax())]
    share = float(against.max()) / max(support, 1e-9)
    if share > 1:
        return Link(a, b, *rival, support * share, len(common), (best_R, best_t), 1 / share)
    return Link(a, b, best_R, best_t, support, len(common), rival, share)


def _spread(ordered: np.ndarray, count: int) -> np.ndarray:
    """The first half of ``count`` from the front, the rest spread over all."""
    if len(ordered) <= count:
        return ordered
    front = ordered[: count // 2]
    rest = ordered[count // 2 :]
    return np.concatenate([front, rest[np.linspace(0, len(rest) - 1, count - len(front)).astype(int)]])


def _boards(
    stance: Stance, poses: BoardPoses, sight: Sight, target_mm: np.ndarray, noise_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Board poses in the world: of all that single views propose the one that all views like best, refined."""
    n_views, n_frames = poses.known.shape
    back = np.swapaxes(stance.R, -1, -2)
    # (C, F, ...): two proposals of each camera.
    R = np.concatenate([back[:, None] @ poses.R[:, :, k] for k in range(2)])
    t = np.concatenate([(back[:, None] @ (poses.t[:, :, k] - stance.t[:, None])[..., None])[..., 0] for k in range(2)])
    some = np.linspace(0, len(target_mm) - 1, min(len(target_mm), 16)).astype(int)
    partial = Sight(sight.xy[:, :, some], sight.px_per[:, :, some], sight.seen[:, :, some])
    kept = poses.kept[:, :, some]
    limit2 = (10.0 * noise_px[:, None]) ** 2
    costs = np.full((len(R), n_frames), np.inf)
    known = np.concatenate([poses.known, poses.known & poses.two])
    for c in np.flatnonzero(known.any(axis=-1)):
        use = known[c]
        part = Sight(partial.xy[:, use], partial.px_per[:, use], partial.seen[:, use])
        blocks = blocks_of(stance, R[c, use], t[c, use], part, kept[:, use], target_mm[some])
        mean = blocks.chi2 / np.maximum(blocks.count, 1)
        loss = np.where(blocks.count > 0, mean / (mean + limit2 * 10), 0.0)
        costs[c, use] = loss.sum(axis=0)
    best = costs.argmin(axis=0)
    frames = np.flatnonzero(np.isfinite(costs.min(axis=0)))
    out_R, out_t = np.full((n_frames, 3, 3), np.nan), np.full((n_frames, 3), np.nan)
    if not len(frames):
        return out_R, out_t, 1.0
    part = Sight(sight.xy[:, frames], sight.px_per[:, frames], sight.seen[:, frames])
    keep = poses.kept[:, frames]
    R_best, t_best = R[best[frames], frames], t[best[frames], frames]
    placed_R, placed_t, blocks = place(stance, R_best, t_best, part, keep, target_mm, steps=4)
    out_R[frames], out_t[frames] = placed_R, placed_t
    mean = blocks.chi2 / np.maximum(blocks.count, 1)
    seen = blocks.count > 0
    cost = float((mean / (mean + limit2 * 10))[seen].mean()) if seen.any() else 1.0
    return out_R, out_t, cost
