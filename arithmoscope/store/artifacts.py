"""What an experiment leaves behind, as files by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, select, update

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.base import Base, put_rows, unknown_experiment
from arithmoscope.store.tables import SHOWN, artifacts, experiments
from arithmoscope.store.views import is_view

RESULT = "result.json"
# That something is read is written down at most so often.
_USED_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The content of an artifact: its SHA-256, and its size in bytes."""

    sha256: str
    size: int


class Artifacts(Base):
    """The files of experiments that are not deleted."""

    def put_artifact(self, experiment_id: str, name: str, data: bytes, *, seen_in: Kept | None = None) -> bool:
        """Adds an artifact to an experiment, or replaces one; whether it did.

        ``seen_in``: the result that it was read off. It may have run again since: what is of another result is dropped.
        """
        is_there = select(experiments.c.id).where(experiments.c.id == experiment_id, SHOWN)
        with self._database.read() as connection:
            if connection.execute(is_there).first() is None:
                raise unknown_experiment(experiment_id)
        kept = self._kept(experiment_id, name, data)
        result = select(artifacts.c.sha256).where(
            artifacts.c.experiment_id == experiment_id, artifacts.c.name == RESULT
        )
        with self._database.write() as connection:
            # Not written now, because deleted or run again in this moment: the garbage collection finds the file.
            if connection.execute(is_there.with_for_update()).first() is None:
                raise unknown_experiment(experiment_id)
            if seen_in is not None and connection.execute(result).scalar() != seen_in.sha256:
                return False
            put_rows(connection, artifacts, [kept])
        return True

    def read_artifact(self, experiment_id: str, name: str) -> bytes:
        return self._artifact(experiment_id, name, lambda folder, kept: self._blobs.read(folder, kept.sha256))

    def open_artifact(self, experiment_id: str, name: str) -> BinaryIO:
        """The artifact as a seekable file, to be closed by the caller."""
        return self._artifact(experiment_id, name, self.open_kept)

    def artifact_names(self, experiment_id: str) -> tuple[str, ...]:
        with self._database.read() as connection:
            if connection.execute(select(experiments.c.id).where(experiments.c.id == experiment_id, SHOWN)).first():
                mine = artifacts.c.experiment_id == experiment_id
                names = select(artifacts.c.name).where(mine).order_by(artifacts.c.name)
                return tuple(connection.execute(names).scalars())
        raise unknown_experiment(experiment_id)

    def kept_artifact(self, experiment_id: str, name: str) -> Kept:
        """Which content it has, without reading it. Refuses as `read_artifact` does."""
        return self._artifact(experiment_id, name, lambda _, kept: kept)

    def open_kept(self, experiment_id: str, kept: Kept) -> BinaryIO:
        """That content as a seekable file, to be closed by the caller."""
        return self._blobs.open(experiment_id, kept.sha256)

    def _artifact(self, experiment_id: str, name: str, fetch: Callable[[str, Kept], Any]) -> Any:
        this = (artifacts.c.experiment_id == experiment_id) & (artifacts.c.name == name)
        with self._database.read() as connection:
            state = connection.execute(
                select(experiments.c.state).where(experiments.c.id == experiment_id, SHOWN)
            ).scalar()
            if state is None:
                raise unknown_experiment(experiment_id)
            kept = connection.execute(
                select(artifacts.c.sha256, artifacts.c.size, artifacts.c.used_at).where(this)
            ).first()
        if kept is None:
            if state in ("queued", "running"):
                raise Refusal("not_finished", f"The experiment is {state}.")
            raise Refusal("no_result", f"The experiment {state} without {name[:80]!r}.")
        if is_view(name) and self._budget is not None:
            self._note_use(this, kept.used_at)
        return fetch(experiment_id, Kept(kept.sha256, kept.size))

    def _note_use(self, this: ColumnElement[bool], used_at: float | None) -> None:
        """What was used last goes last. Reading goes on also where nothing can be written."""
        now = self._clock()
        if used_at is None or abs(now - used_at) > _USED_AGAIN_S:
            try:
                with self._database.write() as connection:
                    connection.execute(update(artifacts).where(this).values(used_at=now))
            except Refusal:
                return

    def _kept(self, experiment_id: str, name: str, data: bytes) -> dict[str, Any]:
        digest = self._blobs.put(experiment_id, data)
        return {"experiment_id": experiment_id, "name": name, "sha256": digest, "size": len(data), "used_at": None}
