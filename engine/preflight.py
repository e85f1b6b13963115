"""What can be known of a run before its processes start: rates and picture sizes."""

from __future__ import annotations

from calib.fit import fit_camera
from calib.rig import Rig
from capture.sources.base import Facts, check
from capture.views import View, Views
from engine.config import SystemConfig
from rigpose.errors import ConfigError

DEFAULT_RATE = 30.0


def _facts(config: SystemConfig, where: object) -> dict[str, Facts]:
    """What each camera node's source tells without opening a device."""
    facts = {}
    for name, section in config.cameras.items():
        key = f"{where}: cameras.{name}.source"
        try:
            facts[name] = check(section.source, key).facts()
        except ConfigError as error:
            raise ConfigError(f"{key}: {error.where}", error.what, error.remedy) from None
    return facts


def complete_rate(config: SystemConfig, where: object) -> SystemConfig:
    """The config with a rate: its own, or the one that all sources share.

    Raises:
        ConfigError: The sources' own rates differ, or a file cannot be read.
    """
    if config.rate is not None:
        return config
    rates = {name: facts.rate for name, facts in _facts(config, where).items() if facts.rate}
    if not rates:
        return config.model_copy(update={"rate": DEFAULT_RATE})
    slowest, fastest = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    if rates[fastest] - rates[slowest] > 0.01 * rates[fastest]:
        raise ConfigError(
            where,
            f"key rate: {slowest} plays at {rates[slowest]:g} and {fastest} at {rates[fastest]:g} frames a second",
            "set rate to what the rig should run at",
        )
    return config.model_copy(update={"rate": rates[fastest]})


def check_sizes(config: SystemConfig, rig: Rig, where: object) -> None:
    """Refuse sources whose pictures do not fit the calibration, before anything runs.

    Raises:
        ConfigError: Names the camera, both sizes and the ways to fit.
    """
    for name, facts in _facts(config, where).items():
        if facts.size is None:
            continue
        views = Views(name, config.cameras[name].views or {name: View()})
        for camera, size in views.sizes(facts.size).items():
            try:
                fit_camera(rig[camera], size, config.fit_of(camera))
            except ConfigError as error:
                raise ConfigError(f"{where}: cameras.{name}.fit", f"{camera}: {error.what}", error.remedy) from None
