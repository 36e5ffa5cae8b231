"""Conversion between database rows and wire models."""

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
from arithmoscope.contracts.kinds import ExperimentSpec, Kind
from arithmoscope.store.base import unknown_experiment
from arithmoscope.store.queue import QUEUE_ORDER, QueueEstimate, queue_estimate
from arithmoscope.store.tables import NOT_DELETED, experiments

_SPECS: TypeAdapter[ExperimentSpec] = TypeAdapter(ExperimentSpec)


@dataclass(frozen=True, slots=True)
class ExperimentStatus:
    """The part of an experiment that changes while it runs: cheap to read, however large its spec is."""

    kind: Kind
    state: State
    progress: Progress


_STATUS = (experiments.c.id, experiments.c.kind, experiments.c.state, experiments.c.progress)
STATUS_COLUMNS = (*_STATUS, experiments.c.deleted_at, *QUEUE_ORDER[:2])


def status_of(row: RowMapping, outlook: QueueEstimate) -> ExperimentStatus:
    return ExperimentStatus(row["kind"], row["state"], _progress_of(row, outlook))


def _progress_of(row: RowMapping, outlook: QueueEstimate) -> Progress:
    progress = Progress.model_validate(row["progress"])
    if outlook.position is None:
        return progress
    return progress.model_copy(update={"queue_position": outlook.position, "eta_s": outlook.eta_s})


def read_experiment(connection: Connection, experiment_id: str, now: float) -> Experiment:
    """Reads one experiment. Raises Refusal (`unknown_experiment`) if it does not exist or was deleted."""
    row = (
        connection.execute(select(experiments).where(experiments.c.id == experiment_id, NOT_DELETED)).mappings().first()
    )
    if row is None:
        raise unknown_experiment(experiment_id)
    return experiment_of(row, queue_estimate(connection, row, now))


def experiment_of(row: RowMapping, outlook: QueueEstimate) -> Experiment:
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


# The broker's scale: 0 is the highest.
PRIORITIES: dict[Priority, int] = {"high": 3, "normal": 5, "low": 7}


def priority_of(stored: int) -> Priority:
    for name, number in PRIORITIES.items():
        if stored <= number:
            return name
    return "low"


def spec_of(stored: Any) -> ExperimentSpec:
    return _SPECS.validate_python(stored)


def next_cursor(row: RowMapping) -> str:
    """The opaque cursor of the page after ``row``."""
    return base64.urlsafe_b64encode(json.dumps([row["created_at"], row["id"]]).encode()).decode()


def after_cursor(cursor: str) -> ColumnElement[bool]:
    """Condition: rows after the cursor. Raises Refusal if the cursor is not one that `next_cursor` made."""
    try:
        decoded = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError as error:
        raise _bad_cursor() from error
    match decoded:
        case [float(created_at), str(row_id)] if (
            math.isfinite(created_at) and row_id.isascii() and row_id.isprintable()
        ):
            pass
        case _:
            raise _bad_cursor()
    created_column, id_column = experiments.c.created_at, experiments.c.id
    return or_(created_column < created_at, and_(created_column == created_at, id_column < row_id))


def check_storable_text(text: str) -> None:
    """Raises Refusal (`bad_request`) for text that not every database can store."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Refusal("bad_request", "The text contains a character that cannot be stored.", "Remove it and try again.")


def _bad_cursor() -> Refusal:
    return Refusal("bad_request", "The cursor was not issued by this list.", "Start again without a cursor.")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
