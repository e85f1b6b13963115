"""Scenarios for tests: plain, so that what is looked at stands alone."""

from __future__ import annotations

from typing import Any

from capture.virtual.scenario import Scenario


def scenario(kind: str = "mannequin", **values: Any) -> Scenario:
    fly = kind == "fly"
    document: dict[str, Any] = {
        "version": 1,
        "name": "plain",
        "seed": 3,
        "subject": {"kind": kind},
        "motion": {"kinds": ["walking", "grooming"] if fly else ["walking", "reaching", "squatting"]},
        "cameras": {
            "count": 3,
            "distance_mm": [300, 320] if fly else [3200, 3600],
            "elevation_deg": [5, 30],
            "target_mm": [0, 0, 0.7] if fly else [0, 0, 850],
            "aim_jitter_mm": 0.1 if fly else 50,
            "lens": {"extent_mm": [6, 7] if fly else [3000, 3600], "k1": [-0.05, 0.0]},
        },
        "background": {
            "kinds": ["gradient"],
            "floor": ["none"],
            "colour": [0, 0],
            "contrast": [5, 10],
            "shapes": [0, 0],
        },
        "light": {"ambient": [0.6, 0.6], "strength": [0.4, 0.4], "warmth": [0, 0]},
        "noise": [0, 0],
        "gain": [1, 1],
        "blur_px": [0, 0],
        "motion_blur": False,
    }
    return Scenario.model_validate({**document, **values})
