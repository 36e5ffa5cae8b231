"""Rows as the values that everyone else knows."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select

from arithmoscope.contracts.errors import ProblemDetails, Refusal
from arithmoscope.contracts.experiments import Experiment, Priority, Progress, State
from arithmoscope.contracts.specs import ExperimentSpec, Kind
from arithmoscope.store.base import unknown_experiment
from arithmoscope.store.queue import PLACE, Outlook, outlook_of
from arithmoscope.store.tables import SHOWN, experiments

_SPECS: TypeAdapter[ExperimentSpec] = TypeAdapter(ExperimentSpec)


@dataclass(frozen=True, slots=True)
class Glance:
    """What changes of an experiment while it runs: cheap to read, however large its spec is."""

    kind: Kind
    state: State
    progress: Progress


_SEEN = (experiments.c.id, experiments.c.kind, experiments.c.state, experiments.c.progress)
GLANCE = (*_SEEN, experiments.c.deleted_at, *PLACE[:2])


def glance_of(row: RowMapping, outlook: Outlook) -> Glance:
    return Glance(row["kind"], row["state"], _progress_of(row, outlook))


def _progress_of(row: RowMapping, outlook: Outlook) -> Progress:
    progress = Progress.model_validate(row["progress"])
    if outlook.position is None:
        return progress
    return progress.model_copy(update={"queue_position": outlook.position, "eta_s": outlook.eta_s})


def read_experiment(connection: Connection, experiment_id: str, now: float) -> Experiment:
    """Refuses (``unknown_experiment``) an id that is not there, or was deleted."""
    row = connection.execute(select(experiments).where(experiments.c.id == experiment_id, SHOWN)).mappings().first()
    if row is None:
        raise unknown_experiment(experiment_id)
    return experiment_of(row, outlook_of(connection, row, now))


def experiment_of(row: RowMapping, outlook: Outlook) -> Experiment:
    return Experiment(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        notes=row["notes"],
        priority=priority_of(row["priority"]),
        attempt=row["attempt"],
        spec=spec_of(row["spec"]),
        state=row["state"],
        progress=_progress_of(row, outlook),
        cancel_requested=row["cancel_requested"],
        parent=row["parent"],
        error=None if row["error"] is None else ProblemDetails.model_validate(row["error"]),
        created_at=_moment(row["created_at"]),
        started_at=None if row["started_at"] is None else _moment(row["started_at"]),
        finished_at=None if row["finished_at"] is None else _moment(row["finished_at"]),
        deleted_at=None if row["deleted_at"] is None else _moment(row["deleted_at"]),
    )


# As the broker counts them: 0 is the highest.
PRIORITIES: dict[Priority, int] = {"high": 3, "normal": 5, "low": 7}


def priority_of(stored: int) -> Priority:
    for name, number in PRIORITIES.items():
        if stored <= number:
            return name
    return "low"


def spec_of(stored: Any) -> ExperimentSpec:
    return _SPECS.validate_python(stored)


def cursor_after(row: RowMapping) -> str:
    """Where the next page begins, opaque to the reader."""
    return base64.urlsafe_b64encode(json.dumps([row["created_at"], row["id"]]).encode()).decode()


def older_than(cursor: str) -> ColumnElement[bool]:
    """The rows of the next page. Refuses a cursor that was never handed out."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError as error:
        raise _bad_cursor() from error
    match found:
        case [float(created_at), str(row_id)] if (
            math.isfinite(created_at) and row_id.isascii() and row_id.isprintable()
        ):
            pass
        case _:
            raise _bad_cursor()
    created, name = experiments.c.created_at, experiments.c.id
    return or_(created < created_at, and_(created == created_at, name < row_id))


def refuse_unwritable(words: str) -> None:
    """Refuses (``bad_request``) text that not every database can keep."""
    if "\0" in words or any("\ud800" <= letter <= "\udfff" for letter in words):
        raise Refusal("bad_request", "The text holds a character that cannot be kept.", "Type the text again.")


def _bad_cursor() -> Refusal:
    return Refusal("bad_request", "The cursor is not one that a list gave.", "Begin again without a cursor.")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
