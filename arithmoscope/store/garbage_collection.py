"""Garbage collection: removes unreferenced files, expired deletions and, over budget, recomputable artifacts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select

from arithmoscope.store.base import StoreBase
from arithmoscope.store.blobs import StoredFile
from arithmoscope.store.disk_quota import recomputable, stored_bytes
from arithmoscope.store.submissions import UNDO_S
from arithmoscope.store.tables import artifacts, chunks, experiments, models, owner, used_links

logger = logging.getLogger(__name__)

# A file without a row may be about to get one.
_UNREFERENCED_S = 3_600.0
# File times are coarse, and a service has its own clock.
_FILE_TIME_SKEW_S = 5.0
# Longer than the lifetime of any login link.
_KEEP_USED_LINKS_S = 30 * 86_400.0
# Files whose experiments are queried at once.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Collected:
    """Counts of what was removed: files (with their bytes) and deleted experiments."""

    files: int = 0
    bytes: int = 0
    experiments: int = 0

    def __add__(self, other: Collected) -> Collected:
        return Collected(self.files + other.files, self.bytes + other.bytes, self.experiments + other.experiments)


class GarbageCollector(StoreBase):
    """Any number of processes may collect concurrently with everything else."""

    def collect_garbage(self) -> Collected:
        """Removes everything that is no longer needed; never a result of an experiment that is not deleted."""
        # First the steps that write nothing to the database: the disk may be full.
        collected = self._remove_unreferenced()
        collected += self.make_room()
        with self._database.write() as connection:
            connection.execute(used_links.delete().where(used_links.c.used_at < self._clock() - _KEEP_USED_LINKS_S))
        return collected

    def make_room(self) -> Collected:
        """Removes experiments deleted more than `UNDO_S` seconds ago; over budget also recomputable artifacts, and then
        recently deleted experiments. Fast: lists no files."""
        collected = Collected()
        for experiment_id in self._deleted(experiments.c.deleted_at <= self._clock() - UNDO_S):
            collected += self._remove_deleted(experiment_id)
        if self._budget is None:
            return collected
        for evict in (self._evict_views, self._evict_deleted):
            collected += evict(self._budget)
        return collected

    def _excess_bytes(self, budget: int) -> int:
        with self._database.read() as connection:
            return stored_bytes(connection) - budget

    def _evict_views(self, budget: int) -> Collected:
        """Evicts recomputable artifacts, the least recently used first."""
        collected = Collected()
        last_used = func.coalesce(artifacts.c.used_at, experiments.c.finished_at, 0.0)
        query = select(artifacts).join_from(artifacts, experiments).where(recomputable()).order_by(last_used)
        # Both in one snapshot: another process may be evicting, too.
        with self._database.read() as connection:
            over = stored_bytes(connection) - budget
            candidates: Sequence[Row[Any]] = connection.execute(query).all() if over > 0 else []
        for row in candidates:
            if over <= 0:
                break
            this = (
                artifacts.c.experiment_id == row.experiment_id,
                artifacts.c.name == row.name,
                artifacts.c.sha256 == row.sha256,
            )
            # A concurrent put of the same file refreshes its time, which protects it.
            before = self._clock() - _FILE_TIME_SKEW_S
            with self._database.write() as connection:
                deleted = connection.execute(artifacts.delete().where(*this)).rowcount
            path = f"{row.experiment_id}/{row.sha256}"
            if deleted and row.sha256 not in self._referenced(row.experiment_id):
                removed = self._blobs.remove_if_older(path, before)
                collected += Collected(int(removed), row.size if removed else 0)
            over -= row.size  # also if another process evicted it first
        return collected

    def _evict_deleted(self, budget: int) -> Collected:
        collected = Collected()
        for experiment_id in self._deleted(experiments.c.deleted_at.is_not(None)):
            if self._excess_bytes(budget) <= 0:
                break
            collected += self._remove_deleted(experiment_id)
        return collected

    def _deleted(self, condition: ColumnElement[bool]) -> list[str]:
        with self._database.read() as connection:
            query = select(experiments.c.id).where(condition).order_by(experiments.c.deleted_at)
            return list(connection.execute(query).scalars())

    def _remove_deleted(self, experiment_id: str) -> Collected:
        this = experiments.c.id == experiment_id
        with self._database.write() as connection:
            sizes = [
                size
                for table in (artifacts, chunks)
                for size in connection.execute(
                    select(table.c.size).where(table.c.experiment_id == experiment_id)
                ).scalars()
            ]
            # It may have been restored in this moment.
            if not connection.execute(experiments.delete().where(this, experiments.c.deleted_at.is_not(None))).rowcount:
                return Collected()
            connection.execute(models.delete().where(models.c.card["experiment"].as_string() == experiment_id))
        self._blobs.remove(experiment_id)
        return Collected(len(sizes), sum(sizes), 1)

    def _remove_unreferenced(self) -> Collected:
        """Removes files that no row references, an hour after they were written."""
        with self._database.read() as connection:
            owner_id = connection.execute(select(owner.c.id)).scalar_one()
        if not self._blobs.claim_ownership(owner_id):
            logger.warning("the artifacts belong to another database: no file is removed")
            return Collected()
        cutoff = self._clock() - _UNREFERENCED_S
        collected = Collected()
        # Files are listed before rows are read, so a reference added in between is seen.
        for batch in _batches(file for file in self._blobs.files() if file.written_at < cutoff):
            references = self._references_of({file.folder for file in batch})
            for file in batch:
                referenced = references.get(file.folder, frozenset())
                if referenced is None or file.digest in referenced:
                    continue
                if self._blobs.remove_if_older(file.path, cutoff):
                    collected += Collected(1, file.size)
        return collected

    def _references_of(self, ids: set[str]) -> dict[str, frozenset[str] | None]:
        """The digests that each experiment references; None: it is unfinished and may reference any of its files."""
        references: dict[str, frozenset[str] | None] = {}
        with self._database.read() as connection:
            states = select(experiments.c.id, experiments.c.state).where(experiments.c.id.in_(ids))
            unfinished = {row.id: row.state in ("queued", "running") for row in connection.execute(states)}
        for experiment_id, is_unfinished in unfinished.items():
            references[experiment_id] = None if is_unfinished else self._referenced(experiment_id)
        return references

    def _referenced(self, experiment_id: str) -> frozenset[str]:
        with self._database.read() as connection:
            return frozenset(
                digest
                for table in (artifacts, chunks)
                for digest in connection.execute(
                    select(table.c.sha256).where(table.c.experiment_id == experiment_id)
                ).scalars()
            )


def _batches(files: Iterator[StoredFile]) -> Iterator[list[StoredFile]]:
    batch: list[StoredFile] = []
    for file in files:
        batch.append(file)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
