"""``arithmoscope models``: which models can run here, and why others cannot."""

from __future__ import annotations

from collections.abc import Callable

from arithmoscope.settings import Settings
from contracts.errors import Refusal
from contracts.models import ModelCard
from engine.catalogue import Catalogue

_MAX_NAME = 200


def table(settings: Settings) -> str:
    """All models, one a line."""
    cards = _catalogue(settings).cards()
    width = max(len(card.id) for card in cards)
    return "\n".join(f"{card.id:<{width}}  {_facts(card)}" for card in cards)


def check(settings: Settings, model_id: str) -> str:
    """One line about a model that can run. Refuses one that cannot, with the reason."""
    card = _catalogue(settings).card(_short(model_id))
    if not card.supported:
        raise Refusal("unsupported_architecture", f"{card.id} cannot run here: {card.reason}")
    return f"{card.id}: {_facts(card)}"


def fetch(settings: Settings, model_id: str, say: Callable[[str], None]) -> str:
    """Get a model ready to run; one line about it."""
    card = _catalogue(settings).fetch(_short(model_id), say)
    return f"{card.id}: {_facts(card)}"


def _short(model_id: str) -> str:
    if len(model_id.encode(errors="replace")) > _MAX_NAME:  # no folder can be called like that
        raise Refusal("unknown_model", f"There is no model {model_id[:80]!r} here.")
    return model_id


def _catalogue(settings: Settings) -> Catalogue:
    return Catalogue(settings.models_dir, settings.allow_hub)


def _facts(card: ModelCard) -> str:
    if not card.supported:
        return f"cannot run: {card.reason}"
    return (
        f"{card.name}, {card.layers} layers x {card.heads} heads, "
        f"{card.parameters / 1e6:.1f} M parameters, revision {card.revision[:12]}"
    )
