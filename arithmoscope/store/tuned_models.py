"""Tuned models: there as long as the fine-tuning that made them, and of use as long as the model that it changed.

Neither is written down: it is looked up each time. So a fine-tuning that is deleted takes its model along, and one
that is brought back brings it back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from arithmoscope.contracts.models import ModelCard
from arithmoscope.store.tables import SHOWN, artifacts, experiments, models

# What a fine-tuning keeps of the model that it made.
DELTAS = "deltas.safetensors"


def kept_tunings(connection: Connection) -> frozenset[str]:
    """The experiments whose deltas can be had."""
    query = select(artifacts.c.experiment_id).join_from(artifacts, experiments).where(artifacts.c.name == DELTAS, SHOWN)
    return frozenset(connection.execute(query).scalars())


def ancestry_of(connection: Connection, model_id: str) -> dict[str, ModelCard]:
    """A model's card as it was registered, that of the model that it was tuned from, and so on; the first is its own.
    Empty where it is not registered."""
    found: dict[str, ModelCard] = {}
    wanted: str | None = model_id
    while wanted is not None and wanted not in found:
        card = connection.execute(select(models.c.card).where(models.c.id == wanted)).scalar()
        if card is None:
            break
        found[wanted] = ModelCard.model_validate(card)
        wanted = found[wanted].base
    return found


def as_they_stand(cards: Mapping[str, ModelCard], tunings: Collection[str]) -> dict[str, ModelCard]:
    """The cards, without those of tuned models whose fine-tuning is not among ``tunings``; a tuned model whose base is
    gone, cannot run, or has other weights now cannot run either, and says so. ``cards`` has their bases, too."""
    stand: dict[str, ModelCard | None] = {}

    def look(model_id: str) -> ModelCard | None:
        if model_id not in stand:
            card = cards.get(model_id)
            stand[model_id] = card
            if card is not None and card.base is not None:
                reason = _why_not(card, look(card.base))
                if card.experiment not in tunings:
                    stand[model_id] = None
                elif reason is not None:
                    stand[model_id] = card.model_copy(update={"supported": False, "reason": reason})
        return stand[model_id]

    found = {model_id: look(model_id) for model_id in cards}
    return {model_id: card for model_id, card in found.items() if card is not None}


def _why_not(card: ModelCard, base: ModelCard | None) -> str | None:
    """Why a tuned model cannot run, given the model that it was tuned from as it stands."""
    if base is None:
        return f"The model that it was tuned from, {card.base}, is not here."
    if not base.supported:
        return f"The model that it was tuned from, {base.name}, cannot run: {base.reason}"
    if base.revision != card.base_revision:
        return f"The model that it was tuned from, {base.name}, has other weights now."
    return None
