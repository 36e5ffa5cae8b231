"""Keys of specs whose prompts were found good: the same question need not be parsed and tokenised again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

_KEPT = 4_096


class AcceptedKeys:
    """The last few thousand keys. A key holds the spec and the model's revision: it cannot be outdated."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._keys

    def add(self, key: str) -> None:
        with self._lock:
            self._keys[key] = None
            self._keys.move_to_end(key)
            while len(self._keys) > _KEPT:
                self._keys.popitem(last=False)
