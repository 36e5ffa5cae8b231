"""Where the tokens of a result are, read once: the attention call needs them for every prompt and layer."""

from __future__ import annotations

import json
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from arithmoscope.store import Store

RESULT = "result.json"
KEPT_CHARACTERS = 32_000_000


@dataclass(frozen=True, slots=True)
class ResultIndex:
    """The kept prompts of a result with their tokens (as JSON), the dropped with their reason, by submitted index."""

    revision: str
    layers: int
    heads: int
    tokens: dict[int, str]
    dropped: dict[int, str]

    def __len__(self) -> int:
        return sum(map(len, self.tokens.values())) + sum(map(len, self.dropped.values()))


class ResultIndexes:
    """Indexes by experiment; the least recently used goes first. A result never changes once stored."""

    def __init__(self, store: Store, kept_characters: int = KEPT_CHARACTERS) -> None:
        self._store = store
        self._kept_characters = kept_characters
        self._lock = Lock()
        self._read: OrderedDict[tuple[str, str], Future[ResultIndex]] = OrderedDict()

    def of(self, experiment_id: str) -> ResultIndex:
        """The index of a finished experiment's result. Who reads a large one keeps nobody else waiting."""
        # It may run again, also by the word of another process: then it has another result.
        key = experiment_id, self._store.artifact_info(experiment_id, RESULT).sha256
        mine: Future[ResultIndex] = Future()
        with self._lock:
            known = self._read.setdefault(key, mine)
            self._read.move_to_end(key)
        if known is not mine:
            return known.result()
        try:
            mine.set_result(_index(self._store.read_artifact(experiment_id, RESULT)))
        except BaseException as error:
            self._drop(key, mine)
            mine.set_exception(error)
            raise
        self._make_room()
        return mine.result()

    def forget(self, experiment_id: str) -> None:
        """Drop what is known of an experiment that was deleted or runs again."""
        with self._lock:
            for key in [key for key in self._read if key[0] == experiment_id]:
                del self._read[key]

    def _drop(self, key: tuple[str, str], future: Future[ResultIndex]) -> None:
        with self._lock:
            if self._read.get(key) is future:
                del self._read[key]

    def _make_room(self) -> None:
        with self._lock:
            read = [(name, len(future.result())) for name, future in self._read.items() if future.done()]
            room = self._kept_characters
            for place, (name, size) in enumerate(reversed(read)):
                room -= size
                if place > 0 and room < 0:
                    del self._read[name]


def _index(result_json: bytes) -> ResultIndex:
    result = json.loads(result_json)
    return ResultIndex(
        revision=result["model"]["revision"],
        layers=result["model"]["layers"],
        heads=result["model"]["heads"],
        tokens={pair["index"]: json.dumps(pair["reference"], separators=(",", ":")) for pair in result["pairs"]},
        dropped={pair["index"]: pair["reason"] for pair in result["dropped"]},
    )
