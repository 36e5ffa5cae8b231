"""Throws away what nothing refers to, and what can be computed again when there is no room for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select

from arithmoscope.store.base import Base
from arithmoscope.store.blobs import StoredFile
from arithmoscope.store.disk_quota import computed_again, kept_bytes
from arithmoscope.store.submissions import UNDO_S
from arithmoscope.store.tables import artifacts, chunks, experiments, models, owner, used_links

logger = logging.getLogger(__name__)

# A file without a row may be one that is about to be named.
_UNNAMED_S = 3_600.0
# Files tell their time in steps, and a service by a clock of its own.
_FILES_DIFFER_S = 5.0
# Longer than any link lives.
_FORGET_LINKS_S = 30 * 86_400.0
# Experiments whose files are asked for at once.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Collected:
    """What was thrown away: files (with their bytes), and experiments that had been deleted."""

    files: int = 0
    bytes: int = 0
    experiments: int = 0

    def __add__(self, other: Collected) -> Collected:
        return Collected(self.files + other.files, self.bytes + other.bytes, self.experiments + other.experiments)


class Garbage(Base):
    """Any number of processes may do this at once, beside everything else."""

    def collect_garbage(self) -> Collected:
        """All that is not wanted any more; never a result of an experiment that is not deleted."""
        # First what needs no writing to the database: the disk may be full.
        collected = self._remove_unnamed()
        collected += self.make_room()
        with self._database.write() as connection:
            connection.execute(used_links.delete().where(used_links.c.used_at < self._clock() - _FORGET_LINKS_S))
        return collected

    def make_room(self) -> Collected:
        """Ends what was deleted long enough ago; over the budget also what can be computed again, and then what
        was deleted lately. Quick: looks at no files."""
        collected = Collected()
        for experiment_id in self._deleted(experiments.c.deleted_at <= self._clock() - UNDO_S):
            collected += self._remove_deleted(experiment_id)
        if self._budget is None:
            return collected
        for way in (self._give_up_views, self._give_up_deleted):
            collected += way(self._budget)
        return collected

    def _over(self, budget: int) -> int:
        with self._database.read() as connection:
            return kept_bytes(connection) - budget

    def _give_up_views(self, budget: int) -> Collected:
        """What nobody has looked at for longest goes first."""
        collected = Collected()
        last_used = func.coalesce(artifacts.c.used_at, experiments.c.finished_at, 0.0)
        query = select(artifacts).join_from(artifacts, experiments).where(computed_again()).order_by(last_used)
        # Both of one moment: another keeper may be at it.
        with self._database.read() as connection:
            over = kept_bytes(connection) - budget
            candidates = connection.execute(query).all() if over > 0 else []
        for row in candidates:
            if over <= 0:
                break
            this = (
                artifacts.c.experiment_id == row.experiment_id,
                artifacts.c.name == row.name,
                artifacts.c.sha256 == row.sha256,
            )
            # Whoever puts the same file again from now on needs it.
            before = self._clock() - _FILES_DIFFER_S
            with self._database.write() as connection:
                gone = connection.execute(artifacts.delete().where(*this)).rowcount
            path = f"{row.experiment_id}/{row.sha256}"
            if gone and row.sha256 not in self._named(row.experiment_id):
                removed = self._blobs.remove_if_older(path, before)
                collected += Collected(int(removed), row.size if removed else 0)
            over -= row.size  # also when another keeper was quicker
        return collected

    def _give_up_deleted(self, budget: int) -> Collected:
        collected = Collected()
        for experiment_id in self._deleted(experiments.c.deleted_at.is_not(None)):
            if self._over(budget) <= 0:
                break
            collected += self._remove_deleted(experiment_id)
        return collected

    def _deleted(self, those: ColumnElement[bool]) -> list[str]:
        with self._database.read() as connection:
            query = select(experiments.c.id).where(those).order_by(experiments.c.deleted_at)
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
            # It may have been brought back in this moment.
            if not connection.execute(experiments.delete().where(this, experiments.c.deleted_at.is_not(None))).rowcount:
                return Collected()
            connection.execute(models.delete().where(models.c.card["experiment"].as_string() == experiment_id))
        self._blobs.remove(experiment_id)
        return Collected(len(sizes), sum(sizes), 1)

    def _remove_unnamed(self) -> Collected:
        """Files that no row names, an hour after they were written."""
        with self._database.read() as connection:
            name = connection.execute(select(owner.c.id)).scalar_one()
        if not self._blobs.belong_to(name):
            logger.warning("the artifacts belong to another database: none of them is thrown away")
            return Collected()
        old = self._clock() - _UNNAMED_S
        collected = Collected()
        # First the files, then the rows: what is named in between is seen to be.
        for batch in _batches(file for file in self._blobs.files() if file.written_at < old):
            wanted = self._wanted({file.folder for file in batch})
            for file in batch:
                named = wanted.get(file.folder, frozenset())
                if named is None or file.digest in named:
                    continue
                if self._blobs.remove_if_older(file.path, old):
                    collected += Collected(1, file.size)
        return collected

    def _wanted(self, ids: set[str]) -> dict[str, frozenset[str] | None]:
        """The digests that each experiment names; None: it is at work, and may name any of its files."""
        found: dict[str, frozenset[str] | None] = {}
        with self._database.read() as connection:
            states = select(experiments.c.id, experiments.c.state).where(experiments.c.id.in_(ids))
            at_work = {row.id: row.state in ("queued", "running") for row in connection.execute(states)}
        for experiment_id, busy in at_work.items():
            found[experiment_id] = None if busy else self._named(experiment_id)
        return found

    def _named(self, experiment_id: str) -> frozenset[str]:
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
