"""What people do with experiments: ask, look, cancel, ask again, throw away."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, Connection, RowMapping, Text, cast, select, update
from sqlalchemy.exc import IntegrityError

from contracts.errors import Refusal
from contracts.experiments import Experiment, ExperimentList, ExperimentSpec, Progress, State
from store.base import Base, put_rows, read_experiment, unknown_experiment
from store.rows import GLANCE, VIEW, Glance, cursor_after, experiment_of, glance_of, older_than
from store.tables import ALIVE, artifacts, experiments

RESULT = "result.json"
MAX_PAGE = 200
# Of the specs in one page: a thousand usual ones, or one of the largest.
PAGE_CHARACTERS = 1_000_000
_QUEUED = Progress(stage="queued").model_dump(mode="json")


class Submissions(Base):
    """The reader's and the asker's side of the store."""

    def submit(self, spec: ExperimentSpec, *, key: str, parent: str | None = None) -> tuple[Experiment, bool]:
        """A new experiment in the queue, or (False) the one that was asked before and has not failed."""
        while True:
            with self._database.write() as connection:
                if (found := _asked_before(connection, key)) is not None:
                    return found, False
                try:
                    with connection.begin_nested():
                        experiment_id = self._insert(connection, spec, key=key, parent=parent)
                except IntegrityError:
                    continue  # another process asked the same in this moment: its row is there now
                return read_experiment(connection, experiment_id), True

    def find(self, key: str) -> Experiment | None:
        """What a submit with this key would be given instead of a new experiment."""
        with self._database.read() as connection:
            return _asked_before(connection, key)

    def experiment(self, experiment_id: str) -> Experiment:
        with self._database.read() as connection:
            return read_experiment(connection, experiment_id)

    def glance(self, experiment_id: str) -> Glance:
        """How far it is, without what was asked. Refuses (``unknown_experiment``) an id that is not there."""
        query = select(*GLANCE).where(experiments.c.id == experiment_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise unknown_experiment(experiment_id)
        return glance_of(row)

    def experiments(
        self,
        kind: str | None = None,
        state: str | None = None,
        model: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> ExperimentList:
        """Newest first, a page at a time. The example that is shipped is not listed.

        A page also ends, before ``limit``, where what was asked comes to `PAGE_CHARACTERS`.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Refusal("bad_request", f"A page holds 1 to {MAX_PAGE} experiments.")
        asked = {"kind": kind, "state": state, "model": model}
        wanted: list[ColumnElement[bool]] = [experiments.c.bundled.is_(False)]
        wanted += [experiments.c[name] == value for name, value in asked.items() if value is not None]
        if cursor is not None:
            wanted.append(older_than(cursor))
        query = (
            select(*VIEW, cast(experiments.c.spec, Text).label("spec_text"))
            .where(*wanted)
            .order_by(experiments.c.created_at.desc(), experiments.c.id.desc())
            .limit(limit + 1)
        )
        page: list[RowMapping] = []
        room, more = PAGE_CHARACTERS, False
        with self._database.read() as connection:
            # Row by row: what does not fit is not read.
            for row in connection.execute(query.execution_options(yield_per=1)).mappings():
                room -= len(row["spec_text"])
                more = len(page) == limit or (bool(page) and room < 0)
                if more:
                    break
                page.append(row)
        return ExperimentList(
            items=tuple(experiment_of(row) for row in page),
            next_cursor=cursor_after(page[-1]) if more else None,
        )

    def request_cancel(self, experiment_id: str) -> Experiment:
        """A queued one ends at once; a running one when its worker looks; a finished one is left as it is."""
        with self._database.write() as connection:
            row = experiments.c.id == experiment_id
            waiting = update(experiments).where(row, experiments.c.state == "queued")
            connection.execute(waiting.values(state="cancelled", cancel_requested=True, finished_at=self._clock()))
            running = update(experiments).where(row, experiments.c.state == "running")
            connection.execute(running.values(cancel_requested=True))
            return read_experiment(connection, experiment_id)

    def cancel_requested(self, experiment_id: str) -> bool:
        """Also true when the experiment is gone: whoever asks should stop."""
        with self._database.read() as connection:
            flag = connection.execute(
                select(experiments.c.cancel_requested).where(experiments.c.id == experiment_id)
            ).scalar()
        return flag is None or bool(flag)

    def retry(self, experiment_id: str) -> Experiment:
        """Back to the queue; finished chunks stay finished.

        Only for a failed or cancelled one, and for one whose result is gone.
        """
        states: tuple[State, ...] = ("failed", "cancelled")
        if self._lost_its_result(experiment_id):
            states = (*states, "succeeded")
        with self._database.write() as connection:
            again = update(experiments).where(
                experiments.c.id == experiment_id,
                experiments.c.state.in_(states),
                experiments.c.bundled.is_(False),
            )
            try:
                with connection.begin_nested():
                    changed = connection.execute(again.values(**requeued(self._clock()), fruitless=0)).rowcount
            except IntegrityError as error:
                raise Refusal(
                    "not_retryable",
                    "The same question has been asked again since.",
                    "Open the newer experiment: it is in the list.",
                ) from error
            found = read_experiment(connection, experiment_id)
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
        """The experiment with all its artifacts. Refuses a running one, and the example that is shipped."""
        with self._database.write() as connection:
            found = connection.execute(
                select(experiments.c.state, experiments.c.bundled).where(experiments.c.id == experiment_id)
            ).first()
            if found is None:
                raise unknown_experiment(experiment_id)
            if found.bundled:
                raise Refusal("forbidden", "The example belongs to the program.", "Delete your own experiments.")
            gone = connection.execute(
                experiments.delete().where(experiments.c.id == experiment_id, experiments.c.state != "running")
            )
            if not gone.rowcount:
                raise Refusal("still_running", "A running experiment cannot be deleted.")
        self._blobs.remove(experiment_id)

    def put_artifact(self, experiment_id: str, name: str, data: bytes) -> None:
        """Adds an artifact to an experiment, or replaces one."""
        self.glance(experiment_id)
        kept = self._kept(experiment_id, name, data)
        try:
            with self._database.write() as connection:
                if (
                    connection.execute(select(experiments.c.id).where(experiments.c.id == experiment_id)).first()
                    is None
                ):
                    raise unknown_experiment(experiment_id)
                put_rows(connection, artifacts, [kept])
        except Refusal as refusal:
            if refusal.code == "unknown_experiment":  # deleted in this moment: nobody else would remove the file
                self._blobs.remove(experiment_id)
            raise

    def read_artifact(self, experiment_id: str, name: str) -> bytes:
        return self._artifact(experiment_id, name, self._blobs.read)

    def open_artifact(self, experiment_id: str, name: str) -> BinaryIO:
        """The artifact as a seekable file, to be closed by the caller."""
        return self._artifact(experiment_id, name, self._blobs.open)

    def artifact_names(self, experiment_id: str) -> tuple[str, ...]:
        with self._database.read() as connection:
            read_experiment(connection, experiment_id)
            mine = artifacts.c.experiment_id == experiment_id
            return tuple(connection.execute(select(artifacts.c.name).where(mine).order_by(artifacts.c.name)).scalars())

    def _artifact(self, experiment_id: str, name: str, fetch: Callable[[str, str], Any]) -> Any:
        with self._database.read() as connection:
            digest = connection.execute(
                select(artifacts.c.sha256).where(artifacts.c.experiment_id == experiment_id, artifacts.c.name == name)
            ).scalar()
            if digest is None:
                state = read_experiment(connection, experiment_id).state
                if state in ("queued", "running"):
                    raise Refusal("not_finished", f"The experiment is {state}.")
                raise Refusal("no_result", f"The experiment {state} without {name[:80]!r}.")
        return fetch(experiment_id, digest)

    def _kept(self, experiment_id: str, name: str, data: bytes) -> dict[str, Any]:
        digest = self._blobs.put(experiment_id, data)
        return {"experiment_id": experiment_id, "name": name, "sha256": digest, "size": len(data)}

    def _insert(self, connection: Connection, spec: ExperimentSpec, *, key: str, parent: str | None) -> str:
        now = self._clock()
        experiment_id = secrets.token_hex(12)
        connection.execute(
            experiments.insert().values(
                id=experiment_id,
                kind=spec.kind,
                model=spec.model,
                spec=spec.model_dump(mode="json"),
                key=key,
                parent=parent,
                bundled=False,
                state="queued",
                attempt=1,
                fruitless=0,
                progress=_QUEUED,
                cancel_requested=False,
                created_at=now,
                queued_at=now,
            )
        )
        return experiment_id


def _asked_before(connection: Connection, key: str) -> Experiment | None:
    row = connection.execute(select(*VIEW).where(experiments.c.key == key, ALIVE)).mappings().first()
    return None if row is None else experiment_of(row)


def requeued(now: float) -> dict[str, Any]:
    """The values of a row that goes back to the queue: a new attempt, so nothing of the old one counts."""
    return {
        "state": "queued",
        "attempt": experiments.c.attempt + 1,
        "lease_owner": None,
        "lease_until": None,
        "progress": _QUEUED,
        "cancel_requested": False,
        "error": None,
        "sent_at": None,
        "queued_at": now,
        "finished_at": None,
    }
