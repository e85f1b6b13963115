"""A rig that does not exist: cameras that draw a moving subject whose true pose is known.

One scenario file says everything (`scenario`); a `World` (`world`) is one sample of it. Drawn with
OpenCV and numpy alone, so that a camera node needs nothing more.
"""
