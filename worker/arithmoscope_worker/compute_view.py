"""What somebody wants to see of a finished analysis and was not stored with it, computed and added."""

from __future__ import annotations

import json
import logging
import time
from functools import partial

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import PathPatchingSpec
from arithmoscope.store import Store
from arithmoscope.store.artifacts import RESULT, ArtifactInfo
from arithmoscope.store.views import RETRY_AFTER_S, View, problem_file, read_problem
from arithmoscope_worker.job_model import load_job_model
from arithmoscope_worker.problems import problem_of
from arithmoscope_worker.runtime import Runtime

logger = logging.getLogger(__name__)

# Read off the stored arrays: no model is needed.
_WITHOUT_MODEL = ("key",)


def add_view(store: Store, runtime: Runtime, experiment_id: str, name: str) -> None:
    """Computes and stores it; nothing when it is there already. Why it cannot be computed is stored instead.

    Nothing is stored either of an analysis that has run again meanwhile: it has another result now.
    """
    view = View.parse(name)
    if view is None:
        logger.warning("nobody knows the view %.80r of %s: dropped", name, experiment_id)
        return
    try:
        result = store.artifact_info(experiment_id, RESULT)
        if _has(store, experiment_id, view.file) or _has_just_failed(store, experiment_id, view):
            return
    except Refusal as refusal:  # it is gone or runs again, or nothing can be read: whoever asks again is told
        logger.warning("%s of %s cannot be looked for: %s", view, experiment_id, refusal)
        return
    try:
        data = _compute(store, runtime, experiment_id, view)
        if not store.put_artifact(experiment_id, view.file, data, derived_from=result):
            logger.info("%s has run again: %s is dropped", experiment_id, view)
    except Exception as error:
        if not isinstance(error, Refusal):
            logger.exception("%s of %s broke", view, experiment_id)
            runtime.tidy()
        _say(store, experiment_id, view, error, result)


def _has(store: Store, experiment_id: str, name: str) -> bool:
    """Whether it can be read, not only whether it is listed: a file that is gone or damaged is computed again."""
    try:
        store.read_artifact(experiment_id, name)
    except Refusal as refusal:
        if refusal.code != "no_result":
            raise
        return False
    return True


def _has_just_failed(store: Store, experiment_id: str, view: View) -> bool:
    """Several servers may have asked for the same, each once."""
    if not _has(store, experiment_id, view.problem):
        return False
    _, at = read_problem(store.read_artifact(experiment_id, view.problem))
    return abs(time.time() - at) < RETRY_AFTER_S / 2


def _compute(store: Store, runtime: Runtime, experiment_id: str, view: View) -> bytes:
    read = partial(store.read_artifact, experiment_id)
    if view.kind in _WITHOUT_MODEL:
        return runtime.look(None, view.kind, view.which, read)
    spec = store.experiment(experiment_id).spec
    if not isinstance(spec, PathPatchingSpec):
        raise Refusal("wrong_kind", "This is only had of analyses.")
    card = store.model(spec.model)
    if card.revision != json.loads(read(RESULT))["model"]["revision"]:
        if view.kind == "attention":
            detail = "The attention of this prompt is not stored, and the model has changed since."
            raise Refusal("attention_not_stored", detail)
        raise Refusal("model_changed", f"{card.name} has other weights than this result is of.")
    # The chat template may have changed too: the set's hash tells.
    return runtime.look(load_job_model(store, runtime, card.id), view.kind, view.which, read)


def _say(store: Store, experiment_id: str, view: View, error: Exception, result: ArtifactInfo) -> None:
    said = problem_file(problem_of(error), time.time())
    try:
        store.put_artifact(experiment_id, view.problem, said, derived_from=result)
    except Refusal as refusal:  # deleted meanwhile, or the disk is full: whoever asks again is told
        logger.warning("why %s of %s is not there cannot be kept: %s", view, experiment_id, refusal)
