"""Asking, and looking: what people do with experiments that changes none."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Text, cast, func, select, text
from sqlalchemy.exc import IntegrityError

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment, ExperimentList, Priority, Progress
from arithmoscope.contracts.specs import ExperimentSpec, KnockoutSpec
from arithmoscope.store.base import Base, unknown_experiment
from arithmoscope.store.disk_quota import refuse_full
from arithmoscope.store.queue import outlook_of, outlooks_of
from arithmoscope.store.rows import (
    GLANCE,
    PRIORITIES,
    Glance,
    cursor_after,
    experiment_of,
    glance_of,
    older_than,
    read_experiment,
    refuse_unwritable,
)
from arithmoscope.store.tables import ALIVE, SHOWN, experiments

MAX_PAGE = 200
# For so long after a deletion it can be undone.
UNDO_S = 86_400
# Of the specs in one page: a thousand usual ones, or one of the largest.
PAGE_CHARACTERS = 1_000_000
QUEUED = Progress(stage="queued").model_dump(mode="json")
# How often others may be quicker.
_AGAIN = 100
# Any number will do, as long as every process uses the same.
_QUOTA_LOCK = 0x0A418


class Submissions(Base):
    """The asker's side of the store."""

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
        """A new experiment in the queue, or (False) the one that was asked before and has not failed.

        ``model``: what a knock-out runs on, which its spec does not say: its parent's.
        Refuses a new one: ``quota_exceeded`` where ``asked_by`` has ``quota`` unfinished ones (None or 0: any
        number), ``store_full`` where what must be kept has come to the budget.
        """
        refuse_unwritable(name)
        runs_on = model if isinstance(spec, KnockoutSpec) else spec.model
        if runs_on is None:
            raise ValueError("a knock-out runs on its parent's model: say which")
        row = {
            "id": secrets.token_hex(12),
            "kind": spec.kind,
            "model": runs_on,
            "spec": spec.model_dump(mode="json"),
            "key": key,
            "parent": parent,
            "name": name,
            "priority": PRIORITIES[priority],
            "asked_by": asked_by,
        }
        for _ in range(_AGAIN):
            with self._database.write() as connection:
                if (found := self._asked_before(connection, key)) is not None:
                    return found, False
                self._refuse_one_more(connection, asked_by, quota)
                try:
                    with connection.begin_nested():
                        connection.execute(experiments.insert().values(**row, **_fresh(self._clock())))
                except IntegrityError:
                    continue  # another process asked the same in this moment: its row is there now
                return read_experiment(connection, row["id"], self._clock()), True
        raise Refusal("store_unavailable", "The same is asked and deleted all the time.", "Try again.")

    def find(self, key: str) -> Experiment | None:
        """What a submit with this key would be given instead of a new experiment."""
        with self._database.read() as connection:
            return self._asked_before(connection, key)

    def experiment(self, experiment_id: str) -> Experiment:
        with self._database.read() as connection:
            return read_experiment(connection, experiment_id, self._clock())

    def glance(self, experiment_id: str) -> Glance:
        """How far it is, without what was asked. Refuses (``unknown_experiment``) an id that is not there."""
        query = select(*GLANCE).where(experiments.c.id == experiment_id, SHOWN)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                raise unknown_experiment(experiment_id)
            return glance_of(row, outlook_of(connection, row, self._clock()))

    def glances(self, experiment_ids: Sequence[str]) -> dict[str, Glance]:
        """Of many at once; those that are not there are left out."""
        query = select(*GLANCE).where(experiments.c.id.in_(experiment_ids), SHOWN)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            outlooks = outlooks_of(connection, rows, self._clock())
        return {row["id"]: glance_of(row, outlook) for row, outlook in zip(rows, outlooks, strict=True)}

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
        """Newest first, a page at a time. The example that is shipped is not listed.

        A page also ends, before ``limit``, where what was asked comes to `PAGE_CHARACTERS`. ``parent``:
        only what was asked of that experiment. ``deleted``: only those that can still be brought back.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Refusal("bad_request", f"A page holds 1 to {MAX_PAGE} experiments.")
        asked = {"kind": kind, "state": state, "model": model, "parent": parent}
        wanted: list[ColumnElement[bool]] = [experiments.c.bundled.is_(False)]
        wanted.append(experiments.c.deleted_at > self._clock() - UNDO_S if deleted else SHOWN)
        wanted += [experiments.c[name] == value for name, value in asked.items() if value is not None]
        if cursor is not None:
            wanted.append(older_than(cursor))
        query = (
            select(experiments, cast(experiments.c.spec, Text).label("spec_text"))
            .where(*wanted)
            .order_by(experiments.c.created_at.desc(), experiments.c.id.desc())
            .limit(limit + 1)
        )
        page: list[RowMapping] = []
        room, more = PAGE_CHARACTERS, False
        with self._database.read() as connection:
            # A few at a time: what does not fit is not read.
            with connection.execute(query.execution_options(yield_per=20)) as rows:
                for row in rows.mappings():
                    room -= len(row["spec_text"])
                    more = len(page) == limit or (bool(page) and room < 0)
                    if more:
                        break
                    page.append(row)
            outlooks = outlooks_of(connection, page, self._clock())
        return ExperimentList(
            items=tuple(map(experiment_of, page, outlooks)),
            next_cursor=cursor_after(page[-1]) if more else None,
        )

    def _refuse_one_more(self, connection: Connection, asked_by: str, quota: int | None) -> None:
        """Refuses what would wait from now on: ``quota_exceeded``, ``store_full``."""
        if quota:
            _refuse_over_quota(connection, asked_by, quota)
        if self._budget is not None:
            refuse_full(connection, self._budget)

    def _asked_before(self, connection: Connection, key: str) -> Experiment | None:
        row = connection.execute(select(experiments).where(experiments.c.key == key, ALIVE)).mappings().first()
        return None if row is None else experiment_of(row, outlook_of(connection, row, self._clock()))


def _fresh(now: float) -> dict[str, Any]:
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


def _refuse_over_quota(connection: Connection, asked_by: str, quota: int) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _QUOTA_LOCK})
    unfinished = (
        select(func.count())
        .select_from(experiments)
        .where(experiments.c.asked_by == asked_by, experiments.c.state.in_(("queued", "running")), SHOWN)
    )
    if connection.execute(unfinished).scalar_one() >= quota:
        raise Refusal("quota_exceeded", f"There are {quota} unfinished experiments already, as many as one may have.")
