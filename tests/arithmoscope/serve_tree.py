"""A real ``serve`` on a port of its own, as the soak test starts it, with access to its store."""

from __future__ import annotations

from pathlib import Path

from arithmoscope.store import Store
from benchmarks.soak.tree import STRAIGHT, Serve, alive, eventually, family

__all__ = ["STRAIGHT", "Serve", "alive", "eventually", "family", "store_of"]


def store_of(data: Path) -> Store:
    return Store.open(f"sqlite:///{data / 'arithmoscope.db'}", (data / "artifacts").as_uri())
