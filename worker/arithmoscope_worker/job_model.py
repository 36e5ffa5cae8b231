"""A job's model in memory: one of a folder, or a tuned one, made again of the model that was tuned and what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store import Store
from arithmoscope.store.tuned_models import DELTAS
from arithmoscope_worker.runtime import Runtime

_T = TypeVar("_T")


class Patience(Protocol):
    """Tries until the store answers, or it has been long enough."""

    def __call__(self, act: Callable[[], _T], /) -> _T: ...


def at_once(act: Callable[[], _T], /) -> _T:
    """Without patience."""
    return act()


def load_job_model(store: Store, runtime: Runtime, model_id: str, patiently: Patience = at_once) -> Any:
    """Brings a registered model into memory, and first what it was tuned from; each is loaded once.

    Refuses ``unknown_model``, also of a tuned model whose fine-tuning was deleted, and (``model_changed``) one whose
    base is gone or has other weights now; and as the engine does.
    """
    card = patiently(lambda: store.model(model_id))
    chat = patiently(lambda: store.chat(model_id))
    if card.base is None or card.experiment is None:
        return runtime.model(card, chat)
    if not card.supported:
        way_out = f"Put the files of {card.base} back as they were, or tune it anew."
        raise Refusal("model_changed", f"{card.name} cannot run: {card.reason}", way_out)
    if runtime.holds(card, chat):
        return runtime.model(card, chat)
    base, experiment = load_job_model(store, runtime, card.base, patiently), card.experiment
    return runtime.tuned(card, chat, base, lambda: patiently(lambda: store.read_artifact(experiment, DELTAS)))
