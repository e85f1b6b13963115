"""What the browser page shows: the scene of `nodes.scene` as viser's nodes, moved in place, and a panel.

A browser's numbers are single precision and its camera sees from 1 cm to 1 km, so a scene, of a fly or of a
hall, is shown in units of its own, about its own middle.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from calib.rig import Rig
from nodes.scene import (
    BACKGROUND,
    CAMERA_COLOUR,
    FRUSTUM_EDGES,
    GREY,
    MISSING_COLOUR,
    SIDE_COLOURS,
    Look,
    Surroundings,
    joints_of,
    look,
    shown_share,
    subjects_of,
    surroundings,
)
from nodes.shapes import spheres, tubes
from nodes.viewpoint import FIELD_OF_VIEW, facing, viewpoint
from rigpose.pose import PoseSet
from rigpose.skeleton import Skeleton

REACH = 4.0
"""How far the scene reaches from its middle, in the page's units."""
ASPECT = 1.25
"""Width over height that the first view is made for."""
BRAND = (74, 184, 255)


def turns(directions: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 4"]:
    """Unit quaternions (w, x, y, z) that turn +z into each direction."""
    length = np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-12)
    x, y, z = np.moveaxis(directions / length, -1, 0)
    quaternions = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=-1)
    # Straight down there is no shortest way; half a turn about x is one.
    quaternions[z < -1 + 1e-9] = [0.0, 1.0, 0.0, 0.0]
    return quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Instances:
    """Copies of one shape, as viser wants them: (N, 3), (N, 4), (N, 3), (N, 3)."""

    positions: np.ndarray
    turns: np.ndarray
    scales: np.ndarray
    colours: np.ndarray


def balls(points: Float[np.ndarray, "N 3"], radius: np.ndarray, colours: np.ndarray) -> Instances:
    """A ball at each point; none at NaN."""
    there = np.isfinite(points).all(axis=-1)
    scales = np.where(there, np.broadcast_to(radius, len(points)), 0.0)[:, None].repeat(3, axis=1)
    upright = np.tile([1.0, 0.0, 0.0, 0.0], (len(points), 1))
    return Instances(np.where(there[:, None], points, 0.0), upright, scales, linear(colours))


def bars(starts: np.ndarray, ends: np.ndarray, radius: np.ndarray, colours: np.ndarray) -> Instances:
    """A bar from each start to its end; none where one of them is NaN."""
    there = (np.isfinite(starts) & np.isfinite(ends)).all(axis=-1)
    starts, along = np.where(there[:, None], starts, 0.0), np.where(there[:, None], ends - starts, 0.0)
    radius = np.where(there, np.broadcast_to(radius, len(starts)), 0.0)
    scales = np.stack([radius, radius, np.linalg.norm(along, axis=-1)], axis=-1)
    return Instances(starts, turns(along), scales, linear(colours))


def _bytes(colours: np.ndarray) -> np.ndarray:
    return np.clip(np.round(255 * np.asarray(colours)), 0, 255).astype(np.uint8)


def linear(colours: np.ndarray) -> np.ndarray:
    """Colours as bytes of the linear light that the page takes those of lines and instances for."""
    screen = np.asarray(colours, float)
    return _bytes(np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4))


class _Copies:
    """A node of the page that holds instances of one shape."""

    def __init__(self, scene: Any, name: str, shape: Any, instances: Instances) -> None:
        self._node = scene.add_batched_meshes_simple(
            name,
            shape.vertices,
            shape.triangles,
            batched_wxyzs=instances.turns,
            batched_positions=instances.positions,
            batched_scales=instances.scales,
            batched_colors=instances.colours,
            lod="off",
            cast_shadow=False,
            receive_shadow=False,
        )

    def move(self, instances: Instances) -> None:
        self._node.batched_positions = instances.positions
        self._node.batched_wxyzs = instances.turns
        self._node.batched_scales = instances.scales
        self._node.batched_colors = instances.colours

    def remove(self) -> None:
        self._node.remove()


def _ball() -> Any:
    return spheres(np.zeros((1, 3)), 1.0, np.ones((1, 3)), np.zeros(3))


def _bar() -> Any:
    return tubes(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]), 1.0, np.ones((1, 3)), np.zeros(3))


@dataclass
class _Body:
    skeleton: Skeleton
    joints: _Copies
    bones: _Copies | None

    def remove(self) -> None:
        self.joints.remove()
        if self.bones is not None:
            self.bones.remove()


