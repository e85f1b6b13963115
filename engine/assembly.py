"""From a run's config to a pipeline that is ready, and what others are told of it."""

from __future__ import annotations

import logging
from typing import Any

from calib.document import rig_document
from calib.quality import Verdict
from engine import runtimes
from engine.config import SystemConfig
from engine.graph import compose
from engine.pipeline import Pipeline
from engine.preflight import judge_rig, load_rig, locate_lifter, locate_model
from rigpose.pose import COVARIANCE_ORDER, HOW, REASONS

log = logging.getLogger(__name__)


def build_pipeline(config: SystemConfig, where: object = "config") -> tuple[Pipeline, Verdict]:
    """The pipeline that a config describes, warm.

    Raises:
        ConfigError: A file, key, camera or model of the config cannot be used.
        VerdictError: The rig is bad and ``accept_bad_rig`` is not set.
    """
    rig = load_rig(config, where)
    verdict = judge_rig(config, rig)
    for finding in verdict.findings:
        log.warning("%s: %s", config.rig.origin, finding)
    located = locate_model(config, where)
    lifter = locate_lifter(config, located.document, rig, where)
    graph = compose(located, n_views=len(rig))
    chosen = config.engine
    runtime = runtimes.create(graph, chosen.runtime, threads=chosen.threads, precision=chosen.precision)
    pipeline = Pipeline(
        rig, located.document, runtime, config, verdict.verdict, volumetric=graph.is_volumetric, lifter=lifter
    )
    pipeline.warm_up()
    if lifter is not None:
        log.info("lifter %s", lifter.lifter.document.id)
    log.info("model %s on %s (%s), graph %s", located.document.id, runtime.name, runtime.precision, runtime.graph_hash)
    return pipeline, verdict


def lifter_id(pipeline: Pipeline) -> str | None:
    """What stands in for views that do not see a joint; ``None`` = nothing does."""
    return None if pipeline.lifter is None else pipeline.lifter.lifter.document.id


def meta_of(config: SystemConfig, pipeline: Pipeline, verdict: Verdict) -> dict[str, Any]:
    """What a late subscriber needs to read poses without any file."""
    document, lifter = pipeline.document, pipeline.lifter
    return {
        "name": config.name,
        "units": "mm",
        "how": HOW,
        "reasons": REASONS,
        "covariance": COVARIANCE_ORDER,
        "rate": config.rate,
        "skeletons": {document.skeleton.name: document.skeleton.model_dump(mode="json")},
        "model": document.model_dump(mode="json", exclude_none=True),
        "lifter": None if lifter is None else lifter.lifter.document.model_dump(mode="json", by_alias=True),
        "rig": rig_document(pipeline.geometry.rig),
        "calibration_id": pipeline.geometry.calibration.calibration_id,
        "verdict": verdict.verdict,
        "findings": [str(finding) for finding in verdict.findings],
    }
