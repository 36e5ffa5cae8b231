"""Where the tokens of a result are, read once: the attention call needs them for every prompt and layer."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

from store import Store

RESULT = "result.json"
_KEPT = 8


@dataclass(frozen=True, slots=True)
class ResultIndex:
    """The kept prompts of a result with their tokens, the dropped with their reason, by submitted index."""

    layers: int
    tokens: dict[int, list[dict[str, Any]]]
    dropped: dict[int, str]


class ResultIndexes:
    """Indexes by experiment; the least recently used goes first. A result never changes once it is stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._read: OrderedDict[str, ResultIndex] = OrderedDict()

    def of(self, experiment_id: str) -> ResultIndex:
        """The index of a finished experiment's result."""
        with self._lock:
            index = self._read.get(experiment_id)
            if index is None:
                index = self._read[experiment_id] = _index(self._store.read_artifact(experiment_id, RESULT))
            self._read.move_to_end(experiment_id)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return index

    def forget(self, experiment_id: str) -> None:
        """Drop what is known of an experiment that was deleted or runs again."""
        with self._lock:
            self._read.pop(experiment_id, None)


def _index(result_json: bytes) -> ResultIndex:
    result = json.loads(result_json)
    return ResultIndex(
        layers=result["model"]["layers"],
        tokens={pair["index"]: pair["reference"] for pair in result["pairs"]},
        dropped={pair["index"]: pair["reason"] for pair in result["dropped"]},
    )
