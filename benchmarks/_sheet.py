"""The sheet that pictures of benchmarks are drawn on."""

from training.canvas import FONT, INK, LINE, PALE, SCALE, WHITE, Colour, Sheet

__all__ = ["FONT", "INK", "LINE", "PALE", "SCALE", "WHITE", "Colour", "Sheet"]
