"""Whoever asks the same at the same moment waits for the first, and then finds what it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Turns:
    """A lock per key, as long as somebody wants it. Of this process: the database decides between several."""

    def __init__(self) -> None:
        self._mine = Lock()
        self._held: dict[str, tuple[Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """One at a time for each key; other keys wait for nobody."""
        with self._mine:
            lock, wanted = self._held.get(key, (Lock(), 0))
            self._held[key] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._mine:
                lock, wanted = self._held[key]
                if wanted == 1:
                    del self._held[key]
                else:
                    self._held[key] = lock, wanted - 1
