"""Training of lifters: from triangulated poses to a network that needs one camera."""
