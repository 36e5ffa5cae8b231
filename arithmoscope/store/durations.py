"""Expected durations: a moving average per kind and model, over experiments that ran from start to end."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from arithmoscope.store.base import upsert_rows
from arithmoscope.store.tables import durations, experiments

# Weight of the newest duration; the plain mean is used until 1/n falls below it.
_NEWEST_WEIGHT = 0.2


def record_duration(connection: Connection, experiment_id: str) -> None:
    """Updates the average with a run that has just succeeded, unless it continued from an earlier attempt's chunks."""
    row = connection.execute(
        select(experiments.c.kind, experiments.c.model, experiments.c.claimed_at, experiments.c.finished_at).where(
            experiments.c.id == experiment_id
        )
    ).one()
    if row.claimed_at is None or row.finished_at < row.claimed_at:  # the latter if the clock was set back
        return
    duration = row.finished_at - row.claimed_at
    this = (durations.c.kind == row.kind, durations.c.model == row.model)
    known = connection.execute(select(durations.c.mean_s, durations.c.n).where(*this).with_for_update()).first()
    if known is None:
        upsert_rows(connection, durations, [{"kind": row.kind, "model": row.model, "mean_s": duration, "n": 1}])
        return
    weight = max(_NEWEST_WEIGHT, 1 / (known.n + 1))
    mean = known.mean_s + weight * (duration - known.mean_s)
    connection.execute(update(durations).where(*this).values(mean_s=mean, n=known.n + 1))
