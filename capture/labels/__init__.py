"""Keypoints that people labelled, read once for all users: COCO, DeepLabCut, SLEAP, OpenPose and our own.

`read_labels` takes a file or a folder and gives a `Labels`: the skeleton, and for each labelled picture its
points in px with (0, 0) the centre of the first pixel, NaN where a joint was not labelled. Pictures are read
when they are asked for. `read_poses3d` gives `Poses3D`: positions in mm, with cameras and 2D points where a file
has them.
"""

from capture.labels.labels import LabelledFrame, Labels, Picture
from capture.labels.own import write_labels
from capture.labels.pictures import PictureReader
from capture.labels.poses.npz import write_poses3d
from capture.labels.poses.reader import read_poses3d
from capture.labels.poses3d import Poses3D
from capture.labels.reader import read_labels

__all__ = [
    "LabelledFrame",
    "Labels",
    "Picture",
    "PictureReader",
    "Poses3D",
    "read_labels",
    "read_poses3d",
    "write_labels",
    "write_poses3d",
]
