"""Changes to experiments by their users: rename, reprioritize, cancel, retry, delete and restore."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.exc import IntegrityError

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment, ExperimentEdit, State
from arithmoscope.store.artifacts import RESULT, Artifacts
from arithmoscope.store.base import unknown_experiment
from arithmoscope.store.queue import IS_QUEUED
from arithmoscope.store.rows import PRIORITIES, check_storable_text, read_experiment
from arithmoscope.store.submissions import QUEUED, UNDO_S, Submissions
from arithmoscope.store.tables import NOT_DELETED, artifacts, experiments


class Edits(Submissions, Artifacts):
    """User-initiated changes to experiments."""

    def edit(self, experiment_id: str, edit: ExperimentEdit) -> Experiment:
        """Updates the fields that are set. A queued experiment takes its new place in the queue immediately."""
        texts = {name: value for name, value in (("name", edit.name), ("notes", edit.notes)) if value is not None}
        for value in texts.values():
            check_storable_text(value)
        row = experiments.c.id == experiment_id
        with self._database.write() as connection:
            before = read_experiment(connection, experiment_id, self._clock())
            if connection.execute(select(experiments.c.bundled).where(row)).scalar_one():
                raise Refusal("forbidden", "The example is part of the program.", "Edit your own experiments.")
            if texts:
                connection.execute(update(experiments).where(row).values(**texts))
            if edit.priority is not None and edit.priority != before.priority:
                # A message with the old priority is out already: a new attempt number invalidates it.
                sent = experiments.c.sent_at.is_not(None)
                attempt = case((sent, experiments.c.attempt + 1), else_=experiments.c.attempt)
                requeue = update(experiments).where(row, IS_QUEUED)
                connection.execute(requeue.values(attempt=attempt, sent_at=None))
                connection.execute(update(experiments).where(row).values(priority=PRIORITIES[edit.priority]))
            return read_experiment(connection, experiment_id, self._clock())

    def request_cancel(self, experiment_id: str) -> Experiment:
        """Cancels a queued experiment immediately, a running one when its worker checks. A finished one stays."""
        with self._database.write() as connection:
            row = (experiments.c.id == experiment_id) & NOT_DELETED
            # Locks the row: it may be claimed or requeued at the same time.
            connection.execute(select(experiments.c.id).where(row).with_for_update())
            queued = update(experiments).where(row, experiments.c.state == "queued")
            connection.execute(queued.values(state="cancelled", cancel_requested=True, finished_at=self._clock()))
            running = update(experiments).where(row, experiments.c.state == "running")
            connection.execute(running.values(cancel_requested=True))
            return read_experiment(connection, experiment_id, self._clock())

    def cancel_requested(self, experiment_id: str) -> bool:
        """Returns whether the worker should stop: a cancellation was requested, or the experiment was deleted."""
        with self._database.read() as connection:
            flag = connection.execute(
                select(experiments.c.cancel_requested).where(experiments.c.id == experiment_id)
            ).scalar()
        return flag is None or bool(flag)

    def retry(self, experiment_id: str, *, quota: int | None = None) -> Experiment:
        """Requeues an experiment, which continues from its saved chunks.

        Allowed for failed and cancelled experiments, and for one whose result is missing. Limits apply as to a new
        submission: raises Refusal `quota_exceeded` if the submitter has ``quota`` unfinished ones, or `store_full`.
        """
        states: tuple[State, ...] = ("failed", "cancelled")
        if self._result_is_missing(experiment_id):
            states = (*states, "succeeded")
        with self._database.write() as connection:
            may_run = (
                experiments.c.id == experiment_id,
                experiments.c.state.in_(states),
                experiments.c.bundled.is_(False),
                NOT_DELETED,
            )
            asked_by = connection.execute(select(experiments.c.asked_by).where(*may_run)).scalar()
            if asked_by is not None:
                self._check_admission(connection, asked_by, quota)
            requeue = update(experiments).where(*may_run)
            try:
                with connection.begin_nested():
                    changed = connection.execute(requeue.values(**requeue_values(self._clock()), fruitless=0)).rowcount
            except IntegrityError as error:
                raise Refusal(
                    "not_retryable",
                    "The same question has been submitted again since.",
                    "Open the newer experiment from the list.",
                ) from error
            experiment = read_experiment(connection, experiment_id, self._clock())
            if not changed:
                raise Refusal("not_retryable", f"The experiment is {experiment.state}.")
            connection.execute(artifacts.delete().where(artifacts.c.experiment_id == experiment_id))
            return experiment

    def _result_is_missing(self, experiment_id: str) -> bool:
        """Returns whether the experiment succeeded but the file of its result is missing or damaged."""
        if self.experiment_status(experiment_id).state != "succeeded":
            return False
        try:
            self.read_artifact(experiment_id, RESULT)
        except Refusal as refusal:
            return refusal.code == "no_result"
        return False

    def delete(self, experiment_id: str) -> None:
        """Hides an experiment, and deletes it permanently after `UNDO_S` seconds; until then `restore` undoes it.

        A queued experiment leaves the queue. Raises Refusal for a running one and for the shipped example.
        """
        with self._database.write() as connection:
            stored = connection.execute(
                select(experiments.c.state, experiments.c.bundled).where(experiments.c.id == experiment_id, NOT_DELETED)
            ).first()
            if stored is None:
                raise unknown_experiment(experiment_id)
            if stored.bundled:
                raise Refusal("forbidden", "The example is part of the program.", "Delete your own experiments.")
            gone = connection.execute(
                update(experiments)
                .where(experiments.c.id == experiment_id, experiments.c.state != "running", NOT_DELETED)
                .values(deleted_at=self._clock())
            )
            if not gone.rowcount:
                raise Refusal("still_running", "A running experiment cannot be deleted.")

    def restore(self, experiment_id: str, *, quota: int | None = None) -> Experiment:
        """Undoes a deletion; an experiment that was queued is queued again. No change if it is not deleted.

        Raises Refusal `not_restorable` if the same question has been submitted again since, or after `UNDO_S` seconds;
        `store_full` as for a new one; and `quota_exceeded` for a queued one, as `retry` does.
        """
        with self._database.write() as connection:
            row = experiments.c.id == experiment_id
            query = select(experiments.c.deleted_at, experiments.c.state, experiments.c.asked_by).where(row)
            stored = connection.execute(query).first()
            if stored is None:
                raise unknown_experiment(experiment_id)
            if stored.deleted_at is None:
                return read_experiment(connection, experiment_id, self._clock())
            if stored.deleted_at <= self._clock() - UNDO_S:
                raise Refusal("not_restorable", "It was deleted more than a day ago.")
            self._check_admission(connection, stored.asked_by, quota if stored.state == "queued" else None)
            # An earlier message may have been dropped meanwhile.
            values = requeue_values(self._clock()) if stored.state == "queued" else {}
            try:
                with connection.begin_nested():
                    changed = update(experiments).where(row, experiments.c.deleted_at == stored.deleted_at)
                    connection.execute(changed.values(**values, deleted_at=None))
            except IntegrityError as error:
                raise Refusal(
                    "not_restorable",
                    "The same question has been submitted again since.",
                    "Open the newer experiment from the list.",
                ) from error
            return read_experiment(connection, experiment_id, self._clock())


def requeue_values(now: float) -> dict[str, Any]:
    """The values of a row that goes back to the queue: a new attempt, so nothing of the old one counts."""
    return {
        "state": "queued",
        "attempt": experiments.c.attempt + 1,
        "lease_owner": None,
        "lease_until": None,
        "lease_s": None,
        "claimed_at": None,
        "progress": QUEUED,
        "cancel_requested": False,
        "error": None,
        "sent_at": None,
        "queued_at": now,
        "started_at": None,
        "finished_at": None,
    }
