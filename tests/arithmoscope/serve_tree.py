"""A real ``serve`` on a port of its own, and what lives below it: the soak's own, with a store to look into."""

from __future__ import annotations

from pathlib import Path

from arithmoscope.store import Store
from benchmarks.soak.tree import STRAIGHT, Serve, alive, eventually, family

__all__ = ["STRAIGHT", "Serve", "alive", "eventually", "family", "store_of"]


def store_of(data: Path) -> Store:
    return Store.open(f"sqlite:///{data / 'arithmoscope.db'}", (data / "artifacts").as_uri())
