"""Leases: the worker's side of the store, the reaping of lost workers, and the outbox's queries.

A worker holds an experiment by a lease. Every write is fenced by the attempt number: a worker that was frozen past
its lease, and whose experiment another worker has claimed, changes nothing when it resumes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, exists, func, or_, select, update

from arithmoscope.contracts.errors import ProblemDetails, Refusal
from arithmoscope.contracts.experiments import Progress, State
from arithmoscope.contracts.kinds import ON_AN_ANALYSIS, ExperimentSpec
from arithmoscope.contracts.log_context import working_on
from arithmoscope.contracts.models import ModelCard
from arithmoscope.store.base import upsert_rows
from arithmoscope.store.durations import record_duration
from arithmoscope.store.edits import Edits, requeue_values
from arithmoscope.store.queue import CLOCK_SKEW_S, IS_QUEUED, IS_RUNNING, QUEUE_ORDER, is_alive
from arithmoscope.store.registry import upsert_model
from arithmoscope.store.rows import spec_of
from arithmoscope.store.tables import artifacts, chunks, experiments, models, workers

logger = logging.getLogger(__name__)

# A job that kills every worker must not be retried forever.
MAX_FRUITLESS = 3
# Assumed length of a lease taken by an earlier version of the program.
_DEFAULT_LEASE_S = 60.0
RESEND_AFTER_S = 30.0
_PARENTS = experiments.alias("parents")
# A deleted parent counts as done: the experiment then fails and says so.
_PARENT_IS_DONE = experiments.c.kind.not_in(ON_AN_ANALYSIS) | ~exists().where(
    _PARENTS.c.id == experiments.c.parent,
    _PARENTS.c.state.in_(("queued", "running")),
    _PARENTS.c.deleted_at.is_(None),
)
# Number of messages sent before they are recorded as sent.
BATCH = 100


class LeaseLost(Exception):
    """The experiment is no longer held by this worker: stop, and write nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one attempt of an experiment. ``model``: the model it runs on, even if the spec has none."""

    id: str
    attempt: int
    owner: str
    spec: ExperimentSpec
    model: str


@dataclass(frozen=True, slots=True)
class QueuedAttempt:
    """A queued attempt to be sent to the broker."""

    id: str
    attempt: int
    # 0 is the highest, 9 the lowest.
    priority: int


class Leases(Edits):
    """Operations of workers, the reaper and the outbox."""

    def claim(self, experiment_id: str, attempt: int, *, owner: str, lease_s: float) -> Claim | None:
        """Claims a queued attempt; returns None if it is claimed already, cancelled, outdated or gone, or if it is a
        knockout whose parent analysis is queued or running: the parent goes first."""
        now = self._clock()
        take = update(experiments).where(
            experiments.c.id == experiment_id,
            experiments.c.attempt == attempt,
            IS_QUEUED,
            _PARENT_IS_DONE,
        )
        begun = exists().where(chunks.c.experiment_id == experiments.c.id)
        with self._database.write() as connection:
            taken = connection.execute(
                take.values(
                    state="running",
                    fruitless=experiments.c.fruitless + 1,
                    lease_owner=owner,
                    lease_until=now + lease_s,
                    lease_s=lease_s,
                    claimed_at=case((begun, None), else_=now),
                    started_at=func.coalesce(experiments.c.started_at, now),
                )
            )
            if not taken.rowcount:
                return None
            query = select(experiments.c.spec, experiments.c.model).where(experiments.c.id == experiment_id)
            row = connection.execute(query).one()
        return Claim(experiment_id, attempt, owner, spec_of(row.spec), row.model)

    def renew(self, claim: Claim, lease_s: float) -> None:
        with self._database.write() as connection:
            _update_fenced(connection, claim, lease_until=self._clock() + lease_s, lease_s=lease_s)

    def save_progress(self, claim: Claim, progress: Progress) -> None:
        with self._database.write() as connection:
            _update_fenced(connection, claim, progress=progress.model_dump(mode="json"))

    def save_chunk(self, claim: Claim, number: int, data: bytes, *, supersedes: bool = False) -> None:
        """Saves a finished chunk, from which the next attempt continues. ``supersedes``: it contains all earlier
        chunks, which are deleted."""
        digest = self._blobs.put(_chunk_folder(claim.id), data)
        row = {"experiment_id": claim.id, "number": number, "sha256": digest, "size": len(data)}
        mine = chunks.c.experiment_id == claim.id
        older: set[str] = set()
        with self._database.write() as connection:
            known = select(chunks.c.sha256).where(mine, chunks.c.number == number)
            is_new = connection.execute(known).first() is None
            _update_fenced(connection, claim, fruitless=0 if is_new else experiments.c.fruitless)
            if supersedes:
                older = {*connection.execute(select(chunks.c.sha256).where(mine)).scalars()} - {digest}
                connection.execute(chunks.delete().where(mine))
            upsert_rows(connection, chunks, [row])
        for old_digest in older:
            try:
                self._blobs.remove_if_older(f"{_chunk_folder(claim.id)}/{old_digest}", math.inf)
            except Refusal as error:  # garbage collection removes it after the experiment's end
                logger.warning("an older chunk of %s was not removed: %s", claim.id, error)

    def chunks(self, experiment_id: str) -> dict[int, bytes]:
        """The saved chunks by number. A damaged one is left out and computed again."""
        with self._database.read() as connection:
            rows = connection.execute(select(chunks).where(chunks.c.experiment_id == experiment_id)).all()
        intact: dict[int, bytes] = {}
        for row in rows:
            try:
                intact[row.number] = self._blobs.read(_chunk_folder(experiment_id), row.sha256)
            except Refusal as refusal:
                if refusal.code != "no_result":  # temporarily unreadable: no reason to compute it again
                    raise
                logger.warning("chunk %d of %s is damaged and will be computed again", row.number, experiment_id)
        return intact

    def succeed(self, claim: Claim, results: Mapping[str, bytes], *, tuned: ModelCard | None = None) -> None:
        """Commits a success with all artifacts, and the fine-tuned model (``tuned``) if there is one."""
        self._finish(claim, "succeeded", results, error=None, tuned=tuned)
        try:
            self._blobs.remove(_chunk_folder(claim.id))
        except Refusal as error:  # it has succeeded anyway; garbage collection removes them later
            logger.warning("the chunks of %s were not removed: %s", claim.id, error)

    def fail(
        self,
        claim: Claim,
        problem: ProblemDetails,
        results: Mapping[str, bytes] | None = None,
        *,
        tuned: ModelCard | None = None,
    ) -> None:
        """Commits a failure, with the artifacts that are usable nevertheless."""
        self._finish(claim, "failed", results or {}, error=problem.model_dump(mode="json"), tuned=tuned)

    def mark_cancelled(
        self, claim: Claim, results: Mapping[str, bytes] | None = None, *, tuned: ModelCard | None = None
    ) -> None:
        """Commits a cancellation, with the result over the finished part, if any."""
        self._finish(claim, "cancelled", results or {}, error=None, tuned=tuned)

    def release(self, claim: Claim) -> State:
        """Requeues an unfinished experiment because its worker must stop, which does not count as a fruitless attempt.

        If a cancellation was requested, the experiment is cancelled. Returns the new state.
        """
        fruitless = case((experiments.c.fruitless > 0, experiments.c.fruitless - 1), else_=0)
        with self._database.write() as connection:
            query = select(experiments.c.cancel_requested).where(experiments.c.id == claim.id).with_for_update()
            if connection.execute(query).scalar():
                _update_fenced(connection, claim, state="cancelled", **_final_values(self._clock()))
                return "cancelled"
            _update_fenced(connection, claim, **_interrupted_values(self._clock()), fruitless=fruitless)
            return "queued"

    def interrupted(self) -> list[QueuedAttempt]:
        """Queued attempts that a worker had begun and then lost or released, the most recently run first.

        They continue before anything new begins, so a running experiment never falls back behind others.
        """
        begun = experiments.c.started_at.is_not(None)
        query = select(experiments.c.id, experiments.c.attempt, experiments.c.priority)
        with self._database.read() as connection:
            last = func.coalesce(experiments.c.lease_until, 0.0).desc()
            return [
                QueuedAttempt(*row)
                for row in connection.execute(query.where(IS_QUEUED, begun).order_by(last, *QUEUE_ORDER))
            ]

    def reap(self, *, owner: str | None = None) -> list[tuple[str, State]]:
        """Takes experiments from workers whose lease expired, or from ``owner``, which is known to be dead.

        They are requeued; or ``cancelled`` if that was requested; or ``failed`` after the third attempt in a row that
        saved no new chunk. Returns each with its new state.
        """
        lost = experiments.c.lease_owner == owner if owner is not None else self._lease_expired()
        with self._database.read() as connection:  # usually there are none: then no lock is taken
            ids = connection.execute(select(experiments.c.id).where(IS_RUNNING, lost)).scalars().all()
        reaped: list[tuple[str, State]] = []
        for experiment_id in ids:
            with self._database.write() as connection:
                # Locks the row: a concurrent cancellation or chunk counts.
                row = connection.execute(
                    select(experiments.c.cancel_requested, experiments.c.fruitless)
                    .where(experiments.c.id == experiment_id, IS_RUNNING, lost)
                    .with_for_update()
                ).first()
                if row is None:
                    continue
                state, values = self._after_loss(row.cancel_requested, row.fruitless)
                connection.execute(update(experiments).where(experiments.c.id == experiment_id).values(**values))
            reaped.append((experiment_id, state))
        for experiment_id, state in reaped:
            with working_on(experiment_id):
                logger.warning("the worker of %s was lost; it is now %s", experiment_id, state)
        return reaped

    def _lease_expired(self) -> ColumnElement[bool]:
        """Condition: the lease has ended, or ends later than any lease taken now would (the clock was set back)."""
        now, until = self._clock(), experiments.c.lease_until
        longest = func.coalesce(experiments.c.lease_s, _DEFAULT_LEASE_S) + CLOCK_SKEW_S
        return or_(until < now, until > now + longest)

    def unsent(self, limit: int = BATCH) -> list[QueuedAttempt]:
        """Queued attempts to send to the broker, in queue order.

        Those never sent; and, if workers are idle, those sent long ago, since a broker that still had them would have
        delivered them. At most as many of the latter as there are idle workers, so that a long queue is not sent over
        and over.
        """
        now = self._clock()
        query = (
            select(experiments.c.id, experiments.c.attempt, experiments.c.priority)
            .where(IS_QUEUED)
            .order_by(*QUEUE_ORDER)
        )
        with self._database.read() as connection:
            rows = list(connection.execute(query.where(experiments.c.sent_at.is_(None)).limit(limit)))
            statuses = connection.execute(select(workers.c.status).where(is_alive(now))).scalars()
            idle = sum(not status["busy"] for status in statuses)
            if idle and len(rows) < limit:
                recently = experiments.c.sent_at.between(now - RESEND_AFTER_S, now + CLOCK_SKEW_S)
                stale = query.where(experiments.c.sent_at.is_not(None), ~recently)
                rows += connection.execute(stale.limit(min(idle, limit - len(rows))))
        return [QueuedAttempt(row.id, row.attempt, row.priority) for row in rows]

    def mark_all_unsent(self) -> int:
        """Marks all queued attempts as unsent after the broker has lost its queue; returns how many."""
        with self._database.write() as connection:
            sent = update(experiments).where(IS_QUEUED, experiments.c.sent_at.is_not(None))
            return connection.execute(sent.values(sent_at=None)).rowcount

    def mark_sent(self, *sent: QueuedAttempt) -> None:
        """Records that the broker has these attempts; no effect on attempts that are over."""
        with self._database.write() as connection:
            # In a fixed order, so that concurrent calls cannot deadlock.
            for attempt in sorted(sent, key=lambda attempt: attempt.id):
                row = (experiments.c.id == attempt.id, experiments.c.attempt == attempt.attempt)
                connection.execute(update(experiments).where(*row).values(sent_at=self._clock()))

    def _after_loss(self, cancel_requested: bool, fruitless: int) -> tuple[State, dict[str, Any]]:
        ended = _final_values(self._clock())
        if cancel_requested:
            return "cancelled", {"state": "cancelled", **ended}
        if fruitless >= MAX_FRUITLESS:
            problem = Refusal("worker_lost", f"The worker was lost {MAX_FRUITLESS} times at the same point.")
            return "failed", {"state": "failed", "error": problem.details().model_dump(mode="json"), **ended}
        return "queued", _interrupted_values(self._clock())

    def _finish(
        self, claim: Claim, state: State, results: Mapping[str, bytes], *, error: Any, tuned: ModelCard | None
    ) -> None:
        rows = [self._put_blob(claim.id, name, data) for name, data in results.items()]
        with self._database.write() as connection:
            stored = connection.execute(
                select(experiments.c.progress).where(experiments.c.id == claim.id)
            ).scalar_one_or_none()
            progress = Progress.model_validate(stored or {}).model_copy(update={"eta_s": None})
            if state == "succeeded":
                progress = progress.model_copy(update={"stage": "done", "done": progress.total or progress.done})
            _update_fenced(
                connection,
                claim,
                state=state,
                error=error,
                progress=progress.model_dump(mode="json"),
                **_final_values(self._clock()),
            )
            upsert_rows(connection, artifacts, rows)
            if tuned is not None:
                upsert_model(connection, tuned)
            else:  # removes a model registered by an earlier attempt
                connection.execute(models.delete().where(models.c.card["experiment"].as_string() == claim.id))
            # Experiments that waited for this parent could not be claimed: they are sent again.
            waiting = (IS_QUEUED, experiments.c.kind.in_(ON_AN_ANALYSIS), experiments.c.parent == claim.id)
            connection.execute(update(experiments).where(*waiting).values(sent_at=None))
            if state == "succeeded":
                record_duration(connection, claim.id)
                # Only after a success: cancelled and failed experiments continue from their chunks when retried.
                connection.execute(chunks.delete().where(chunks.c.experiment_id == claim.id))


def _final_values(now: float) -> dict[str, Any]:
    return {"lease_owner": None, "lease_until": None, "lease_s": None, "finished_at": now}


def _interrupted_values(now: float) -> dict[str, Any]:
    """As `requeue_values`, but keeps the start, the place in the queue, and the lease's end (the time it last ran)."""
    kept = ("queued_at", "started_at", "lease_until")
    return {**requeue_values(now), **{name: experiments.c[name] for name in kept}}


def _update_fenced(connection: Connection, claim: Claim, **values: Any) -> None:
    mine = (
        experiments.c.id == claim.id,
        experiments.c.attempt == claim.attempt,
        experiments.c.state == "running",
        experiments.c.lease_owner == claim.owner,
    )
    if not connection.execute(update(experiments).where(*mine).values(**values)).rowcount:
        raise LeaseLost(f"{claim.id}, attempt {claim.attempt}")


def _chunk_folder(experiment_id: str) -> str:
    return f"{experiment_id}/chunks"
