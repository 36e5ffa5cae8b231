"""Index of the prompts in a result, with their tokens: read once, because attention needs it for every layer."""

from __future__ import annotations

import json
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from arithmoscope.contracts.kinds.base import RESULT
from arithmoscope.store import Store

CACHE_CHARACTERS = 32_000_000


@dataclass(frozen=True, slots=True)
class ResultIndex:
    """Kept prompts with their tokens (as JSON) and dropped prompts with their reason, by submitted index."""

    revision: str
    layers: int
    heads: int
    tokens: dict[int, str]
    dropped: dict[int, str]

    def __len__(self) -> int:
        return sum(map(len, self.tokens.values())) + sum(map(len, self.dropped.values()))


class ResultIndexCache:
    """An LRU cache of result indexes, limited by their total size in characters. A stored result never changes."""

    def __init__(self, store: Store, max_characters: int = CACHE_CHARACTERS) -> None:
        self._store = store
        self._max_characters = max_characters
        self._lock = Lock()
        self._cache: OrderedDict[tuple[str, str], Future[ResultIndex]] = OrderedDict()

    def get(self, experiment_id: str) -> ResultIndex:
        """The index of a finished experiment's result. Reading a large result does not block others."""
        # The hash is part of the key, because the experiment may run again, started by another process too.
        key = experiment_id, self._store.artifact_info(experiment_id, RESULT).sha256
        future: Future[ResultIndex] = Future()
        with self._lock:
            cached = self._cache.setdefault(key, future)
            self._cache.move_to_end(key)
        if cached is not future:
            return cached.result()
        try:
            future.set_result(_index(self._store.read_artifact(experiment_id, RESULT)))
        except BaseException as error:
            self._drop(key, future)
            future.set_exception(error)
            raise
        self._evict()
        return future.result()

    def forget(self, experiment_id: str) -> None:
        """Drops the index of an experiment that was deleted or runs again."""
        with self._lock:
            for key in [key for key in self._cache if key[0] == experiment_id]:
                del self._cache[key]

    def _drop(self, key: tuple[str, str], future: Future[ResultIndex]) -> None:
        with self._lock:
            if self._cache.get(key) is future:
                del self._cache[key]

    def _evict(self) -> None:
        with self._lock:
            entries = [(key, len(future.result())) for key, future in self._cache.items() if future.done()]
            free = self._max_characters
            for position, (key, size) in enumerate(reversed(entries)):
                free -= size
                if position > 0 and free < 0:  # the newest entry always stays
                    del self._cache[key]


def _index(result_json: bytes) -> ResultIndex:
    result = json.loads(result_json)
    return ResultIndex(
        revision=result["model"]["revision"],
        layers=result["model"]["layers"],
        heads=result["model"]["heads"],
        tokens={pair["index"]: json.dumps(pair["reference"], separators=(",", ":")) for pair in result["pairs"]},
        dropped={pair["index"]: pair["reason"] for pair in result["dropped"]},
    )
