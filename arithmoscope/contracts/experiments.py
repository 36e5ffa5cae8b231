"""Experiments: state, progress, labels and lists."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import ProblemDetails
from arithmoscope.contracts.kinds import ExperimentSpec, Kind
from arithmoscope.contracts.options import Choice

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATE_CHOICES: dict[State, Choice] = {
    "queued": Choice("queued", "waits for a worker"),
    "running": Choice("running", "is computed now"),
    "succeeded": Choice("done", "has a result"),
    "failed": Choice("failed", "ended with an error"),
    "cancelled": Choice("cancelled", "was stopped by a user"),
}
# `pairs`, `sets` and `steps` name the unit that `Progress` counts; `before` and `after` are the evaluations of a
# fine-tuning, counted in questions.
Stage = Literal["queued", "loading_model", "pairs", "sets", "before", "steps", "after", "saving", "done"]
# Order in the queue.
Priority = Literal["high", "normal", "low"]
PRIORITY_CHOICES: dict[Priority, Choice] = {
    "high": Choice("high", "before all others that wait"),
    "normal": Choice("normal", "in the order of submission"),
    "low": Choice("low", "after all others that wait"),
}

MAX_NAME = 120
MAX_NOTES = 10_000

FINAL_STATES: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


class Progress(Wire):
    """Progress of an experiment: ``done`` of ``total`` pairs and, within them, layer ``layer`` of ``layers``.

    A transfer counts prompt sets instead of pairs; a fine-tuning counts steps, and questions in the evaluations before
    and after them.
    """

    stage: Stage = "queued"
    done: int = 0
    total: int | None = None
    layer: int | None = None
    layers: int | None = None
    eta_s: float | None = Field(default=None, description="Estimated time left, in seconds")
    queue_position: int | None = Field(default=None, description="Place in the queue, from 0, while it waits")


class StateChange(Wire):
    """Data of the SSE event ``state``, always the last event of its stream."""

    state: State


class ExperimentEdit(Wire):
    """Body of ``PATCH /api/experiments/{id}``: name, notes and priority. An omitted field keeps its value; ``""``
    clears it."""

    name: str | None = Field(default=None, max_length=MAX_NAME)
    notes: str | None = Field(default=None, max_length=MAX_NOTES)
    priority: Priority | None = None


class Experiment(Wire):
    """Answer of ``GET /api/experiments/{id}``. ``attempt`` counts from 1 and rises each time the experiment is queued
    again."""

    id: str
    kind: Kind
    name: str = ""
    notes: str = ""
    priority: Priority = "normal"
    attempt: int = 1
    spec: ExperimentSpec
    state: State
    progress: Progress
    cancel_requested: bool
    parent: str | None
    error: ProblemDetails | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deleted_at: datetime | None = None


class ExperimentList(Wire):
    """One page of experiments, newest first; ``next_cursor`` is None on the last page."""

    items: tuple[Experiment, ...]
    next_cursor: str | None
