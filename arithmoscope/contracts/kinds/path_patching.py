"""Path patching: the exact effect of every head and MLP on the answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.base import BINARY, Artifact, ExperimentKind, canonical_prompts, without_defaults
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.results import (
    SCHEMA_VERSION,
    Checks,
    DroppedPair,
    MetricResult,
    ModelFacts,
    PairResult,
    Provenance,
)
from arithmoscope.contracts.terms import DEFAULT_METRICS, Direction, Effect, Metric, Positions, Source


def refuse_impossible(
    effect: Effect, positions: Positions, source: Source, direction: Direction, *, single_pair: bool = False
) -> None:
    """Raises Refusal (``impossible_options``) if the options exclude each other. ``single_pair``: there is one prompt
    pair only."""
    if positions == "all" and effect != "total":
        raise Refusal(
            "impossible_options",
            "Positions 'all' needs the effect 'total': the other effects follow the last position alone.",
            "Choose the effect 'total', or positions 'end'.",
        )
    if direction == "denoising" and source != "counterfactual":
        raise Refusal(
            "impossible_options",
            "Direction 'denoising' needs the source 'counterfactual': it restores parts of that run.",
            "Choose the source 'counterfactual', or the direction 'noising'.",
        )
    if single_pair and source in ("mean", "resample"):
        raise Refusal(
            "impossible_options",
            f"The source {source!r} needs several prompts: with one there is no other prompt to take activations from.",
            "Use a set of prompts, or choose the source 'counterfactual' or 'zero'.",
        )


class PathPatchingSpec(Wire):
    """Path patching: the exact effect of every head and MLP on the answer."""

    kind: Literal["path_patching"]
    model: str = Field(min_length=1, max_length=200)
    effect: Effect = Field(
        default="through_mlps", description="Paths to the output: direct, also through later MLPs, or all (total)"
    )
    positions: Positions = Field(
        default="end", description="Patched positions: the last one, or all (needs the effect total)"
    )
    source: Source = Field(
        default="counterfactual",
        description="Origin of the patched-in activations; mean and resample need several pairs",
    )
    direction: Direction = Field(
        default="noising",
        description="noising takes the reference's activations away; denoising puts them into the counterfactual run",
    )
    prompts: PromptsSpec
    metrics: tuple[Metric, ...] = Field(
        default=DEFAULT_METRICS,
        min_length=1,
        max_length=4,
        description="logit: change of the answer's logit. relative_logit: percent of the |reference logit|. "
        "logit_difference: against the best other number token. probability: needs a full unembedding",
    )

    @field_validator("metrics")
    @classmethod
    def _distinct(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        if len(set(metrics)) < len(metrics):
            raise ValueError("metrics must not repeat")
        return metrics

    @model_validator(mode="after")
    def _possible(self) -> PathPatchingSpec:
        pairs = self.prompts.pairs
        n_pairs = pairs if isinstance(pairs, int) else len(pairs)
        try:
            refuse_impossible(self.effect, self.positions, self.source, self.direction, single_pair=n_pairs == 1)
        except Refusal as refusal:
            # The code and the way out survive inside the validation error, for the API and the CLI to report.
            context = {"detail": refusal.detail, "way_out": refusal.way_out}
            raise PydanticCustomError(refusal.code, "{detail}", context) from None  # pyright: ignore[reportArgumentType]
        return self


class PathPatchingResult(Wire):
    """Answer of ``GET /api/experiments/{id}/result`` for path patching.

    ``complete`` is false if a cancellation cut the set short. ``spec`` holds effect, positions, source and direction.
    Effects are patched - reference; with direction ``denoising``, which puts the reference's activations into the
    counterfactual run, they are patched - counterfactual.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["path_patching"] = "path_patching"
    spec: PathPatchingSpec
    effect: Effect
    model: ModelFacts
    complete: bool
    n_asked: int
    n_distinct: int
    n_correct: int
    notes: tuple[str, ...]
    pairs: tuple[PairResult, ...]
    dropped: tuple[DroppedPair, ...]
    attention_pairs: tuple[int, ...] = ()  # pairs whose attention patterns are stored
    metrics: dict[Metric, MetricResult]
    checks: Checks
    provenance: Provenance


# Options of later versions: a spec that leaves them at their defaults keeps the key that it had before.
_LATER_OPTIONS = {"positions": "end", "source": "counterfactual", "direction": "noising"}


def _canonical(_spec: PathPatchingSpec, plain: dict[str, Any]) -> None:
    plain["metrics"].sort()
    without_defaults(plain, _LATER_OPTIONS)
    canonical_prompts(plain["prompts"])


KIND = ExperimentKind(
    name="path_patching",
    title="Analysis",
    help="find the components whose outputs the answer depends on (path patching)",
    spec=PathPatchingSpec,
    result=PathPatchingResult,
    artifacts=(
        Artifact(
            "arrays.npz",
            BINARY,
            "The raw arrays, for numpy.load",
            "Returns the effects of every pair, the kept pairs' indices in the submitted list, and the logits. 409 for "
            "other kinds of experiment.",
            save_as=".npz",
        ),
    ),
    canonical=_canonical,
)
