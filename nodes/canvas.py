"""A drawing surface: the scene as Open3D geometry that is moved in place, in a window or off screen."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from calib.rig import Rig
from nodes.scene import BACKGROUND, CAMERA_COLOUR, Surroundings, body, joints_of, shown_share, subjects_of, surroundings
from nodes.shapes import Lines, Mesh
from nodes.viewpoint import FIELD_OF_VIEW, Viewpoint, facing, viewpoint
from rigpose.errors import MissingError
from rigpose.extras import missing
from rigpose.pose import PoseSet
from rigpose.skeleton import Skeleton

log = logging.getLogger(__name__)

LOADING_LIBRARIES = "libusb-1.0-0 libegl1 libgl1 libx11-6"
DRAWING_LIBRARIES = "libegl1 libegl-mesa0 libgl1-mesa-dri"
SPACE, RIGHT, LEFT = 32, 262, 263
"""Keys by GLFW's numbers."""
LETTER_UNITS, LETTER_PX, LINE_PX, MARGIN_PX = 14.0, 17.0, 28.0, 18.0
"""Height of a letter in Open3D's font and in the window."""
TEXT_COLOUR = (0.80, 0.83, 0.88)
FIELD_OF_VIEW_STEP = 5.0
"""Degrees by which Open3D changes it."""


def load_open3d() -> Any:
    """Open3D, without its own log on the screen.

    Raises:
        MissingError: It is not installed, or a system library that it needs is not.
    """
    try:
        open3d = importlib.import_module("open3d")
    except ModuleNotFoundError as error:
        raise missing("open3d") or MissingError("open3d", str(error)) from None
    except ImportError as error:
        library = str(error).partition(":")[0]
        raise MissingError(
            "open3d",
            f"cannot be loaded: {library} is missing",
            f"on Debian and Ubuntu: apt-get install {LOADING_LIBRARIES}",
        ) from None
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    return open3d


