"""What workers do with experiments: take one, say how far it is, leave results; and what if they die.

A worker holds an experiment by a lease. Every write names the attempt it belongs to, so that a worker
which was frozen past its lease, and whose experiment has gone to another, changes nothing when it wakes up.
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
from arithmoscope.contracts.log_context import working_on
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.specs import ExperimentSpec
from arithmoscope.store.base import put_rows
from arithmoscope.store.durations import note_duration
from arithmoscope.store.edits import Changes, requeued
from arithmoscope.store.queue import CLOCKS_DIFFER_S, PLACE, RUNS, WAITS, seen
from arithmoscope.store.registry import put_model
from arithmoscope.store.rows import spec_of
from arithmoscope.store.tables import artifacts, chunks, experiments, models, workers

logger = logging.getLogger(__name__)

# A job that kills every worker that takes it must not go round for ever.
MAX_FRUITLESS = 3
# Of a lease that was taken by an earlier version of the program.
_LONGEST_LEASE_S = 60.0
RESEND_AFTER_S = 30.0
_PARENTS = experiments.alias("parents")
# Or was deleted: then the knock-out says so.
_PARENT_IS_DONE = (experiments.c.kind != "knockout") | ~exists().where(
    _PARENTS.c.id == experiments.c.parent,
    _PARENTS.c.state.in_(("queued", "running")),
    _PARENTS.c.deleted_at.is_(None),
)
# As many messages are sent before it is written down that they were.
BATCH = 100


class LeaseLost(Exception):
    """The experiment is no longer this worker's: stop, and write nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on one attempt of an experiment. ``model``: what it runs on, also where its spec says none."""

    id: str
    attempt: int
    owner: str
    spec: ExperimentSpec
    model: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued attempt that the broker should be given."""

    id: str
    attempt: int
    # 0 is the highest, 9 the lowest.
    priority: int


class Leases(Changes):
    """The worker's side of the store, the reaper and the outbox."""

    def claim(self, experiment_id: str, attempt: int, *, owner: str, lease_s: float) -> Claim | None:
        """Takes a queued attempt; None when it is another's already, cancelled, outdated or gone, or a knock-out whose
        analysis waits or runs again: that one goes first."""
        now = self._clock()
        take = update(experiments).where(
            experiments.c.id == experiment_id,
            experiments.c.attempt == attempt,
            WAITS,
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
            asked = select(experiments.c.spec, experiments.c.model).where(experiments.c.id == experiment_id)
            row = connection.execute(asked).one()
        return Claim(experiment_id, attempt, owner, spec_of(row.spec), row.model)

    def renew(self, claim: Claim, lease_s: float) -> None:
        with self._database.write() as connection:
            _fenced(connection, claim, lease_until=self._clock() + lease_s, lease_s=lease_s)

    def save_progress(self, claim: Claim, progress: Progress) -> None:
        with self._database.write() as connection:
            _fenced(connection, claim, progress=progress.model_dump(mode="json"))

    def save_chunk(self, claim: Claim, number: int, data: bytes, *, alone: bool = False) -> None:
        """Keeps a finished part, from which the next attempt continues. ``alone``: it holds all that those before it
        did, so they go."""
        digest = self._blobs.put(_chunks_of(claim.id), data)
        kept = {"experiment_id": claim.id, "number": number, "sha256": digest, "size": len(data)}
        mine = chunks.c.experiment_id == claim.id
        older: set[str] = set()
        with self._database.write() as connection:
            known = select(chunks.c.sha256).where(mine, chunks.c.number == number)
            is_new = connection.execute(known).first() is None
            _fenced(connection, claim, fruitless=0 if is_new else experiments.c.fruitless)
            if alone:
                older = {*connection.execute(select(chunks.c.sha256).where(mine)).scalars()} - {digest}
                connection.execute(chunks.delete().where(mine))
            put_rows(connection, chunks, [kept])
        for gone in older:
            try:
                self._blobs.remove_if_older(f"{_chunks_of(claim.id)}/{gone}", math.inf)
            except Refusal as error:  # what nothing refers to is collected when it has ended
                logger.warning("an older chunk of %s is not removed: %s", claim.id, error)

    def chunks(self, experiment_id: str) -> dict[int, bytes]:
        """The finished parts by number. A damaged one is left out: it will be computed again."""
        with self._database.read() as connection:
            rows = connection.execute(select(chunks).where(chunks.c.experiment_id == experiment_id)).all()
        found = {}
        for row in rows:
            try:
                found[row.number] = self._blobs.read(_chunks_of(experiment_id), row.sha256)
            except Refusal as refusal:
                if refusal.code != "no_result":  # nobody can read now: that is no reason to compute it again
                    raise
                logger.warning("chunk %d of %s is damaged; it is computed again", row.number, experiment_id)
        return found

    def succeed(self, claim: Claim, results: Mapping[str, bytes], *, tuned: ModelCard | None = None) -> None:
        """The experiment is done: all artifacts are there, and the model that it ``tuned``, or none."""
        self._finish(claim, "succeeded", results, error=None, tuned=tuned)
        try:
            self._blobs.remove(_chunks_of(claim.id))
        except Refusal as error:  # it is done all the same; what nothing refers to is collected later
            logger.warning("the chunks of %s are not removed: %s", claim.id, error)

    def fail(
        self,
        claim: Claim,
        problem: ProblemDetails,
        results: Mapping[str, bytes] | None = None,
        *,
        tuned: ModelCard | None = None,
    ) -> None:
        """It could not be done; with what can be used of it all the same, if anything."""
        self._finish(claim, "failed", results or {}, error=problem.model_dump(mode="json"), tuned=tuned)

    def mark_cancelled(
        self, claim: Claim, results: Mapping[str, bytes] | None = None, *, tuned: ModelCard | None = None
    ) -> None:
        """Stopped by its asker, with the result over what was finished, if any."""
        self._finish(claim, "cancelled", results or {}, error=None, tuned=tuned)

    def release(self, claim: Claim) -> State:
        """Gives an unfinished experiment back to the queue: its worker must stop, no fault of the job.

        One that was to be cancelled is cancelled. The state it is in now.
        """
        blameless = case((experiments.c.fruitless > 0, experiments.c.fruitless - 1), else_=0)
        with self._database.write() as connection:
            asked = select(experiments.c.cancel_requested).where(experiments.c.id == claim.id).with_for_update()
            if connection.execute(asked).scalar():
                _fenced(connection, claim, state="cancelled", **_ended(self._clock()))
                return "cancelled"
            _fenced(connection, claim, **_interrupted(self._clock()), fruitless=blameless)
            return "queued"

    def interrupted(self) -> list[Waiting]:
        """The queued ones that a worker had begun and lost or given back, those first that ran last.

        They go on before anything new begins: nobody who saw an experiment run should see it wait for others.
        """
        begun = experiments.c.started_at.is_not(None)
        query = select(experiments.c.id, experiments.c.attempt, experiments.c.priority)
        with self._database.read() as connection:
            last = func.coalesce(experiments.c.lease_until, 0.0).desc()
            return [Waiting(*row) for row in connection.execute(query.where(WAITS, begun).order_by(last, *PLACE))]

    def reap(self, *, owner: str | None = None) -> list[tuple[str, State]]:
        """Takes experiments from workers whose lease ran out, or from ``owner``, who is known to be dead.

        They go back to the queue; to ``cancelled`` when that was asked for; to ``failed`` after the third
        attempt in a row that saved nothing new. Each with the state it is in now.
        """
        lost = experiments.c.lease_owner == owner if owner is not None else self._ran_out()
        with self._database.read() as connection:  # usually there are none: then nobody waits for a lock
            ids = connection.execute(select(experiments.c.id).where(RUNS, lost)).scalars().all()
        reaped = []
        for experiment_id in ids:
            with self._database.write() as connection:
                # Held: what is asked for or saved in this moment counts.
                row = connection.execute(
                    select(experiments.c.cancel_requested, experiments.c.fruitless)
                    .where(experiments.c.id == experiment_id, RUNS, lost)
                    .with_for_update()
                ).first()
                if row is None:
                    continue
                state, values = self._after_loss(row.cancel_requested, row.fruitless)
                connection.execute(update(experiments).where(experiments.c.id == experiment_id).values(**values))
            reaped.append((experiment_id, state))
        for experiment_id, state in reaped:
            with working_on(experiment_id):
                logger.warning("the worker of %s was lost; it is %s", experiment_id, state)
        return reaped

    def _ran_out(self) -> ColumnElement[bool]:
        """A lease that has ended, or that ends later than any taken now would: the clock was put back since."""
        now, until = self._clock(), experiments.c.lease_until
        longest = func.coalesce(experiments.c.lease_s, _LONGEST_LEASE_S) + CLOCKS_DIFFER_S
        return or_(until < now, until > now + longest)

    def unsent(self, limit: int = BATCH) -> list[Waiting]:
        """The queued attempts that the broker should be given, in the order of their turns.

        Those that were never sent; and, when a worker stands idle, those that were sent long ago: a broker
        that still had them would have given them to it. As many as there are idle workers, so that a long
        queue is not sent over and over.
        """
        now = self._clock()
        query = select(experiments.c.id, experiments.c.attempt, experiments.c.priority).where(WAITS).order_by(*PLACE)
        with self._database.read() as connection:
            rows = list(connection.execute(query.where(experiments.c.sent_at.is_(None)).limit(limit)))
            statuses = connection.execute(select(workers.c.status).where(seen(now))).scalars()
            idle = sum(not status["busy"] for status in statuses)
            if idle and len(rows) < limit:
                recently = experiments.c.sent_at.between(now - RESEND_AFTER_S, now + CLOCKS_DIFFER_S)
                stale = query.where(experiments.c.sent_at.is_not(None), ~recently)
                rows += connection.execute(stale.limit(min(idle, limit - len(rows))))
        return [Waiting(row.id, row.attempt, row.priority) for row in rows]

    def unsend(self) -> int:
        """The broker has forgotten what it was given: all that wait are sent again; how many."""
        with self._database.write() as connection:
            forgotten = update(experiments).where(WAITS, experiments.c.sent_at.is_not(None))
            return connection.execute(forgotten.values(sent_at=None)).rowcount

    def mark_sent(self, *sent: Waiting) -> None:
        """The broker has these now. A word about an attempt that is over changes nothing."""
        with self._database.write() as connection:
            # In one order: two that do this at once must not wait for each other.
            for each in sorted(sent, key=lambda each: each.id):
                this = (experiments.c.id == each.id, experiments.c.attempt == each.attempt)
                connection.execute(update(experiments).where(*this).values(sent_at=self._clock()))

    def _after_loss(self, cancel_requested: bool, fruitless: int) -> tuple[State, dict[str, Any]]:
        ended = _ended(self._clock())
        if cancel_requested:
            return "cancelled", {"state": "cancelled", **ended}
        if fruitless >= MAX_FRUITLESS:
            problem = Refusal("worker_lost", f"The worker was lost {MAX_FRUITLESS} times at the same place.")
            return "failed", {"state": "failed", "error": problem.details().model_dump(mode="json"), **ended}
        return "queued", _interrupted(self._clock())

    def _finish(
        self, claim: Claim, state: State, results: Mapping[str, bytes], *, error: Any, tuned: ModelCard | None
    ) -> None:
        kept = [self._kept(claim.id, name, data) for name, data in results.items()]
        with self._database.write() as connection:
            said = connection.execute(
                select(experiments.c.progress).where(experiments.c.id == claim.id)
            ).scalar_one_or_none()
            progress = Progress.model_validate(said or {}).model_copy(update={"eta_s": None})
            if state == "succeeded":
                progress = progress.model_copy(update={"stage": "done", "done": progress.total or progress.done})
            _fenced(
                connection,
                claim,
                state=state,
                error=error,
                progress=progress.model_dump(mode="json"),
                **_ended(self._clock()),
            )
            put_rows(connection, artifacts, kept)
            if tuned is not None:
                put_model(connection, tuned)
            else:  # what an earlier attempt made is not what is kept now
                connection.execute(models.delete().where(models.c.card["experiment"].as_string() == claim.id))
            # Knock-outs that waited for this one were not to be had: the broker gives them out anew.
            waiting = (WAITS, experiments.c.kind == "knockout", experiments.c.parent == claim.id)
            connection.execute(update(experiments).where(*waiting).values(sent_at=None))
            if state == "succeeded":
                note_duration(connection, claim.id)
                # Only a success: a cancelled or failed one continues from its chunks when it is retried.
                connection.execute(chunks.delete().where(chunks.c.experiment_id == claim.id))


def _ended(now: float) -> dict[str, Any]:
    return {"lease_owner": None, "lease_until": None, "lease_s": None, "finished_at": now}


def _interrupted(now: float) -> dict[str, Any]:
    """As `requeued`, but it has begun, keeps its place in the line, and how long it was held tells when it last ran."""
    kept = ("queued_at", "started_at", "lease_until")
    return {**requeued(now), **{name: experiments.c[name] for name in kept}}


def _fenced(connection: Connection, claim: Claim, **values: Any) -> None:
    mine = (
        experiments.c.id == claim.id,
        experiments.c.attempt == claim.attempt,
        experiments.c.state == "running",
        experiments.c.lease_owner == claim.owner,
    )
    if not connection.execute(update(experiments).where(*mine).values(**values)).rowcount:
        raise LeaseLost(f"{claim.id}, attempt {claim.attempt}")


def _chunks_of(experiment_id: str) -> str:
    return f"{experiment_id}/chunks"
