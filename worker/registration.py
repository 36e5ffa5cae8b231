"""Tells the store which models can run here: their cards, and their tokenizers for the preview."""

from __future__ import annotations

from contracts.errors import Refusal
from engine.catalogue import Catalogue
from store import Store


def register_models(store: Store, catalogue: Catalogue) -> None:
    """Registers what is new or has changed; cheap when nothing has. Loads no weights and no torch."""
    known = {card.id: card for card in store.models()}
    for card in catalogue.cards():
        if known.get(card.id) != card:
            store.register_model(card, _tokenizer_json(catalogue, card.id))


def _tokenizer_json(catalogue: Catalogue, model_id: str) -> str | None:
    try:
        return catalogue.tokenizer_json(model_id)
    except Refusal:  # not converted yet, or without one: the card says why it cannot run
        return None