@dataclass
class Figures:
    """What the panel says.

    Attributes:
        title: Of the rig.
        state: In a word or two.
        good: Whether that is how it should be; ``None`` = neither.
        rows: Names and values.
        notes: Whole sentences below.
    """

    title: str = "rigpose"
    state: str = "waiting for the engine"
    good: bool | None = None
    rows: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def panel_html(figures: Figures) -> str:
    """The panel's figures as HTML; whatever stands in them is shown as it is, never run."""
    colour = {True: "#4cc38a", False: "#ff6b6b", None: "#f5c451"}[figures.good]
    rows = "".join(
        f'<tr><td style="opacity:.62;padding:2px 10px 2px 0;white-space:nowrap">{html.escape(name)}</td>'
        f'<td style="text-align:right;font-variant-numeric:tabular-nums">{html.escape(value)}</td></tr>'
        for name, value in figures.rows
    )
    notes = "".join(f'<div style="opacity:.62;margin-top:5px">{html.escape(note)}</div>' for note in figures.notes)
    legend = "".join(
        f'<span style="margin-right:12px;white-space:nowrap"><span style="color:{_css(value)}">&#9679;</span> '
        f"{name}</span>"
        for name, value in (*SIDE_COLOURS.items(), ("predicted", GREY))
    )
    return (
        '<div style="padding:4px 12px 10px;font-size:13px;line-height:1.45">'
        f'<div style="font-size:15px;font-weight:600">{html.escape(figures.title)}</div>'
        f'<div style="margin:2px 0 8px"><span style="color:{colour}">&#9679;</span> {html.escape(figures.state)}</div>'
        f'<table style="width:100%;border-collapse:collapse">{rows}</table>{notes}'
        f'<div style="margin-top:9px">{legend}</div></div>'
    )


def _css(colour: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * value):02x}" for value in colour)


