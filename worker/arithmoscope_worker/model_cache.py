"""LRU cache of loaded models: the next job on a recently used model starts immediately."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from arithmoscope_worker.problems import is_out_of_memory

logger = logging.getLogger(__name__)


class ModelCache:
    """Loads on first use and evicts the least recently used. Safe to share between threads."""

    def __init__(self, load: Callable[[str], Any], free_memory: Callable[[], None], *, max_models: int) -> None:
        self._load = load
        self._free_memory = free_memory
        self._max_models = max_models
        self._models: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        return tuple(model_id for model_id, _ in list(self._models))

    def contains(self, model_id: str, revision: str) -> bool:
        return (model_id, revision) in self._models

    def get(self, model_id: str, revision: str, load: Callable[[], Any] | None = None) -> Any:
        """Returns the model, loading it if necessary; another revision (weights, chat template) is loaded anew.

        ``load``: how to load it, if not by its id.
        """
        key = (model_id, revision)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            for other in [cached for cached in self._models if cached[0] == model_id]:
                del self._models[other]
            while len(self._models) >= self._max_models:
                self._models.popitem(last=False)
            self._free_memory()
            self._models[key] = self._load_or_evict(model_id, load or (lambda: self._load(model_id)))
            return self._models[key]

    def _load_or_evict(self, model_id: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except Exception as error:
            if not is_out_of_memory(error) or not self._models:
                raise
        logger.info("no memory for %s in addition to %s: evicting these", model_id, ", ".join(self.names()))
        self._models.clear()
        self._free_memory()
        return load()
