"""What people ask for (specs), and the life of what they asked for (experiments)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from contracts.errors import ProblemDetails, Refusal
from contracts.prompts import PromptsSpec
from contracts.wire import Wire

Effect = Literal["direct", "through_mlps", "total"]
Positions = Literal["end", "all"]
Source = Literal["counterfactual", "zero", "mean", "resample"]
Direction = Literal["noising", "denoising"]
Metric = Literal["logit", "relative_logit", "logit_difference", "probability"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Stage = Literal["queued", "loading_model", "pairs", "saving", "done"]
Kind = Literal["path_patching"]
# Whose turn comes first among those that wait.
Priority = Literal["high", "normal", "low"]

MAX_NAME = 120
MAX_NOTES = 10_000

DEFAULT_METRICS: tuple[Metric, ...] = ("logit", "relative_logit", "logit_difference")
FINAL_STATES: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})

# Part of an experiment's key: raise it when the same spec gives other numbers than before.
METHOD_VERSION = 1


def refuse_impossible(
    effect: Effect, positions: Positions, source: Source, direction: Direction, *, alone: bool = False
) -> None:
    """Refuses (``impossible_options``) what does not go together. ``alone``: there is one pair of prompts only."""
    if positions == "all" and effect != "total":
        raise Refusal(
            "impossible_options",
            "Positions 'all' needs the effect 'total': the others follow the last position alone.",
            "Choose the effect 'total', or positions 'end'.",
        )
    if direction == "denoising" and source != "counterfactual":
        raise Refusal(
            "impossible_options",
            "Direction 'denoising' needs the source 'counterfactual': it restores parts of that run.",
            "Choose the source 'counterfactual', or the direction 'noising'.",
        )
    if alone and source in ("mean", "resample"):
        raise Refusal(
            "impossible_options",
            f"The source {source!r} needs several prompts: there is nothing else to take from than the prompt itself.",
            "Ask a set of prompts, or choose the source 'counterfactual' or 'zero'.",
        )


class PathPatchingSpec(Wire):
    """Which heads and MLPs carry the answer: every component's effect, exactly."""

    kind: Literal["path_patching"]
    model: str = Field(min_length=1, max_length=200)
    effect: Effect = "through_mlps"
    positions: Positions = "end"
    source: Source = "counterfactual"
    direction: Direction = "noising"
    prompts: PromptsSpec
    metrics: tuple[Metric, ...] = Field(default=DEFAULT_METRICS, min_length=1, max_length=4)

    @field_validator("metrics")
    @classmethod
    def _distinct(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        if len(set(metrics)) < len(metrics):
            raise ValueError("metrics must not repeat")
        return metrics

    @model_validator(mode="after")
    def _possible(self) -> PathPatchingSpec:
        asked = self.prompts.pairs
        alone = (asked if isinstance(asked, int) else len(asked)) == 1
        try:
            refuse_impossible(self.effect, self.positions, self.source, self.direction, alone=alone)
        except Refusal as refusal:
            # Its code and its way out survive a validation error, for the door to say.
            said = {"detail": refusal.detail, "way_out": refusal.way_out}
            raise PydanticCustomError(refusal.code, "{detail}", said) from None  # pyright: ignore[reportArgumentType]
        return self


# A union on `kind` as soon as there is a second kind.
ExperimentSpec = PathPatchingSpec


class Progress(Wire):
    """How far an experiment is: ``done`` of ``total`` pairs, inside them layer ``layer`` of ``layers``."""

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


# Options that came later: a question that leaves them as they were has the key that it had before.
_LATER = {"positions": "end", "source": "counterfactual", "direction": "noising"}
_LATER_OF_PROMPTS = {
    "chat": False,
    "topic": "question",
    "wording": "plain",
    "numerals": "digits",
    "decimals": 0,
    "answer": "whole",
}


def experiment_key(spec: ExperimentSpec, *, revision: str, dtype: str, device_kind: str) -> str:
    """The same question has the same key: SHA-256 of the canonical spec and of what else moves the numbers."""
    plain = spec.model_dump(mode="json")
    prompts = plain["prompts"]
    # Lists whose order moves nothing.
    for owner, name in ((plain, "metrics"), (prompts, "operations"), (prompts, "styles")):
        if name in owner:
            owner[name].sort()
    # A way to make counterfactuals moves nothing where each was given.
    if prompts["source"] == "custom" and all(pair["counterfactual"] is not None for pair in prompts["pairs"]):
        prompts["corruption"] = "null_operator"
    for owner, later in ((plain, _LATER), (prompts, _LATER_OF_PROMPTS)):
        for name, default in later.items():
            if owner.get(name) == default:
                owner.pop(name)
    asked = [plain, revision, METHOD_VERSION, dtype, device_kind]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
