"""Finished experiments shipped with the program: ``experiment.json`` and the artifacts as files."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.store.base import StoreBase, upsert_rows
from arithmoscope.store.rows import read_experiment
from arithmoscope.store.tables import artifacts, experiments
from arithmoscope.store.views import is_view

EXAMPLE_ID = "example"
_EXPERIMENT_FILE = "experiment.json"


class BundledExperiments(StoreBase):
    """Imports the example that is available before anything was computed."""

    def import_bundle(self, folder: Path | str) -> Experiment:
        """Imports a bundle as the experiment ``example``: not listed, never the result of a submission.

        Importing the same bundle again changes nothing and keeps views computed since; another bundle replaces all.
        """
        experiment, spec, files = _read(Path(folder))
        rows = [
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
            "kind": experiment.kind,
            "model": spec.model,
            "spec": spec.model_dump(mode="json"),
            "key": None,
            "parent": None,
            "bundled": True,
            "state": experiment.state,
            "attempt": 1,
            "fruitless": 0,
            "progress": experiment.progress.model_dump(mode="json"),
            "cancel_requested": False,
            "created_at": experiment.created_at.timestamp(),
            "queued_at": experiment.created_at.timestamp(),
            "started_at": None if experiment.started_at is None else experiment.started_at.timestamp(),
            "finished_at": None if experiment.finished_at is None else experiment.finished_at.timestamp(),
        }
        with self._database.write() as connection:
            mine = artifacts.c.experiment_id == EXAMPLE_ID
            stored = connection.execute(select(artifacts.c.name, artifacts.c.sha256).where(mine))
            known = {row.name: row.sha256 for row in stored if row.name in files or not _added_later(row.name)}
            if known != {each["name"]: each["sha256"] for each in rows}:
                connection.execute(artifacts.delete().where(mine))
                upsert_rows(connection, experiments, [row])
                upsert_rows(connection, artifacts, rows)
            return read_experiment(connection, EXAMPLE_ID, self._clock())


def _added_later(name: str) -> bool:
    """Returns whether a worker added the artifact on demand: a view, or the reason for its absence."""
    return is_view(name) or name.endswith(".problem.json")


def _read(folder: Path) -> tuple[Experiment, PathPatchingSpec, dict[str, bytes]]:
    try:
        experiment = Experiment.model_validate_json((folder / _EXPERIMENT_FILE).read_bytes())
        files = {
            path.name: path.read_bytes()
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name != _EXPERIMENT_FILE
        }
    except (OSError, ValidationError) as error:
        raise Refusal(
            "no_result", f"{folder} contains no finished experiment.", "Point at a bundle's folder."
        ) from error
    if experiment.state != "succeeded" or not files or not isinstance(experiment.spec, PathPatchingSpec):
        raise Refusal("no_result", f"{folder} contains no finished experiment.", "Point at a bundle's folder.")
    return experiment, experiment.spec, files
