"""The life of what people ask for: experiments."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import ProblemDetails
from arithmoscope.contracts.specs import ExperimentSpec, Kind

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
# `pairs`, `sets`, `steps`: what `Progress` counts; `before` and `after` a fine-tuning its questions.
Stage = Literal["queued", "loading_model", "pairs", "sets", "before", "steps", "after", "saving", "done"]
# Whose turn comes first among those that wait.
Priority = Literal["high", "normal", "low"]

MAX_NAME = 120
MAX_NOTES = 10_000

FINAL_STATES: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


class Progress(Wire):
    """How far an experiment is: ``done`` of ``total`` pairs, inside them layer ``layer`` of ``layers``.

    A transfer counts sets of prompts instead, a fine-tuning steps, and questions before and after them.
    """

    stage: Stage = "queued"
    done: int = 0
    total: int | None = None
    layer: int | None = None
    layers: int | None = None
    eta_s: float | None = None
    queue_position: int | None = None


class StateChange(Wire):
    """The data of the SSE event ``state``, always the last of its stream."""

    state: State


class ExperimentEdit(Wire):
    """``PATCH /api/experiments/{id}``: what people write beside it. What is left out stays; ``""`` takes it away."""

    name: str | None = Field(default=None, max_length=MAX_NAME)
    notes: str | None = Field(default=None, max_length=MAX_NOTES)
    priority: Priority | None = None


class Experiment(Wire):
    """``GET /api/experiments/{id}``. ``attempt`` counts from 1 and rises when it goes back to the queue."""

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
    items: tuple[Experiment, ...]
    next_cursor: str | None