class Canvas:
    """One window or off-screen surface. One thread only.

    Args:
        title: Of the window.
        size: (width, height) px.
        visible: Whether anybody shall see it.

    Attributes:
        scene: What stands still in it.
        eye: From where it is looked at, at first.
        has_subject: Whether the scene was made around a subject.

    Raises:
        MissingError: Open3D is not there or cannot draw here.
    """

    def __init__(self, title: str, size: tuple[int, int], *, visible: bool) -> None:
        self._o3d = load_open3d()
        self._size = size
        self._visible = visible
        self._visualizer = self._o3d.visualization.VisualizerWithKeyCallback()
        if not self._visualizer.create_window(title, *size, visible=visible):
            raise MissingError(
                "open3d",
                "cannot draw here",
                "on Debian and Ubuntu: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri",
            )
        option = self._visualizer.get_render_option()
        option.background_color = np.array(BACKGROUND)
        option.mesh_show_back_face = True
        option.line_width = 2.0
        option.light_on = True
        self._still: list[Any] = []
        self._frusta: Any = None
        self._missing: tuple[str, ...] | None = None
        self._bodies: list[tuple[Skeleton, Any]] = []
        self._skeletons: dict[str, Skeleton] = {}
        self._lettering: Any = None
        self._written: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.scene: Surroundings | None = None
        self.eye: Viewpoint | None = None
        self.has_subject = False

    def set_scene(
        self,
        rig: Rig,
        skeletons: Mapping[str, Skeleton],
        pose: PoseSet,
        *,
        around: np.ndarray | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Put the rig into the picture and look at it so that the subject and all cameras are in view.

        Args:
            rig: Its cameras.
            skeletons: Those that subjects may have.
            pose: A set by which the view is chosen.
            around: (N, 3) joints that shall be in view too.
            size: Whose aspect counts; by default the canvas's.
        """
        for geometry in (*self._still, *(mesh for _, mesh in self._bodies)):
            self._visualizer.remove_geometry(geometry, reset_bounding_box=False)
        self._skeletons, self._bodies = dict(skeletons), []
        joints = joints_of([pose]) if around is None else around
        self.has_subject = shown_share(pose) > 0
        self.scene = scene = surroundings(rig, joints)
        self._frusta = self._mesh(scene.frusta(pose.missing))
        self._missing = pose.missing
        self._still = [self._frusta]
        if scene.floor is not None:
            self._still.append(self._lines(scene.floor))
        if scene.axes is not None:
            self._still.append(self._mesh(scene.axes))
        for geometry in self._still:
            self._visualizer.add_geometry(geometry, reset_bounding_box=True)
        self._make_bodies(pose)
        width, height = size or self._size
        forward = facing(subjects_of(pose, self._skeletons), scene.up)
        self.eye = viewpoint(scene, joints, forward, width / height)
        if self._visible:
            for geometry in self._names(scene, self.eye):
                self._still.append(geometry)
                self._visualizer.add_geometry(geometry, reset_bounding_box=False)
        self._look(self.eye)

    def _look(self, eye: Viewpoint) -> None:
        control = self._visualizer.get_view_control()
        control.change_field_of_view((np.degrees(FIELD_OF_VIEW) - control.get_field_of_view()) / FIELD_OF_VIEW_STEP)
        control.set_lookat(eye.lookat_mm)
        control.set_front(eye.front)
        control.set_up(eye.up)
        # Open3D's zoom is half the height that is seen at the lookat point over the largest side of a box
        # that it keeps around what was added; only its view status tells that box.
        status = json.loads(self._visualizer.get_view_status())["trajectory"][0]
        largest = float(np.subtract(status["boundingbox_max"], status["boundingbox_min"]).max())
        control.set_zoom(eye.distance_mm * np.tan(FIELD_OF_VIEW / 2) / largest)

    def _make_bodies(self, pose: PoseSet) -> None:
        """A mesh for each subject of a set that has none yet; those there are go on being used."""
        assert self.scene is not None
        for place, (subject, skeleton) in enumerate(subjects_of(pose, self._skeletons)):
            if place < len(self._bodies) and self._bodies[place][0] is skeleton:
                continue
            mesh = self._mesh(body(subject, skeleton, self.scene.size_mm, self.scene.center_mm))
            if place < len(self._bodies):
                self._visualizer.remove_geometry(self._bodies[place][1], reset_bounding_box=False)
                self._bodies[place] = (skeleton, mesh)
            else:
                self._bodies.append((skeleton, mesh))
            self._visualizer.add_geometry(mesh, reset_bounding_box=False)

    def show(self, pose: PoseSet, *, stale: bool = False) -> None:
        """Move what is drawn to a set; a stale one turns grey."""
        scene = self.scene
        assert scene is not None
        self._make_bodies(pose)
        subjects = subjects_of(pose, self._skeletons)
        for place, (skeleton, geometry) in enumerate(self._bodies):
            subject = subjects[place][0] if place < len(subjects) else None
            self._move(geometry, body(subject, skeleton, scene.size_mm, scene.center_mm, stale))
        if pose.missing != self._missing:
            self._missing = pose.missing
            self._move(self._frusta, scene.frusta(pose.missing))

    def write(self, lines: Sequence[str]) -> None:
        """Put text into the upper left corner; it stays there however the user turns the view."""
        if self.scene is None:
            return
        camera = self._visualizer.get_view_control().convert_to_pinhole_camera_parameters()
        width, height = camera.intrinsic.width, camera.intrinsic.height
        rotation, translation = camera.extrinsic[:3, :3], camera.extrinsic[:3, 3]
        # Near the eye, where nothing of the scene stands before it.
        depth = 0.2 * float(np.linalg.norm(rotation @ self.scene.center_mm + translation))
        mm_a_px = depth / camera.intrinsic.intrinsic_matrix[1, 1]
        vertices, triangles = [np.zeros((0, 3))], [np.zeros((0, 3), np.int32)]
        count = 0
        for row, line in enumerate(lines):
            letters, corners = self._letters(line)
            px = letters * (LETTER_PX / LETTER_UNITS) * (1, -1, 0)
            px += (MARGIN_PX - width / 2, MARGIN_PX + (row + 1) * LINE_PX - height / 2, 0)
            vertices.append((px * mm_a_px + (0, 0, depth) - translation) @ rotation)
            triangles.append(corners + count)
            count += len(letters)
        points = np.concatenate(vertices)
        shape = Mesh(
            points,
            np.tile(-rotation[2], (len(points), 1)),
            np.tile(TEXT_COLOUR, (len(points), 1)),
            np.concatenate(triangles),
        )
        if self._lettering is None:
            self._lettering = self._mesh(shape)
            self._visualizer.add_geometry(self._lettering, reset_bounding_box=False)
        else:
            self._lettering.triangles = self._o3d.utility.Vector3iVector(shape.triangles)
            self._move(self._lettering, shape)

    def _letters(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (N, 3) and triangles (M, 3) of a text, x to the right and y up, in font units."""
        if text not in self._written:
            if len(self._written) > 200:
                self._written.clear()
            mesh = self._o3d.t.geometry.TriangleMesh.create_text(text or " ", depth=0.0).to_legacy()
            self._written[text] = np.asarray(mesh.vertices).copy(), np.asarray(mesh.triangles).copy()
        return self._written[text]

    def _names(self, scene: Surroundings, eye: Viewpoint) -> list[Any]:
        """The cameras' names above their frusta, facing the eye that the scene begins with."""
        right = np.cross(eye.up, eye.front)
        meshes = []
        for name, corners in zip(scene.cameras, scene.corners_mm, strict=True):
            letters, triangles = self._letters(name)
            away = eye.distance_mm - (corners.mean(axis=0) - eye.lookat_mm) @ eye.front
            scale = LETTER_PX / LETTER_UNITS * 2 * np.tan(FIELD_OF_VIEW / 2) * away / self._size[1]
            at = corners.mean(axis=0)
            above = float(((corners - at) @ eye.up).max()) + 6 * scale
            middle = float(letters[:, 0].mean())
            points = at + above * eye.up + scale * ((letters[:, :1] - middle) * right + letters[:, 1:2] * eye.up)
            facing_eye = np.tile(eye.front, (len(points), 1))
            meshes.append(self._mesh(Mesh(points, facing_eye, np.tile(CAMERA_COLOUR, (len(points), 1)), triangles)))
        return meshes

    def turn(self) -> bool:
        """Draw and hear the user; ``False`` = the window was closed."""
        if not self._visualizer.poll_events():
            return False
        self._visualizer.update_renderer()
        return True

    def capture(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of what is drawn."""
        self._visualizer.poll_events()
        self._visualizer.update_renderer()
        pixels = np.asarray(self._visualizer.capture_screen_float_buffer(True))
        return np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)

    def on_keys(self, pause: Callable[[], None], back: Callable[[], None], forward: Callable[[], None]) -> None:
        """What the space bar and the arrow keys do."""
        for key, action in ((SPACE, pause), (LEFT, back), (RIGHT, forward)):

            def pressed(_: Any, action: Callable[[], None] = action) -> bool:
                action()
                return False

            self._visualizer.register_key_callback(key, pressed)

    def close(self) -> None:
        """Let the window go."""
        self._visualizer.destroy_window()

    def _mesh(self, shape: Mesh) -> Any:
        geometry = self._o3d.geometry.TriangleMesh()
        geometry.triangles = self._o3d.utility.Vector3iVector(shape.triangles)
        self._fill(geometry, shape)
        return geometry

    def _fill(self, geometry: Any, shape: Mesh) -> None:
        vectors = self._o3d.utility.Vector3dVector
        geometry.vertices = vectors(shape.vertices)
        geometry.vertex_normals = vectors(shape.normals)
        geometry.vertex_colors = vectors(shape.colours)

    def _move(self, geometry: Any, shape: Mesh) -> None:
        self._fill(geometry, shape)
        self._visualizer.update_geometry(geometry)

    def _lines(self, lines: Lines) -> Any:
        geometry = self._o3d.geometry.LineSet()
        geometry.points = self._o3d.utility.Vector3dVector(lines.points)
        geometry.lines = self._o3d.utility.Vector2iVector(lines.segments)
        geometry.colors = self._o3d.utility.Vector3dVector(lines.colours)
        return geometry
