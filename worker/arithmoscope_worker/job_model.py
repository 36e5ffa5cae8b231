"""Loads a job's model: one of a folder, or a tuned one rebuilt from its base and the deltas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store import Store
from arithmoscope.store.tuned_models import DELTAS
from arithmoscope_worker.runtime import Runtime

_T = TypeVar("_T")


class Retry(Protocol):
    """Calls ``act`` until the store answers or it is time to give up."""

    def __call__(self, act: Callable[[], _T], /) -> _T: ...


def _call_once(act: Callable[[], _T], /) -> _T:
    """Calls ``act`` without retrying."""
    return act()


def load_job_model(store: Store, runtime: Runtime, model_id: str, retry: Retry = _call_once) -> Any:
    """Loads a registered model into memory, and for a tuned one its base first; each is loaded once.

    Raises Refusal `unknown_model`, also for a tuned model whose fine-tuning was deleted; `model_changed` for one whose
    base is gone or has changed; and the engine's refusals.
    """
    card = retry(lambda: store.model(model_id))
    chat = retry(lambda: store.chat(model_id))
    if card.base is None or card.experiment is None:
        return runtime.model(card, chat)
    if not card.supported:
        way_out = f"Restore the original files of {card.base}, or repeat the fine-tuning."
        raise Refusal("model_changed", f"{card.name} cannot run: {card.reason}", way_out)
    if runtime.has_model(card, chat):
        return runtime.model(card, chat)
    base, experiment = load_job_model(store, runtime, card.base, retry), card.experiment
    return runtime.tuned_model(card, chat, base, lambda: retry(lambda: store.read_artifact(experiment, DELTAS)))
