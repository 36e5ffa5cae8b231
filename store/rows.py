"""Rows as the values that everyone else knows."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, RowMapping, and_, case, func, or_, select

from contracts.errors import ProblemDetails, Refusal
from contracts.experiments import Experiment, ExperimentSpec, Priority, Progress, State
from store.tables import experiments

_SPECS: TypeAdapter[ExperimentSpec] = TypeAdapter(ExperimentSpec)


def _ahead() -> ColumnElement[int | None]:
    earlier = experiments.alias("earlier")
    count = (
        select(func.count())
        .select_from(earlier)
        .where(
            earlier.c.state == "queued",
            or_(
                earlier.c.queued_at < experiments.c.queued_at,
                and_(earlier.c.queued_at == experiments.c.queued_at, earlier.c.id < experiments.c.id),
            ),
        )
        .correlate(experiments)
        .scalar_subquery()
    )
    return case((experiments.c.state == "queued", count))


# What a reader of an experiment sees; `ahead` is how many wait before it.
VIEW = (*experiments.c, _ahead().label("ahead"))


@dataclass(frozen=True, slots=True)
class Glance:
    """What changes of an experiment while it runs: cheap to read, however large its spec is."""

    state: State
    progress: Progress


GLANCE = (experiments.c.state, experiments.c.progress, _ahead().label("ahead"))


def glance_of(row: RowMapping) -> Glance:
    return Glance(row["state"], _progress_of(row))


def _progress_of(row: RowMapping) -> Progress:
    return Progress.model_validate(row["progress"]).model_copy(update={"queue_position": row["ahead"]})


def experiment_of(row: RowMapping) -> Experiment:
    return Experiment(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        notes=row["notes"],
        priority=priority_of(row["priority"]),
        attempt=row["attempt"],
        spec=spec_of(row["spec"]),
        state=row["state"],
        progress=_progress_of(row),
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
    return next((name for name, number in PRIORITIES.items() if number >= stored), "low")


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
        case [float(created_at), str(row_id)] if math.isfinite(created_at) and row_id.isascii():
            pass
        case _:
            raise _bad_cursor()
    created, name = experiments.c.created_at, experiments.c.id
    return or_(created < created_at, and_(created == created_at, name < row_id))


def _bad_cursor() -> Refusal:
    return Refusal("bad_request", "The cursor is not one that a list gave.", "Begin again without a cursor.")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
