"""The engine and the loaded models of the compute process, created on first use because torch takes seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.contracts.views import ViewKind
from arithmoscope_worker.engine_port import EnginePort, Run
from arithmoscope_worker.model_cache import ModelCache


class Runtime:
    """Safe to share between threads: concurrent callers wait while the engine is imported."""

    def __init__(self, make_engine: Callable[[], EnginePort], *, max_models: int) -> None:
        self._make_engine = make_engine
        self._max_models = max_models
        self._loaded: tuple[EnginePort, ModelCache] | None = None
        self._lock = threading.Lock()

    @property
    def device(self) -> str:
        """The device in use; ``starting`` until it is known."""
        return "starting" if self._loaded is None else self._loaded[0].device

    def models(self) -> tuple[str, ...]:
        """The ids of the models in memory."""
        return () if self._loaded is None else self._loaded[1].names()

    def model(self, card: ModelCard, chat: ChatFrame | str | None) -> Any:
        """Returns the model, loading it unless it is in memory with these weights and this chat template."""
        return self._get()[1].get(card.id, _stamp(card, chat))

    def has_model(self, card: ModelCard, chat: ChatFrame | str | None) -> bool:
        """Returns whether the model is in memory."""
        return self._loaded is not None and self._loaded[1].contains(card.id, _stamp(card, chat))

    def tuned_model(self, card: ModelCard, chat: ChatFrame | str | None, base: Any, read: Callable[[], bytes]) -> Any:
        """Returns the tuned model, built from its base and the deltas that ``read`` returns unless it is in memory."""
        engine, cache = self._get()
        return cache.get(card.id, _stamp(card, chat), lambda: engine.rebuild_tuned(base, card, read()))

    def run(self, kind: str) -> Run:
        return self._get()[0].runs[kind]

    def compute_view(self, model: Any, kind: ViewKind, which: str, read: Callable[[str], bytes]) -> bytes:
        """Computes a view of the analysis whose artifacts ``read`` returns, as the file to store."""
        return self._get()[0].view_file(model, kind, which, read)

    def free_memory(self) -> None:
        """Frees the memory that a failed job left behind."""
        if self._loaded is not None:
            self._loaded[0].free_memory()

    def _get(self) -> tuple[EnginePort, ModelCache]:
        with self._lock:
            if self._loaded is None:
                engine = self._make_engine()
                self._loaded = engine, ModelCache(engine.load, engine.free_memory, max_models=self._max_models)
            return self._loaded


def _stamp(card: ModelCard, chat: ChatFrame | str | None) -> str:
    template = chat.model_dump_json() if isinstance(chat, ChatFrame) else chat
    return f"{card.revision} {template}"
