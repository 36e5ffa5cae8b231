"""Finished experiments that come with the program: ``experiment.json`` and the artifacts as files."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment
from arithmoscope.contracts.specs import PathPatchingSpec
from arithmoscope.store.base import Base, put_rows
from arithmoscope.store.rows import read_experiment
from arithmoscope.store.tables import artifacts, experiments
from arithmoscope.store.views import is_view

EXAMPLE_ID = "example"
_FACTS = "experiment.json"


class Bundles(Base):
    """The example that is there before anything was computed."""

    def import_bundle(self, folder: Path | str) -> Experiment:
        """The bundle as the experiment ``example``: not listed, never a submit's answer.

        Again: no change, and what was computed of it meanwhile stays. Another bundle replaces all of it.
        """
        facts, spec, files = _read(Path(folder))
        kept = [
            {
                "experiment_id": EXAMPLE_ID,
                "name": name,
                "sha256": self._blobs.put(EXAMPLE_ID, data),
                "size": len(data),
            }
            for name, data in files.items()
        ]
        row = {
            "id": EXAMPLE_ID,
            "kind": facts.kind,
            "model": spec.model,
            "spec": spec.model_dump(mode="json"),
            "key": None,
            "parent": None,
            "bundled": True,
            "state": facts.state,
            "attempt": 1,
            "fruitless": 0,
            "progress": facts.progress.model_dump(mode="json"),
            "cancel_requested": False,
            "created_at": facts.created_at.timestamp(),
            "queued_at": facts.created_at.timestamp(),
            "started_at": None if facts.started_at is None else facts.started_at.timestamp(),
            "finished_at": None if facts.finished_at is None else facts.finished_at.timestamp(),
        }
        with self._database.write() as connection:
            mine = artifacts.c.experiment_id == EXAMPLE_ID
            found = connection.execute(select(artifacts.c.name, artifacts.c.sha256).where(mine))
            known = {row.name: row.sha256 for row in found if row.name in files or not _added_later(row.name)}
            if known != {each["name"]: each["sha256"] for each in kept}:
                connection.execute(artifacts.delete().where(mine))
                put_rows(connection, experiments, [row])
                put_rows(connection, artifacts, kept)
            return read_experiment(connection, EXAMPLE_ID, self._clock())


def _added_later(name: str) -> bool:
    """Whether a worker added it when somebody looked: a view, or why it could not be computed."""
    return is_view(name) or name.endswith(".problem.json")


def _read(folder: Path) -> tuple[Experiment, PathPatchingSpec, dict[str, bytes]]:
    try:
        facts = Experiment.model_validate_json((folder / _FACTS).read_bytes())
        files = {
            path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name != _FACTS
        }
    except (OSError, ValidationError) as error:
        raise Refusal("no_result", f"{folder} holds no finished experiment.", "Point at a bundle's folder.") from error
    if facts.state != "succeeded" or not files or not isinstance(facts.spec, PathPatchingSpec):
        raise Refusal("no_result", f"{folder} holds no finished experiment.", "Point at a bundle's folder.")
    return facts, facts.spec, files
