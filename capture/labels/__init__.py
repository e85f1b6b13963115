"""Keypoints that people labelled, read once for all users: COCO, DeepLabCut, SLEAP, OpenPose and our own.

`read_labels` takes a file or a folder and gives a `Labels`: the skeleton, and for each labelled picture its
points in px with (0, 0) the centre of the first pixel, NaN where a joint was not labelled. Pictures are read
when they are asked for.
"""

from capture.labels.labels import LabelledFrame, Labels, Picture
from capture.labels.own import write_labels
from capture.labels.pictures import PictureReader
from capture.labels.reader import read_labels

__all__ = ["LabelledFrame", "Labels", "Picture", "PictureReader", "read_labels", "write_labels"]
