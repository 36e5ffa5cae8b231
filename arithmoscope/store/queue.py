"""The line of those that wait: whose turn is next, how many are before one, and how long that may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select, tuple_

from arithmoscope.store.tables import SHOWN, durations, experiments, workers

WORKER_SEEN_S = 20.0
# Of two machines' clocks, or of one that was put back since.
CLOCKS_DIFFER_S = 5.0

WAITS = (experiments.c.state == "queued") & SHOWN
RUNS = (experiments.c.state == "running") & SHOWN
PLACE = (experiments.c.priority, experiments.c.queued_at, experiments.c.id)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one that waits may expect: how many are before it, and seconds until its turn (None: unknown)."""

    position: int | None = None
    eta_s: float | None = None


def seen(now: float, within_s: float = WORKER_SEEN_S) -> ColumnElement[bool]:
    """The workers that were heard of within so many seconds."""
    return workers.c.seen_at.between(now - within_s, now + CLOCKS_DIFFER_S)


def outlook_of(connection: Connection, row: RowMapping, now: float) -> Outlook:
    """Of one row; nothing unless it waits."""
    if row["state"] != "queued" or row["deleted_at"] is not None:
        return Outlook()
    before = tuple_(*PLACE) < tuple_(*(row[column.name] for column in PLACE))
    ahead = connection.execute(
        select(experiments.c.kind, experiments.c.model, func.count())
        .where(WAITS, before)
        .group_by(experiments.c.kind, experiments.c.model)
    ).all()
    pace = _Pace.read(connection, now)
    return Outlook(sum(n for _, _, n in ahead), pace.wait([((kind, model), n) for kind, model, n in ahead]))


def outlooks_of(connection: Connection, rows: Sequence[RowMapping], now: float) -> list[Outlook]:
    """Of a page of rows, with one walk along the line."""
    wanted = {row["id"] for row in rows if row["state"] == "queued" and row["deleted_at"] is None}
    if not wanted:
        return [Outlook()] * len(rows)
    pace = _Pace.read(connection, now)
    line = connection.execute(
        select(experiments.c.id, experiments.c.kind, experiments.c.model).where(WAITS).order_by(*PLACE)
    )
    ahead: dict[tuple[str, str], int] = {}
    found: dict[str, Outlook] = {}
    for position, (name, kind, model) in enumerate(line):
        if name in wanted:
            found[name] = Outlook(position, pace.wait(list(ahead.items())))
            if len(found) == len(wanted):
                break
        ahead[kind, model] = ahead.get((kind, model), 0) + 1
    return [found.get(row["id"], Outlook()) for row in rows]


@dataclass(frozen=True, slots=True)
class _Pace:
    """How fast the line moves: what each kind of question takes, what is still to do of those that run."""

    means: dict[tuple[str, str], float]
    running: float | None
    workers: int

    @classmethod
    def read(cls, connection: Connection, now: float) -> _Pace:
        means = {(row.kind, row.model): row.mean_s for row in connection.execute(select(durations))}
        running: float | None = 0.0
        at_work = select(experiments.c.kind, experiments.c.model, experiments.c.started_at, experiments.c.claimed_at)
        for row in connection.execute(at_work.where(RUNS)):
            mean = means.get((row.kind, row.model))
            since = row.claimed_at or row.started_at
            if mean is None or since is None:
                running = None
                break
            running += max(0.0, mean - max(0.0, now - since))
        alive = connection.execute(select(func.count()).select_from(workers).where(seen(now))).scalar_one()
        return cls(means, running, alive)

    def wait(self, ahead: Sequence[tuple[tuple[str, str], int]]) -> float | None:
        if self.running is None or self.workers == 0 or any(kind not in self.means for kind, _ in ahead):
            return None
        return (self.running + sum(self.means[kind] * n for kind, n in ahead)) / self.workers
