"""Tuned models: available as long as the fine-tuning that produced them, usable as long as their base is unchanged.

Neither is stored; both are resolved on each read. So deleting a fine-tuning removes its model, and restoring it
brings the model back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from arithmoscope.contracts.kinds.fine_tune import DELTAS
from arithmoscope.contracts.models import ModelCard
from arithmoscope.store.tables import NOT_DELETED, artifacts, experiments, models


def available_tunings(connection: Connection) -> frozenset[str]:
    """Ids of the fine-tunings whose deltas are available."""
    query = (
        select(artifacts.c.experiment_id)
        .join_from(artifacts, experiments)
        .where(artifacts.c.name == DELTAS, NOT_DELETED)
    )
    return frozenset(connection.execute(query).scalars())


def ancestry(connection: Connection, model_id: str) -> dict[str, ModelCard]:
    """The registered cards of a model, of its base, of the base's base and so on, the model itself first. Empty if it
    is not registered."""
    cards: dict[str, ModelCard] = {}
    current: str | None = model_id
    while current is not None and current not in cards:
        card = connection.execute(select(models.c.card).where(models.c.id == current)).scalar()
        if card is None:
            break
        cards[current] = ModelCard.model_validate(card)
        current = cards[current].base
    return cards


def resolve_tuned_models(cards: Mapping[str, ModelCard], tunings: Collection[str]) -> dict[str, ModelCard]:
    """The cards, without tuned models whose fine-tuning is not in ``tunings``; a tuned model whose base is missing,
    unsupported or changed becomes unsupported, with the reason. ``cards`` must include all bases."""
    resolved: dict[str, ModelCard | None] = {}

    def resolve(model_id: str) -> ModelCard | None:
        if model_id not in resolved:
            card = cards.get(model_id)
            resolved[model_id] = card
            if card is not None and card.base is not None:
                reason = _unsupported_reason(card, resolve(card.base))
                if card.experiment not in tunings:
                    resolved[model_id] = None
                elif reason is not None:
                    resolved[model_id] = card.model_copy(update={"supported": False, "reason": reason})
        return resolved[model_id]

    return {model_id: card for model_id in cards if (card := resolve(model_id)) is not None}


def _unsupported_reason(card: ModelCard, base: ModelCard | None) -> str | None:
    """The reason why a tuned model cannot run, given its resolved base; None if it can."""
    if base is None:
        return f"Its base model {card.base} is not available."
    if not base.supported:
        return f"Its base model {base.name} cannot run: {base.reason}"
    if base.revision != card.base_revision:
        return f"The weights of its base model {base.name} have changed."
    return None
