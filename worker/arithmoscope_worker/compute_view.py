"""Computes a view of a finished analysis that was not stored with its result, and adds it."""

from __future__ import annotations

import json
import logging
import time
from functools import partial

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.views import VIEWS
from arithmoscope.store import Store
from arithmoscope.store.artifacts import RESULT, ArtifactInfo
from arithmoscope.store.views import RETRY_AFTER_S, View, problem_file, read_problem
from arithmoscope_worker.job_model import load_job_model
from arithmoscope_worker.problems import problem_of
from arithmoscope_worker.runtime import Runtime

logger = logging.getLogger(__name__)


def add_view(store: Store, runtime: Runtime, experiment_id: str, name: str) -> None:
    """Computes and stores a view unless it exists. If it cannot be computed, the reason is stored instead.

    Nothing is stored if the analysis has run again meanwhile, since it has another result then.
    """
    view = View.parse(name)
    if view is None:
        logger.warning("dropped an unknown view %.80r of %s", name, experiment_id)
        return
    try:
        result = store.artifact_info(experiment_id, RESULT)
        if _is_readable(store, experiment_id, view.file) or _failed_recently(store, experiment_id, view):
            return
    except Refusal as refusal:  # deleted, running again, or unreadable: a repeated request gets the error
        logger.warning("%s of %s cannot be read: %s", view, experiment_id, refusal)
        return
    try:
        data = _compute(store, runtime, experiment_id, view)
        if not store.put_artifact(experiment_id, view.file, data, derived_from=result):
            logger.info("%s has run again: dropped %s", experiment_id, view)
    except Exception as error:
        if not isinstance(error, Refusal):
            logger.exception("%s of %s failed", view, experiment_id)
            runtime.free_memory()
        _store_problem(store, experiment_id, view, error, result)


def _is_readable(store: Store, experiment_id: str, name: str) -> bool:
    """Returns whether an artifact is readable, not only listed: a missing or damaged file is computed again."""
    try:
        store.read_artifact(experiment_id, name)
    except Refusal as refusal:
        if refusal.code != "no_result":
            raise
        return False
    return True


def _failed_recently(store: Store, experiment_id: str, view: View) -> bool:
    """Returns whether the view has just failed: several servers may have requested it, each once."""
    if not _is_readable(store, experiment_id, view.problem):
        return False
    _, failed_at = read_problem(store.read_artifact(experiment_id, view.problem))
    return abs(time.time() - failed_at) < RETRY_AFTER_S / 2


def _compute(store: Store, runtime: Runtime, experiment_id: str, view: View) -> bytes:
    read = partial(store.read_artifact, experiment_id)
    if not VIEWS[view.kind].needs_model:
        return runtime.compute_view(None, view.kind, view.which, read)
    spec = store.experiment(experiment_id).spec
    if not isinstance(spec, PathPatchingSpec):
        raise Refusal("wrong_kind", "Only an analysis (path_patching) has this view.")
    card = store.model(spec.model)
    if card.revision != json.loads(read(RESULT))["model"]["revision"]:
        if view.kind == "attention":
            detail = "The attention of this prompt is not stored, and the model has changed since."
            raise Refusal("attention_not_stored", detail)
        raise Refusal("model_changed", f"{card.name} has other weights than those of this result.")
    # The chat template may have changed too: the prompt set's hash detects it.
    return runtime.compute_view(load_job_model(store, runtime, card.id), view.kind, view.which, read)


def _store_problem(store: Store, experiment_id: str, view: View, error: Exception, result: ArtifactInfo) -> None:
    content = problem_file(problem_of(error), time.time())
    try:
        store.put_artifact(experiment_id, view.problem, content, derived_from=result)
    except Refusal as refusal:  # deleted meanwhile, or the disk is full: a repeated request gets the error
        logger.warning("the problem of %s of %s was not stored: %s", view, experiment_id, refusal)
