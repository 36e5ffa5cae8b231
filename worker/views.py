"""What somebody wants to see of a finished analysis and was not stored with it, computed and added."""

from __future__ import annotations

import json
import logging
import time
from functools import partial

from contracts.errors import Refusal
from contracts.specs import PathPatchingSpec
from store import Store
from store.views import View, problem_file
from worker.problems import problem_of
from worker.workshop import Workshop

logger = logging.getLogger(__name__)

# Read off the stored arrays: no model is needed.
_WITHOUT_MODEL = ("key",)


def add_view(store: Store, workshop: Workshop, experiment_id: str, name: str) -> None:
    """Computes and stores it; nothing when it is there already. Why it cannot be computed is stored instead."""
    view = View.parse(name)
    if view is None:
        logger.warning("nobody knows the view %.80r of %s: dropped", name, experiment_id)
        return
    try:
        if view.file in store.artifact_names(experiment_id):
            return
        store.put_artifact(experiment_id, view.file, _compute(store, workshop, experiment_id, view))
    except Exception as error:
        if not isinstance(error, Refusal):
            logger.exception("%s of %s broke", view, experiment_id)
            workshop.tidy()
        _say(store, experiment_id, view, error)


def _compute(store: Store, workshop: Workshop, experiment_id: str, view: View) -> bytes:
    read = partial(store.read_artifact, experiment_id)
    if view.kind in _WITHOUT_MODEL:
        return workshop.look(None, view.kind, view.which, read)
    spec = store.experiment(experiment_id).spec
    if not isinstance(spec, PathPatchingSpec):
        raise Refusal("wrong_kind", "This is only had of analyses.")
    card = store.model(spec.model)
    if card.revision != json.loads(read("result.json"))["model"]["revision"]:
        if view.kind == "attention":
            detail = "The attention of this prompt is not stored, and the model has changed since."
            raise Refusal("attention_not_stored", detail)
        raise Refusal("model_changed", f"{card.name} has other weights than this result is of.")
    # The chat template may have changed too: the set's hash tells.
    return workshop.look(workshop.model(card, store.chat(card.id)), view.kind, view.which, read)


def _say(store: Store, experiment_id: str, view: View, error: Exception) -> None:
    try:
        store.put_artifact(experiment_id, view.problem, problem_file(problem_of(error), time.time()))
    except Refusal as refusal:  # deleted meanwhile, or the disk is full: whoever asks again is told
        logger.warning("why %s of %s is not there cannot be kept: %s", view, experiment_id, refusal)
