"""How long experiments take: a moving average per kind and model, over those that ran from start to end."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from arithmoscope.store.base import put_rows
from arithmoscope.store.tables import durations, experiments

# How much the newest counts. Until so many were seen that it would, the plain mean is taken.
_NEWEST = 0.2


def note_duration(connection: Connection, experiment_id: str) -> None:
    """Counts the run that has just succeeded, unless it continued from an earlier attempt's chunks."""
    row = connection.execute(
        select(experiments.c.kind, experiments.c.model, experiments.c.claimed_at, experiments.c.finished_at).where(
            experiments.c.id == experiment_id
        )
    ).one()
    if row.claimed_at is None or row.finished_at < row.claimed_at:  # or the clock was put back meanwhile
        return
    took = row.finished_at - row.claimed_at
    this = (durations.c.kind == row.kind, durations.c.model == row.model)
    known = connection.execute(select(durations.c.mean_s, durations.c.n).where(*this).with_for_update()).first()
    if known is None:
        put_rows(connection, durations, [{"kind": row.kind, "model": row.model, "mean_s": took, "n": 1}])
        return
    weight = max(_NEWEST, 1 / (known.n + 1))
    mean = known.mean_s + weight * (took - known.mean_s)
    connection.execute(update(durations).where(*this).values(mean_s=mean, n=known.n + 1))
