"""Statistics of the store, for the System page and the metrics."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select

from arithmoscope.contracts.errors import ProblemDetails, Refusal
from arithmoscope.contracts.system import Duration, Failure, QueueReport, StoreReport, WorkerReport
from arithmoscope.store.base import StoreBase
from arithmoscope.store.disk_quota import stored_bytes
from arithmoscope.store.queue import IS_QUEUED, IS_RUNNING, is_alive
from arithmoscope.store.tables import NOT_DELETED, durations, experiments, workers

_NOT_BUNDLED = experiments.c.bundled.is_(False)


class Stats(StoreBase):
    """Counts, sizes and durations; the shipped example is not counted."""

    def is_up(self) -> bool:
        """Returns whether the database answers."""
        try:
            with self._database.read() as connection:
                connection.execute(select(1))
        except Refusal:
            return False
        return True

    def counts(self) -> tuple[int, int]:
        """The number of running and of queued experiments."""
        with self._database.read() as connection:
            running, waiting = (
                connection.execute(select(func.count()).select_from(experiments).where(condition)).scalar_one()
                for condition in (IS_RUNNING, IS_QUEUED)
            )
        return running, waiting

    def queue_report(self) -> QueueReport:
        running, waiting = self.counts()
        with self._database.read() as connection:
            oldest = connection.execute(select(func.min(experiments.c.queued_at)).where(IS_QUEUED)).scalar()
        wait = None if oldest is None else max(0.0, self._clock() - oldest)
        return QueueReport(waiting=waiting, running=running, oldest_wait_s=wait)

    def store_report(self) -> StoreReport:
        count = func.count()
        with self._database.read() as connection:
            states = select(experiments.c.state, count).where(_NOT_BUNDLED, NOT_DELETED).group_by(experiments.c.state)
            by_state = {row.state: row[1] for row in connection.execute(states)}
            deleted = connection.execute(
                select(count).select_from(experiments).where(_NOT_BUNDLED, ~NOT_DELETED)
            ).scalar_one()
            size = stored_bytes(connection)
        return StoreReport(
            experiments=by_state,
            deleted=deleted,
            artifact_bytes=size,
            budget_bytes=self._budget,
            free_bytes=self._blobs.free_bytes(),
        )

    def experiment_counts(self) -> list[tuple[str, str, int]]:
        """(kind, state, count) of experiments that are not deleted."""
        by = (experiments.c.kind, experiments.c.state)
        query = select(*by, func.count()).where(_NOT_BUNDLED, NOT_DELETED).group_by(*by)
        with self._database.read() as connection:
            return [(kind, state, n) for kind, state, n in connection.execute(query)]

    def worker_reports(self) -> list[WorkerReport]:
        """The live workers, with the experiment that each works on."""
        now = self._clock()
        with self._database.read() as connection:
            running = {
                row.lease_owner: row.id
                for row in connection.execute(select(experiments.c.lease_owner, experiments.c.id).where(IS_RUNNING))
            }
            recent = connection.execute(select(workers).where(is_alive(now)).order_by(workers.c.id)).all()
        return [
            WorkerReport(**row.status, experiment=running.get(row.id), seen_s=max(0.0, now - row.seen_at))
            for row in recent
        ]

    def durations(self) -> list[Duration]:
        with self._database.read() as connection:
            rows = connection.execute(select(durations).order_by(durations.c.kind, durations.c.model)).all()
        return [Duration(kind=row.kind, model=row.model, mean_s=row.mean_s, n=row.n) for row in rows]

    def failures(self, limit: int = 20) -> list[Failure]:
        """The failed experiments, the latest first."""
        failed = (
            select(experiments.c.id, experiments.c.error, experiments.c.finished_at)
            .where(_NOT_BUNDLED, NOT_DELETED, experiments.c.state == "failed", experiments.c.error.is_not(None))
            .order_by(experiments.c.finished_at.desc(), experiments.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(failed).all()
        problems = [(row, ProblemDetails.model_validate(row.error)) for row in rows]
        return [
            Failure(
                experiment=row.id,
                at=datetime.fromtimestamp(row.finished_at, tz=UTC),
                title=problem.title,
                detail=problem.detail,
            )
            for row, problem in problems
        ]
