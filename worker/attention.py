"""The attention of a prompt that was not stored with its result, added when somebody wants to see it."""

from __future__ import annotations

import json
import logging
import time

from contracts.errors import Refusal
from store import Store
from store.attention import attention_name, problem_file, problem_name
from worker.problems import problem_of
from worker.workshop import Workshop

logger = logging.getLogger(__name__)


def add_attention(store: Store, workshop: Workshop, experiment_id: str, prompt: int) -> None:
    """Computes and stores it; nothing when it is there already. Why it cannot be computed is stored instead."""
    try:
        there = store.artifact_names(experiment_id)
        if attention_name(prompt) in there:
            return
        store.put_artifact(experiment_id, attention_name(prompt), _compute(store, workshop, experiment_id, prompt))
    except Exception as error:
        if not isinstance(error, Refusal):
            logger.exception("the attention of prompt %d of %s broke", prompt, experiment_id)
            workshop.tidy()
        _say(store, experiment_id, prompt, error)


def _compute(store: Store, workshop: Workshop, experiment_id: str, prompt: int) -> bytes:
    experiment = store.experiment(experiment_id)
    result = json.loads(store.read_artifact(experiment_id, "result.json"))
    card = store.model(experiment.spec.model)
    if card.revision != result["model"]["revision"]:
        raise Refusal(
            "attention_not_stored", "The attention of this prompt is not stored, and the model has changed since."
        )
    model = workshop.model(card, store.chat(card.id))
    # The chat template may have changed too: the set's hash tells.
    return workshop.attend(model, experiment.spec, prompt, result["provenance"]["prompt_set_hash"])


def _say(store: Store, experiment_id: str, prompt: int, error: Exception) -> None:
    try:
        store.put_artifact(experiment_id, problem_name(prompt), problem_file(problem_of(error), time.time()))
    except Refusal as refusal:  # deleted meanwhile, or the disk is full: whoever asks again is told
        logger.warning("why the attention of %s is not there cannot be kept: %s", experiment_id, refusal)
