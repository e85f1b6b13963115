"""What can be known of a run before its processes start: rates and picture sizes."""

from __future__ import annotations

from calib.fit import fit_camera
from calib.rig import Rig
from capture.sources.base import create
from engine.config import SystemConfig
from rigpose.errors import ConfigError

DEFAULT_RATE = 30.0


def _known(config: SystemConfig, where: object) -> dict[str, tuple[tuple[int, int] | None, float | None]]:
    """(size, rate) of each camera node's source, as far as they are known without opening a device."""
    known = {}
    for name, section in config.cameras.items():
        source = create(name, section.source, where=f"{where}: cameras.{name}.source")
        known[name] = source.probe()
    return known


def complete_rate(config: SystemConfig, where: object) -> SystemConfig:
    """The config with a rate: its own, or the one that all sources share.

    Raises:
        ConfigError: The sources' own rates differ, or a file cannot be read.
    """
    if config.rate is not None:
        return config
    rates = {name: rate for name, (_, rate) in _known(config, where).items() if rate}
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
    for name, (size, _) in _known(config, where).items():
        views = config.cameras[name].views
        if size is not None and views is None:
            try:
                fit_camera(rig[name], size, config.fit_of(name))
            except ConfigError as error:
                raise ConfigError(f"{where}: cameras.{name}.fit", error.what, error.remedy) from None
