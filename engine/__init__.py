"""Frames in, 3D poses out: models, runtimes, the pipeline and the server."""
