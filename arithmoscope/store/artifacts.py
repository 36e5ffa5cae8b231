"""Artifacts: the named files of experiments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from sqlalchemy import ColumnElement, select, update

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.base import RESULT
from arithmoscope.store.base import StoreBase, unknown_experiment, upsert_rows
from arithmoscope.store.tables import NOT_DELETED, artifacts, experiments
from arithmoscope.store.views import is_view

# Granularity of `used_at`: reads within this interval are not recorded again.
_USE_RESOLUTION_S = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """The content of an artifact: its SHA-256, and its size in bytes."""

    sha256: str
    size: int


class Artifacts(StoreBase):
    """Reads and writes the artifacts of experiments that are not deleted."""

    def put_artifact(
        self, experiment_id: str, name: str, data: bytes, *, derived_from: ArtifactInfo | None = None
    ) -> bool:
        """Adds or replaces an artifact; returns False if it was dropped.

        ``derived_from``: the result that the artifact was computed from. If the experiment has another result by now
        (it has run again), the artifact is dropped.
        """
        exists = select(experiments.c.id).where(experiments.c.id == experiment_id, NOT_DELETED)
        with self._database.read() as connection:
            if connection.execute(exists).first() is None:
                raise unknown_experiment(experiment_id)
        row = self._put_blob(experiment_id, name, data)
        result = select(artifacts.c.sha256).where(
            artifacts.c.experiment_id == experiment_id, artifacts.c.name == RESULT
        )
        with self._database.write() as connection:
            # If the experiment was deleted or restarted in between, the row is not written, and garbage collection
            # removes the file.
            if connection.execute(exists.with_for_update()).first() is None:
                raise unknown_experiment(experiment_id)
            if derived_from is not None and connection.execute(result).scalar() != derived_from.sha256:
                return False
            upsert_rows(connection, artifacts, [row])
        return True

    def read_artifact(self, experiment_id: str, name: str) -> bytes:
        return self._artifact(experiment_id, name, lambda folder, info: self._blobs.read(folder, info.sha256))

    def open_artifact(self, experiment_id: str, name: str) -> BinaryIO:
        """Opens an artifact as a seekable file, which the caller closes."""
        return self._artifact(experiment_id, name, self.open_content)

    def artifact_names(self, experiment_id: str) -> tuple[str, ...]:
        with self._database.read() as connection:
            if connection.execute(
                select(experiments.c.id).where(experiments.c.id == experiment_id, NOT_DELETED)
            ).first():
                mine = artifacts.c.experiment_id == experiment_id
                names = select(artifacts.c.name).where(mine).order_by(artifacts.c.name)
                return tuple(connection.execute(names).scalars())
        raise unknown_experiment(experiment_id)

    def artifact_info(self, experiment_id: str, name: str) -> ArtifactInfo:
        """Returns an artifact's hash and size without reading its content. Raises Refusal as `read_artifact` does."""
        return self._artifact(experiment_id, name, lambda _, info: info)

    def open_content(self, experiment_id: str, info: ArtifactInfo) -> BinaryIO:
        """Opens the content that ``info`` identifies as a seekable file, which the caller closes."""
        return self._blobs.open(experiment_id, info.sha256)

    def _artifact(self, experiment_id: str, name: str, fetch: Callable[[str, ArtifactInfo], _T]) -> _T:
        this = (artifacts.c.experiment_id == experiment_id) & (artifacts.c.name == name)
        with self._database.read() as connection:
            state = connection.execute(
                select(experiments.c.state).where(experiments.c.id == experiment_id, NOT_DELETED)
            ).scalar()
            if state is None:
                raise unknown_experiment(experiment_id)
            row = connection.execute(
                select(artifacts.c.sha256, artifacts.c.size, artifacts.c.used_at).where(this)
            ).first()
        if row is None:
            if state in ("queued", "running"):
                raise Refusal("not_finished", f"The experiment is {state}.")
            raise Refusal("no_result", f"The experiment {state} without the artifact {name[:80]!r}.")
        if is_view(name) and self._budget is not None:
            self._record_use(this, row.used_at)
        return fetch(experiment_id, ArtifactInfo(row.sha256, row.size))

    def _record_use(self, this: ColumnElement[bool], used_at: float | None) -> None:
        """Updates the time of last use, by which eviction orders artifacts. A failed write does not fail the read."""
        now = self._clock()
        if used_at is None or abs(now - used_at) > _USE_RESOLUTION_S:
            try:
                with self._database.write() as connection:
                    connection.execute(update(artifacts).where(this).values(used_at=now))
            except Refusal:
                return

    def _put_blob(self, experiment_id: str, name: str, data: bytes) -> dict[str, Any]:
        """Writes the file and returns its row of `artifacts`."""
        digest = self._blobs.put(experiment_id, data)
        return {"experiment_id": experiment_id, "name": name, "sha256": digest, "size": len(data), "used_at": None}
