"""What people do with their experiments: name them, hurry them, cancel them, run them again, throw them away."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.exc import IntegrityError

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment, ExperimentEdit, State
from arithmoscope.store.artifacts import RESULT, Artifacts
from arithmoscope.store.base import unknown_experiment
from arithmoscope.store.queue import WAITS
from arithmoscope.store.rows import PRIORITIES, read_experiment, refuse_unwritable
from arithmoscope.store.submissions import QUEUED, UNDO_S, Submissions
from arithmoscope.store.tables import SHOWN, artifacts, experiments


class Changes(Submissions, Artifacts):
    """The owner's side of the store."""

    def edit(self, experiment_id: str, edit: ExperimentEdit) -> Experiment:
        """What is not told stays. One that waits takes its new place in the line at once."""
        written = {name: value for name, value in (("name", edit.name), ("notes", edit.notes)) if value is not None}
        for value in written.values():
            refuse_unwritable(value)
        row = experiments.c.id == experiment_id
        with self._database.write() as connection:
            found = read_experiment(connection, experiment_id, self._clock())
            if connection.execute(select(experiments.c.bundled).where(row)).scalar_one():
                raise Refusal("forbidden", "The example belongs to the program.", "Change your own experiments.")
            if written:
                connection.execute(update(experiments).where(row).values(**written))
            if edit.priority is not None and edit.priority != found.priority:
                # A message with the old priority is out already: the next attempt is the one that counts.
                sent = experiments.c.sent_at.is_not(None)
                attempt = case((sent, experiments.c.attempt + 1), else_=experiments.c.attempt)
                again = update(experiments).where(row, WAITS)
                connection.execute(again.values(attempt=attempt, sent_at=None))
                connection.execute(update(experiments).where(row).values(priority=PRIORITIES[edit.priority]))
            return read_experiment(connection, experiment_id, self._clock())

    def request_cancel(self, experiment_id: str) -> Experiment:
        """A queued one ends at once; a running one when its worker looks; a finished one is left as it is."""
        with self._database.write() as connection:
            row = (experiments.c.id == experiment_id) & SHOWN
            # Held: it may be about to begin, or to go back to the queue.
            connection.execute(select(experiments.c.id).where(row).with_for_update())
            waiting = update(experiments).where(row, experiments.c.state == "queued")
            connection.execute(waiting.values(state="cancelled", cancel_requested=True, finished_at=self._clock()))
            running = update(experiments).where(row, experiments.c.state == "running")
            connection.execute(running.values(cancel_requested=True))
            return read_experiment(connection, experiment_id, self._clock())

    def cancel_requested(self, experiment_id: str) -> bool:
        """Also true when the experiment is gone: whoever asks should stop."""
        with self._database.read() as connection:
            flag = connection.execute(
                select(experiments.c.cancel_requested).where(experiments.c.id == experiment_id)
            ).scalar()
        return flag is None or bool(flag)

    def retry(self, experiment_id: str, *, quota: int | None = None) -> Experiment:
        """Back to the queue; finished chunks stay finished.

        Only for a failed or cancelled one, and for one whose result is gone. It counts as a new one does: refuses
        ``quota_exceeded`` where whoever asked for it has ``quota`` unfinished ones, and ``store_full``.
        """
        states: tuple[State, ...] = ("failed", "cancelled")
        if self._lost_its_result(experiment_id):
            states = (*states, "succeeded")
        with self._database.write() as connection:
            may_run = (
                experiments.c.id == experiment_id,
                experiments.c.state.in_(states),
                experiments.c.bundled.is_(False),
                SHOWN,
            )
            asked_by = connection.execute(select(experiments.c.asked_by).where(*may_run)).scalar()
            if asked_by is not None:
                self._refuse_one_more(connection, asked_by, quota)
            again = update(experiments).where(*may_run)
            try:
                with connection.begin_nested():
                    changed = connection.execute(again.values(**requeued(self._clock()), fruitless=0)).rowcount
            except IntegrityError as error:
                raise Refusal(
                    "not_retryable",
                    "The same question has been asked again since.",
                    "Open the newer experiment: it is in the list.",
                ) from error
            found = read_experiment(connection, experiment_id, self._clock())
            if not changed:
                raise Refusal("not_retryable", f"The experiment is {found.state}.")
            connection.execute(artifacts.delete().where(artifacts.c.experiment_id == experiment_id))
            return found

    def _lost_its_result(self, experiment_id: str) -> bool:
        """Whether it succeeded and the file of its result is gone or damaged."""
        if self.glance(experiment_id).state != "succeeded":
            return False
        try:
            self.read_artifact(experiment_id, RESULT)
        except Refusal as refusal:
            return refusal.code == "no_result"
        return False

    def delete(self, experiment_id: str) -> None:
        """Out of sight, and gone for good after `UNDO_S` seconds; until then `restore` brings it back.

        One that waits stops waiting. Refuses a running one, and the example that is shipped.
        """
        with self._database.write() as connection:
            found = connection.execute(
                select(experiments.c.state, experiments.c.bundled).where(experiments.c.id == experiment_id, SHOWN)
            ).first()
            if found is None:
                raise unknown_experiment(experiment_id)
            if found.bundled:
                raise Refusal("forbidden", "The example belongs to the program.", "Delete your own experiments.")
            gone = connection.execute(
                update(experiments)
                .where(experiments.c.id == experiment_id, experiments.c.state != "running", SHOWN)
                .values(deleted_at=self._clock())
            )
            if not gone.rowcount:
                raise Refusal("still_running", "A running experiment cannot be deleted.")

    def restore(self, experiment_id: str, *, quota: int | None = None) -> Experiment:
        """Undoes a deletion; one that waited then waits again. No change to one that is not deleted.

        Refuses (``not_restorable``) when the same question has been asked again since, or when it is too late;
        ``store_full`` as for a new one; and one that waited ``quota_exceeded``, as `retry` does.
        """
        with self._database.write() as connection:
            row = experiments.c.id == experiment_id
            wanted = select(experiments.c.deleted_at, experiments.c.state, experiments.c.asked_by).where(row)
            found = connection.execute(wanted).first()
            if found is None:
                raise unknown_experiment(experiment_id)
            if found.deleted_at is None:
                return read_experiment(connection, experiment_id, self._clock())
            if found.deleted_at <= self._clock() - UNDO_S:
                raise Refusal("not_restorable", "It was deleted more than a day ago.")
            self._refuse_one_more(connection, found.asked_by, quota if found.state == "queued" else None)
            # A message of before may have been dropped meanwhile.
            back = requeued(self._clock()) if found.state == "queued" else {}
            try:
                with connection.begin_nested():
                    changed = update(experiments).where(row, experiments.c.deleted_at == found.deleted_at)
                    connection.execute(changed.values(**back, deleted_at=None))
            except IntegrityError as error:
                raise Refusal(
                    "not_restorable",
                    "The same question has been asked again since.",
                    "Open the newer experiment: it is in the list.",
                ) from error
            return read_experiment(connection, experiment_id, self._clock())


def requeued(now: float) -> dict[str, Any]:
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