class Page:
    """The page of one rig. One thread only.

    Args:
        server: Of viser.

    Attributes:
        scene: What stands still in it; ``None`` before the first pose.
        has_subject: Whether the scene was made around a subject.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._nodes: list[Any] = []
        self._bodies: list[_Body] = []
        self._skeletons: dict[str, Skeleton] = {}
        self._missing: tuple[str, ...] = ()
        self._frusta: Any = None
        self._heads: _Copies | None = None
        self._unit = 1.0
        self._middle = np.zeros(3)
        self.scene: Surroundings | None = None
        self.has_subject = False
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, brand_color=BRAND)
        server.scene.world_axes.visible = False
        server.scene.set_background_image(np.tile(_bytes(np.array(BACKGROUND)), (2, 2, 1)), format="png")
        server.gui.main_panel.dock_right()
        # Plain light from above and around, so that a colour is the same wherever a limb points.
        server.scene.configure_environment_map(None)
        server.scene.configure_default_lights(enabled=False)
        server.scene.add_light_ambient("/light/around", intensity=1.6)
        server.scene.add_light_hemisphere("/light/above", intensity=1.8)
        self._panel = server.gui.add_html(panel_html(Figures()))

    def say(self, figures: Figures) -> None:
        """Put figures into the panel."""
        self._panel.content = panel_html(figures)

    def place(self, points_mm: np.ndarray) -> np.ndarray:
        """Points of the rig's world in the page's units."""
        return (np.asarray(points_mm, float) - self._middle) * self._unit

    def set_scene(self, rig: Rig, skeletons: Mapping[str, Skeleton], pose: PoseSet) -> None:
        """Put a rig onto the page and look at it so that the subject and all cameras are in view."""
        server = self._server
        with server.atomic():
            self._clear()
            self._skeletons = dict(skeletons)
            joints = joints_of([pose])
            self.has_subject = shown_share(pose) > 0
            self.scene = scene = surroundings(rig, joints)
            self._middle = scene.center_mm
            self._unit = REACH / float(np.linalg.norm(scene.corners_mm.reshape(-1, 3) - scene.center_mm, axis=-1).max())
            server.scene.set_up_direction(tuple(scene.up))
            self._add_surroundings(scene, pose)
            self._look(scene, pose, joints)
        self.show(pose)

    def _clear(self) -> None:
        for node in (*self._nodes, *self._bodies, self._heads):
            if node is not None:
                node.remove()
        self._nodes, self._bodies, self._heads = [], [], None

    def _add_surroundings(self, scene: Surroundings, pose: PoseSet) -> None:
        add = self._server.scene
        if scene.floor is not None:
            ends = self.place(scene.floor.points)[scene.floor.segments]
            colours = np.repeat(linear(scene.floor.colours)[:, None], 2, axis=1)
            self._nodes.append(add.add_line_segments("/floor", ends, colours, thickness=1.2, thickness_units="screen"))
        if scene.axes is not None:
            origin = self.place(np.zeros((1, 3)))[0]
            self._nodes.append(
                add.add_frame(
                    "/axes",
                    position=origin,
                    axes_length=scene.step_mm * self._unit,
                    axes_radius=0.025 * scene.step_mm * self._unit,
                    origin_radius=0.0,
                )
            )
        self._missing = pose.missing
        ends, colours = self._camera_lines(scene)
        self._frusta = add.add_line_segments("/cameras", ends, colours, thickness=2.2, thickness_units="screen")
        self._heads = _Copies(add, "/camera centres", _ball(), self._camera_balls(scene))
        self._nodes.append(self._frusta)
        for index, (name, corners) in enumerate(zip(scene.cameras, self.place(scene.corners_mm), strict=True)):
            label = add.add_label(f"/names/{index}", name, position=corners[5], anchor="bottom-center")
            self._nodes.append(label)

    def _camera_colours(self, scene: Surroundings) -> np.ndarray:
        return np.array([MISSING_COLOUR if name in self._missing else CAMERA_COLOUR for name in scene.cameras])

    def _camera_lines(self, scene: Surroundings) -> tuple[np.ndarray, np.ndarray]:
        ends = self.place(scene.corners_mm)[:, FRUSTUM_EDGES].reshape(-1, 2, 3)
        colours = np.repeat(linear(self._camera_colours(scene)), len(FRUSTUM_EDGES), axis=0)
        return ends, np.repeat(colours[:, None], 2, axis=1)

    def _camera_balls(self, scene: Surroundings) -> Instances:
        radius = np.array(4 * scene.radius_mm * self._unit)
        return balls(self.place(scene.corners_mm[:, 0]), radius, self._camera_colours(scene))

    def _look(self, scene: Surroundings, pose: PoseSet, joints: np.ndarray) -> None:
        eye = viewpoint(scene, joints, facing(subjects_of(pose, self._skeletons), scene.up), ASPECT)
        position = self.place(eye.lookat_mm + eye.distance_mm * eye.front)
        first = self._server.initial_camera
        first.fov, first.up, first.look_at, first.position = FIELD_OF_VIEW, eye.up, self.place(eye.lookat_mm), position
        # A page that is open already keeps its place, so it is moved; its user has seen nothing yet.
        for client in self._server.get_clients().values():
            with client.atomic():
                camera = client.camera
                camera.fov, camera.up_direction = FIELD_OF_VIEW, eye.up
                camera.position, camera.look_at = position, self.place(eye.lookat_mm)

    def show(self, pose: PoseSet, *, stale: bool = False) -> None:
        """Move what is drawn to a set; a stale one turns grey."""
        scene = self.scene
        assert scene is not None
        subjects = subjects_of(pose, self._skeletons)
        with self._server.atomic():
            for place, (subject, skeleton) in enumerate(subjects):
                self._show_body(place, skeleton, look(subject, skeleton, scene.size_mm, stale))
            for place in range(len(subjects), len(self._bodies)):
                skeleton = self._bodies[place].skeleton
                self._show_body(place, skeleton, look(None, skeleton, scene.size_mm))
            if pose.missing != self._missing:
                self._missing = pose.missing
                _, self._frusta.colors = self._camera_lines(scene)
                assert self._heads is not None
                self._heads.move(self._camera_balls(scene))

    def _show_body(self, place: int, skeleton: Skeleton, it: Look) -> None:
        points = self.place(it.points_mm)
        joints = balls(points, it.joint_mm * self._unit, it.colours)
        bones = bars(points[it.bones[:, 0]], points[it.bones[:, 1]], it.bone_mm * self._unit, it.bone_colours)
        if place < len(self._bodies) and self._bodies[place].skeleton is not skeleton:
            self._bodies[place].remove()
        elif place < len(self._bodies):
            body = self._bodies[place]
            body.joints.move(joints)
            if body.bones is not None:
                body.bones.move(bones)
            return
        add = self._server.scene
        body = _Body(
            skeleton,
            _Copies(add, f"/subjects/{place}/joints", _ball(), joints),
            _Copies(add, f"/subjects/{place}/bones", _bar(), bones) if len(it.bones) else None,
        )
        self._bodies[place : place + 1] = [body]
