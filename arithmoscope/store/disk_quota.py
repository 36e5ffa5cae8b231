"""How much is kept, and how much of it must be: what the size budget counts."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, func, select

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.tables import SHOWN, artifacts, chunks, experiments

# As `arithmoscope.store.views.is_view` has it.
_VIEW = (
    artifacts.c.name.like("attention.%.safetensors")
    | (artifacts.c.name == "attention.safetensors")
    | artifacts.c.name.like("view.%")
)


def computed_again() -> ColumnElement[bool]:
    """The artifacts that a worker computes again when somebody looks: `arithmoscope.store.views`. Never a result."""
    return _VIEW & experiments.c.bundled.is_(False)


def kept_bytes(connection: Connection, *, needed: bool = False) -> int:
    """What the artifacts and chunks come to; ``needed``: without what can be computed again or was deleted."""
    total = 0
    for table in (artifacts, chunks):
        query = select(func.coalesce(func.sum(table.c.size), 0)).join_from(table, experiments)
        if needed:
            query = query.where(SHOWN)
            if table is artifacts:
                query = query.where(~computed_again())
        total += int(connection.execute(query).scalar_one())
    return total


def refuse_full(connection: Connection, budget: int) -> None:
    """Refuses (``store_full``) when not even what could be given up would bring the store below its budget."""
    used = kept_bytes(connection, needed=True)
    if used >= budget:
        raise Refusal("store_full", f"The results come to {used / 1e6:.1f} MB of {budget / 1e6:.1f} MB.")
