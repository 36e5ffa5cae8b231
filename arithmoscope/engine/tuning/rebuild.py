"""Rebuilds a tuned model in memory from its base model and the stored deltas."""

from __future__ import annotations

from dataclasses import replace

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ModelCard
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.deltas import Deltas


def rebuild_tuned(base: LoadedModel, card: ModelCard, deltas: bytes) -> LoadedModel:
    """The model of ``card``, bit for bit as it was tuned. Untuned parameters share the base's memory.

    Raises:
        Refusal: ``model_changed`` if the base now has other weights; ``bad_setting`` if it is loaded in another dtype
            than it was tuned in.
    """
    stored = Deltas.from_bytes(deltas)
    if stored.revision != base.card.revision:
        raise Refusal(
            "model_changed",
            f"{card.name} cannot run: {base.card.name} has other weights now than when it was tuned.",
            f"Put the files of {base.card.id} back as they were, or tune it again.",
        )
    if stored.dtype != base.precision:
        raise Refusal(
            "bad_setting",
            f"{card.name} was tuned in {stored.dtype}, and this worker computes in {base.precision}.",
            f"Start the worker with ARITHMOSCOPE_DTYPE={stored.dtype}, or tune it again.",
        )
    return replace(stored.apply(base), card=card)
