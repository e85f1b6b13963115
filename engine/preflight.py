"""What can be known of a run before its processes start: its rig, rates and picture sizes."""

from __future__ import annotations

from dataclasses import replace

from calib.camera import Camera
from calib.fit import fit_camera
from calib.quality import FLOOR, Verdict, judge
from calib.rig import Rig, read_rig
from capture.sources.base import Facts, check
from capture.views import View, Views
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from engine.config import SystemConfig
from engine.document import LocatedModel, ModelDocument, check_domain, find_model
from engine.fallback_tuning import tuning_of
from engine.lift import Lifter, lifter_names, lifter_path
from engine.lift_solver import LocatedLifter
from engine.lifter_document import read_lifter_document
from rigpose.errors import ConfigError, VerdictError

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


def _read_rig(config: SystemConfig) -> Rig:
    if config.rig.scenario is None:
        return read_rig(config.rig.origin, config.rig.units)
    seeds = {section.source.get("seed") for section in config.cameras.values()}
    return World(load_scenario(config.rig.scenario), seeds.pop() if len(seeds) == 1 else None).rig


def load_rig(config: SystemConfig, where: object = "config") -> Rig:
    """The config's calibration with exactly the cameras that its sources give, in their order.

    Raises:
        ConfigError: The file cannot be used, or does not know one of the cameras.
    """
    rig = _read_rig(config)
    for name in config.camera_names:
        if name not in rig.names:
            raise ConfigError(
                where, f"key cameras.{name}: {config.rig.origin} does not know this camera",
                f"it knows {', '.join(rig.names)}",
            )  # fmt: skip
    rig = rig.select(config.camera_names)
    world = config.rig.world
    if world is None and "world" not in rig.metadata and len(rig) == 1 and _is_the_world(rig.cameras[0]):
        world = f"camera:{rig.names[0]}"
    return rig if world is None else replace(rig, metadata={**rig.metadata, "world": world})


def _is_the_world(camera: Camera) -> bool:
    """Whether a camera's axes are the world's: it was calibrated alone."""
    return not camera.rvec.any() and not camera.t.any()


def judge_rig(config: SystemConfig, rig: Rig) -> Verdict:
    """What the rig shows by itself.

    Raises:
        ConfigError: It has fewer cameras than a set needs to be solved.
        VerdictError: It is bad and ``accept_bad_rig`` is not set.
    """
    # A volumetric model or a lifter goes on with one view, but begins with two, unless the method is to lift.
    least = config.engine.min_views or (1 if config.engine.method == "lift" else 2)
    if len(rig) < least:
        raise ConfigError(
            config.rig.origin,
            f"key engine.min_views: is {least}, and there is only {', '.join(rig.names)}",
            "add a camera: one alone sees no depth, unless a lifter tells it (--method lift --lifter FILE)",
        )
    verdict = judge(rig)
    if verdict.verdict == "bad" and not config.accept_bad_rig:
        worst = verdict.findings[0]
        raise VerdictError(config.rig.origin, f"the rig is bad: {worst}", "mend it, or go on with --accept-bad-rig")
    return verdict


def locate_model(config: SystemConfig, where: object) -> LocatedModel:
    """The config's network, where it may be used on its cameras.

    Raises:
        ConfigError: None is given, it cannot be used, or it learned from drawn pictures and the cameras are real.
    """
    if config.engine.model is None:
        raise ConfigError(where, "key engine.model: is missing", "give --model FILE, or a name of: rigpose models list")
    located = find_model(config.engine.model)
    real = any(check(section.source, where).real_camera for section in config.cameras.values())
    check_domain(located.document, real_cameras=real, force=config.force)
    return located


def locate_lifter(config: SystemConfig, model: ModelDocument, rig: Rig, where: object) -> LocatedLifter | None:
    """The config's lifter, where it may be used behind its model and on its cameras; ``None`` = it asks for none.

    Raises:
        ConfigError: The method needs one and none is given, it cannot be used, the model has not its joints, it
            learned from drawn subjects and the cameras are real, or the floor is to tell the scale and the rig's
            world has none.
    """
    section = config.engine.lift
    if section.model is None:
        if config.engine.method == "lift":
            names = ", ".join(lifter_names())
            raise ConfigError(
                where, "key engine.lift.model: is missing, and method lift needs a lifter",
                f"give --lifter FILE, or a name of: {names}",
            )  # fmt: skip
        return None
    path = lifter_path(section.model)
    document, proto = read_lifter_document(path)
    missing = [joint for joint in document.skeleton.joints if joint not in model.skeleton.joints]
    if missing:
        raise ConfigError(
            f"{where}: key engine.lift.model",
            f"lifter {document.id} lifts {missing[0]}, which model {model.id} does not see",
            f"give a lifter for the joints of {model.skeleton.name}",
        )
    real = any(check(camera.source, where).real_camera for camera in config.cameras.values())
    if document.domain == "synthetic" and real and not config.force:
        raise ConfigError(
            f"lifter {document.id}",
            "learned from drawn subjects (domain: synthetic) and the cameras are real",
            "give a lifter of domain real, or --force to see what it makes of them",
        )
    if section.scale == "floor" and rig.metadata.get("world") != FLOOR:
        raise ConfigError(
            f"{where}: key engine.lift.scale",
            f"is floor, but the world of {config.rig.origin} is {rig.metadata.get('world', 'not said')}",
            "set the origin on the floor (rigpose calibrate origin), or give the subject's size in mm",
        )
    return LocatedLifter(Lifter(document, proto), tuning_of(proto, document, path))


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
