"""Cameras and the geometry between them: arrays and files only, no sessions and no sockets."""
