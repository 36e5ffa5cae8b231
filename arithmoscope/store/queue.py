"""The queue: its order, and the position and expected waiting time of queued experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select, tuple_

from arithmoscope.store.tables import NOT_DELETED, durations, experiments, workers

WORKER_TIMEOUT_S = 20.0
# Tolerated difference between two machines' clocks, or of a clock that was set back.
CLOCK_SKEW_S = 5.0

IS_QUEUED = (experiments.c.state == "queued") & NOT_DELETED
IS_RUNNING = (experiments.c.state == "running") & NOT_DELETED
QUEUE_ORDER = (experiments.c.priority, experiments.c.queued_at, experiments.c.id)


@dataclass(frozen=True, slots=True)
class QueueEstimate:
    """Expectation for a queued experiment: experiments ahead of it, and seconds until its start (None: unknown)."""

    position: int | None = None
    eta_s: float | None = None


def is_alive(now: float, within_s: float = WORKER_TIMEOUT_S) -> ColumnElement[bool]:
    """Condition: workers whose last heartbeat is at most ``within_s`` seconds old."""
    return workers.c.seen_at.between(now - within_s, now + CLOCK_SKEW_S)


def queue_estimate(connection: Connection, row: RowMapping, now: float) -> QueueEstimate:
    """The estimate for one row; empty unless it is queued."""
    if row["state"] != "queued" or row["deleted_at"] is not None:
        return QueueEstimate()
    before = tuple_(*QUEUE_ORDER) < tuple_(*(row[column.name] for column in QUEUE_ORDER))
    ahead = connection.execute(
        select(experiments.c.kind, experiments.c.model, func.count())
        .where(IS_QUEUED, before)
        .group_by(experiments.c.kind, experiments.c.model)
    ).all()
    throughput = _Throughput.read(connection, now)
    return QueueEstimate(sum(n for _, _, n in ahead), throughput.wait([((kind, model), n) for kind, model, n in ahead]))


def queue_estimates(connection: Connection, rows: Sequence[RowMapping], now: float) -> list[QueueEstimate]:
    """The estimates for a page of rows, in one pass over the queue."""
    queued = {row["id"] for row in rows if row["state"] == "queued" and row["deleted_at"] is None}
    if not queued:
        return [QueueEstimate()] * len(rows)
    throughput = _Throughput.read(connection, now)
    queue = connection.execute(
        select(experiments.c.id, experiments.c.kind, experiments.c.model).where(IS_QUEUED).order_by(*QUEUE_ORDER)
    )
    ahead: dict[tuple[str, str], int] = {}
    estimates: dict[str, QueueEstimate] = {}
    for position, (experiment_id, kind, model) in enumerate(queue):
        if experiment_id in queued:
            estimates[experiment_id] = QueueEstimate(position, throughput.wait(list(ahead.items())))
            if len(estimates) == len(queued):
                break
        ahead[kind, model] = ahead.get((kind, model), 0) + 1
    return [estimates.get(row["id"], QueueEstimate()) for row in rows]


@dataclass(frozen=True, slots=True)
class _Throughput:
    """Mean duration per kind and model, remaining seconds of running experiments, and number of workers."""

    means: dict[tuple[str, str], float]
    running: float | None
    workers: int

    @classmethod
    def read(cls, connection: Connection, now: float) -> _Throughput:
        means = {(row.kind, row.model): row.mean_s for row in connection.execute(select(durations))}
        running: float | None = 0.0
        running_rows = select(
            experiments.c.kind, experiments.c.model, experiments.c.started_at, experiments.c.claimed_at
        )
        for row in connection.execute(running_rows.where(IS_RUNNING)):
            mean = means.get((row.kind, row.model))
            since = row.claimed_at or row.started_at
            if mean is None or since is None:
                running = None
                break
            running += max(0.0, mean - max(0.0, now - since))
        n_workers = connection.execute(select(func.count()).select_from(workers).where(is_alive(now))).scalar_one()
        return cls(means, running, n_workers)

    def wait(self, ahead: Sequence[tuple[tuple[str, str], int]]) -> float | None:
        if self.running is None or self.workers == 0 or any(kind not in self.means for kind, _ in ahead):
            return None
        return (self.running + sum(self.means[kind] * n for kind, n in ahead)) / self.workers
