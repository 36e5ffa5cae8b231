"""Submitting and reading experiments."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Text, cast, func, select, text
from sqlalchemy.exc import IntegrityError

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment, ExperimentList, Priority, Progress
from arithmoscope.contracts.kinds import ON_AN_ANALYSIS, ExperimentSpec
from arithmoscope.store.base import StoreBase, unknown_experiment
from arithmoscope.store.disk_quota import check_disk_quota
from arithmoscope.store.queue import queue_estimate, queue_estimates
from arithmoscope.store.rows import (
    PRIORITIES,
    STATUS_COLUMNS,
    ExperimentStatus,
    after_cursor,
    check_storable_text,
    experiment_of,
    next_cursor,
    read_experiment,
    status_of,
)
from arithmoscope.store.tables import NOT_DELETED, REUSABLE, experiments

MAX_PAGE = 200
# Seconds during which a deletion can be undone.
UNDO_S = 86_400
# Maximum total length of the specs in one page: a thousand usual ones, or one of the largest.
PAGE_CHARACTERS = 1_000_000
QUEUED = Progress(stage="queued").model_dump(mode="json")
# Attempts to submit while others submit and delete the same.
_SUBMIT_ATTEMPTS = 100
# An arbitrary advisory lock id, the same in every process.
_QUOTA_LOCK = 0x0A418


class Submissions(StoreBase):
    """Submission of experiments, and queries that change nothing."""

    def submit(
        self,
        spec: ExperimentSpec,
        *,
        key: str,
        model: str | None = None,
        parent: str | None = None,
        asked_by: str = "",
        priority: Priority = "normal",
        name: str = "",
        quota: int | None = None,
    ) -> tuple[Experiment, bool]:
        """Queues a new experiment and returns (experiment, True); or (existing, False) if the same was submitted before
        and has neither failed nor been cancelled.

        ``model``: the model of the parent, for kinds that run on it and do not name it.
        Raises Refusal `quota_exceeded` for a new one if ``asked_by`` has ``quota`` unfinished experiments (None or 0:
        unlimited), `store_full` if what cannot be evicted exceeds the budget.
        """
        check_storable_text(name)
        runs_on = model if spec.kind in ON_AN_ANALYSIS else getattr(spec, "model", None)
        if runs_on is None:
            raise ValueError(f"the kind {spec.kind} runs on its parent's model, which is missing")
        experiment_id = secrets.token_hex(12)
        row = {
            "id": experiment_id,
            "kind": spec.kind,
            "model": runs_on,
            "spec": spec.model_dump(mode="json"),
            "key": key,
            "parent": parent,
            "name": name,
            "priority": PRIORITIES[priority],
            "asked_by": asked_by,
        }
        for _ in range(_SUBMIT_ATTEMPTS):
            with self._database.write() as connection:
                if (existing := self._existing(connection, key)) is not None:
                    return existing, False
                self._check_admission(connection, asked_by, quota)
                try:
                    with connection.begin_nested():
                        connection.execute(experiments.insert().values(**row, **_initial_values(self._clock())))
                except IntegrityError:
                    continue  # another process submitted the same in this moment: its row exists now
                return read_experiment(connection, experiment_id, self._clock()), True
        raise Refusal(
            "store_unavailable", "The same experiment is being submitted and deleted repeatedly.", "Try again."
        )

    def find(self, key: str) -> Experiment | None:
        """The existing experiment that a submission with this key would return, if any."""
        with self._database.read() as connection:
            return self._existing(connection, key)

    def experiment(self, experiment_id: str) -> Experiment:
        with self._database.read() as connection:
            return read_experiment(connection, experiment_id, self._clock())

    def experiment_status(self, experiment_id: str) -> ExperimentStatus:
        """Status and progress without the spec. Raises Refusal (`unknown_experiment`) if it does not exist."""
        query = select(*STATUS_COLUMNS).where(experiments.c.id == experiment_id, NOT_DELETED)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                raise unknown_experiment(experiment_id)
            return status_of(row, queue_estimate(connection, row, self._clock()))

    def experiment_statuses(self, experiment_ids: Sequence[str]) -> dict[str, ExperimentStatus]:
        """The statuses of many experiments; those that do not exist are left out."""
        query = select(*STATUS_COLUMNS).where(experiments.c.id.in_(experiment_ids), NOT_DELETED)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            outlooks = queue_estimates(connection, rows, self._clock())
        return {row["id"]: status_of(row, outlook) for row, outlook in zip(rows, outlooks, strict=True)}

    def experiments(
        self,
        kind: str | None = None,
        state: str | None = None,
        model: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        *,
        parent: str | None = None,
        deleted: bool = False,
    ) -> ExperimentList:
        """Lists experiments, newest first, one page at a time, without the shipped example.

        A page also ends before ``limit`` when its specs reach `PAGE_CHARACTERS`. ``parent``: only children of that
        experiment. ``deleted``: only deleted ones that can be restored.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Refusal("bad_request", f"A page has 1 to {MAX_PAGE} experiments.")
        filters = {"kind": kind, "state": state, "model": model, "parent": parent}
        conditions: list[ColumnElement[bool]] = [experiments.c.bundled.is_(False)]
        conditions.append(experiments.c.deleted_at > self._clock() - UNDO_S if deleted else NOT_DELETED)
        conditions += [experiments.c[name] == value for name, value in filters.items() if value is not None]
        if cursor is not None:
            conditions.append(after_cursor(cursor))
        query = (
            select(experiments, cast(experiments.c.spec, Text).label("spec_text"))
            .where(*conditions)
            .order_by(experiments.c.created_at.desc(), experiments.c.id.desc())
            .limit(limit + 1)
        )
        page: list[RowMapping] = []
        remaining, more = PAGE_CHARACTERS, False
        with self._database.read() as connection:
            # Streamed: rows that do not fit are not read.
            with connection.execute(query.execution_options(yield_per=20)) as rows:
                for row in rows.mappings():
                    remaining -= len(row["spec_text"])
                    more = len(page) == limit or (bool(page) and remaining < 0)
                    if more:
                        break
                    page.append(row)
            outlooks = queue_estimates(connection, page, self._clock())
        return ExperimentList(
            items=tuple(map(experiment_of, page, outlooks)),
            next_cursor=next_cursor(page[-1]) if more else None,
        )

    def _check_admission(self, connection: Connection, asked_by: str, quota: int | None) -> None:
        """Raises Refusal (`quota_exceeded`, `store_full`) if no further experiment may be queued."""
        if quota:
            _check_unfinished_quota(connection, asked_by, quota)
        if self._budget is not None:
            check_disk_quota(connection, self._budget)

    def _existing(self, connection: Connection, key: str) -> Experiment | None:
        row = connection.execute(select(experiments).where(experiments.c.key == key, REUSABLE)).mappings().first()
        return None if row is None else experiment_of(row, queue_estimate(connection, row, self._clock()))


def _initial_values(now: float) -> dict[str, Any]:
    return {
        "bundled": False,
        "state": "queued",
        "attempt": 1,
        "fruitless": 0,
        "progress": QUEUED,
        "cancel_requested": False,
        "created_at": now,
        "queued_at": now,
    }


def _check_unfinished_quota(connection: Connection, asked_by: str, quota: int) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has only one writer at a time
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _QUOTA_LOCK})
    unfinished = (
        select(func.count())
        .select_from(experiments)
        .where(experiments.c.asked_by == asked_by, experiments.c.state.in_(("queued", "running")), NOT_DELETED)
    )
    if connection.execute(unfinished).scalar_one() >= quota:
        raise Refusal("quota_exceeded", f"There are already {quota} unfinished experiments, the maximum for one token.")
