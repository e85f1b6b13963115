"""A recording on disk: a folder that says what it is, is never overwritten, and survives ``kill -9``.

``session.json`` stands first (`document`); poses, stamps, events and health are one MCAP file (`log`);
the pictures of each camera are one fragmented MP4 (`video`), or a reference where they are in a file
already.
"""

from capture.session.document import SessionInfo, read_info
from capture.session.gaps import Gaps
from capture.session.reader import SessionReader
from capture.session.recover import recover
from capture.session.video import VideoSettings
from capture.session.writer import SessionWriter

__all__ = [
    "Gaps",
    "SessionInfo",
    "SessionReader",
    "SessionWriter",
    "VideoSettings",
    "read_info",
    "recover",
]
