"""A tuned model brought into memory again: the model that was tuned, and what was kept of the tuning."""

from __future__ import annotations

from dataclasses import replace

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ModelCard
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.deltas import Deltas


def tuned_again(base: LoadedModel, card: ModelCard, deltas: bytes) -> LoadedModel:
    """The model of ``card``, bit for bit as it was tuned. What was not tuned shares the base's memory.

    Refuses (``model_changed``) a base that has other weights now, and (``bad_setting``) one that is loaded in another
    type than it was tuned in.
    """
    kept = Deltas.from_bytes(deltas)
    if kept.revision != base.card.revision:
        raise Refusal(
            "model_changed",
            f"{card.name} cannot run: {base.card.name} has other weights now than when it was tuned.",
            f"Put the files of {base.card.id} back as they were, or tune it anew.",
        )
    if kept.dtype != base.precision:
        raise Refusal(
            "bad_setting",
            f"{card.name} was tuned in {kept.dtype}, and this worker computes in {base.precision}.",
            f"Start the worker with ARITHMOSCOPE_DTYPE={kept.dtype}, or tune it anew.",
        )
    return replace(kept.apply(base), card=card)
