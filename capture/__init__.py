"""Frames: where they come from, how they travel, how they are grouped, how they are kept."""
