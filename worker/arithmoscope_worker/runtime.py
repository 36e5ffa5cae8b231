"""The engine and the models in memory, in the one process that computes. Made on first use: torch takes seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.contracts.specs import Kind
from arithmoscope.contracts.views import ViewKind
from arithmoscope_worker.engine_port import EnginePort, Run
from arithmoscope_worker.model_cache import ModelCache


class Runtime:
    """Threads may share one: whoever comes while the engine is being imported waits for it."""

    def __init__(self, science: Callable[[], EnginePort], *, room: int) -> None:
        self._make_science = science
        self._room = room
        self._made: tuple[EnginePort, ModelCache] | None = None
        self._making = threading.Lock()

    @property
    def device(self) -> str:
        """Where it computes; ``starting`` until that is known."""
        return "starting" if self._made is None else self._made[0].device

    def models(self) -> tuple[str, ...]:
        """The models that are in memory."""
        return () if self._made is None else self._made[1].names()

    def model(self, card: ModelCard, chat: ChatFrame | str | None) -> Any:
        """The model, loaded now if it is not in memory with these weights and this registered chat template."""
        return self._get()[1].take(card.id, _stamp(card, chat))

    def holds(self, card: ModelCard, chat: ChatFrame | str | None) -> bool:
        """Whether it is in memory."""
        return self._made is not None and self._made[1].holds(card.id, _stamp(card, chat))

    def tuned(self, card: ModelCard, chat: ChatFrame | str | None, base: Any, read: Callable[[], bytes]) -> Any:
        """The tuned model, made of the one that was tuned and the deltas that ``read`` gives, if it is not there."""
        science, shelf = self._get()
        return shelf.take(card.id, _stamp(card, chat), lambda: science.tuned(base, card, read()))

    def run(self, kind: Kind) -> Run:
        return self._get()[0].runs[kind]

    def look(self, model: Any, kind: ViewKind, which: str, read: Callable[[str], bytes]) -> bytes:
        """What somebody wants to see of the analysis whose artifacts ``read`` gives, as the file that is stored."""
        return self._get()[0].look(model, kind, which, read)

    def tidy(self) -> None:
        """Gives back what memory a broken job left behind."""
        if self._made is not None:
            self._made[0].free()

    def _get(self) -> tuple[EnginePort, ModelCache]:
        with self._making:
            if self._made is None:
                science = self._make_science()
                self._made = science, ModelCache(science.load, science.free, room=self._room)
            return self._made


def _stamp(card: ModelCard, chat: ChatFrame | str | None) -> str:
    template = chat.model_dump_json() if isinstance(chat, ChatFrame) else chat
    return f"{card.revision} {template}"
