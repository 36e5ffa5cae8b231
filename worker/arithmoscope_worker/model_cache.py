"""The models in memory: the last few that were used, so that the next job on one of them starts at once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from arithmoscope_worker.problems import is_out_of_memory

logger = logging.getLogger(__name__)


class ModelCache:
    """Loads on first use and drops the least recently used. Threads may share one."""

    def __init__(self, load: Callable[[str], Any], free: Callable[[], None], *, room: int) -> None:
        self._load = load
        self._free = free
        self._room = room
        self._held: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        return tuple(model_id for model_id, _ in list(self._held))

    def holds(self, model_id: str, revision: str) -> bool:
        return (model_id, revision) in self._held

    def take(self, model_id: str, revision: str, load: Callable[[], Any] | None = None) -> Any:
        """The model, loaded now if need be; another revision of it (weights, chat template) is loaded anew.

        ``load``: how, where it is not by its id.
        """
        key = (model_id, revision)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            for older in [held for held in self._held if held[0] == model_id]:
                del self._held[older]
            while len(self._held) >= self._room:
                self._held.popitem(last=False)
            self._free()
            self._held[key] = self._load_with_room(model_id, load or (lambda: self._load(model_id)))
            return self._held[key]

    def _load_with_room(self, model_id: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except Exception as error:
            if not is_out_of_memory(error) or not self._held:
                raise
        logger.info("no room for %s beside %s: these are dropped", model_id, ", ".join(self.names()))
        self._held.clear()
        self._free()
        return load()
