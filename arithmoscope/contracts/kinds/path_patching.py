"""Path patching: the exact effect of every head and MLP on the answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds.base import (
    BINARY,
    Artifact,
    ExperimentKind,
    canonical_prompts,
    without_defaults,
)
from arithmoscope.contracts.options import Exclusion, possible, refuse_excluded
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
from arithmoscope.contracts.terms import (
    DEFAULT_METRICS,
    MAX_MODEL_ID,
    METRIC_CHOICES,
    Direction,
    Effect,
    Metric,
    Positions,
    Source,
)

# In the order in which they are checked.
EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "positions",
        ("all",),
        {"effect": ("total",)},
        "needs the total effect",
        "Positions 'all' needs the effect 'total': the other effects follow the last position alone.",
        "Choose the effect 'total', or positions 'end'.",
    ),
    Exclusion(
        "direction",
        ("denoising",),
        {"source": ("counterfactual",)},
        "needs the counterfactual",
        "Direction 'denoising' needs the source 'counterfactual': it restores parts of that run.",
        "Choose the source 'counterfactual', or the direction 'noising'.",
    ),
    Exclusion(
        "source",
        ("mean", "resample"),
        {"several_prompts": (True,)},
        "needs several prompts",
        "The source '{source}' needs several prompts: with one there is no other prompt to take activations from.",
        "Use a set of prompts, or choose the source 'counterfactual' or 'zero'.",
    ),
)


def refuse_impossible(
    effect: Effect, positions: Positions, source: Source, direction: Direction, *, single_pair: bool = False
) -> None:
    """Raises Refusal (``impossible_options``) if the options exclude each other. ``single_pair``: there is one prompt
    pair only."""
    options = {"effect": effect, "positions": positions, "source": source, "direction": direction}
    refuse_excluded(EXCLUSIONS, {**options, "several_prompts": not single_pair})


class PathPatchingSpec(Wire):
    """Path patching: the exact effect of every head and MLP on the answer."""

    kind: Literal["path_patching"] = Field(title="Kind", description="Kind of experiment")
    model: str = Field(
        min_length=1, max_length=MAX_MODEL_ID, title="Model", description="Id of the model, as in the list of models"
    )
    effect: Effect = Field(
        default="through_mlps", title="Effect", description="Paths from a component to the output that count"
    )
    positions: Positions = Field(
        default="end", title="Patch at", description="Positions at which a component's output is replaced"
    )
    source: Source = Field(
        default="counterfactual", title="Patch with", description="Replacement of a component's output"
    )
    direction: Direction = Field(
        default="noising",
        title="Direction",
        description="Corrupt a component in the reference run, or restore it in the counterfactual run",
    )
    prompts: PromptsSpec = Field(
        title="Prompts", description="Prompts to analyse: typed or uploaded, or drawn from templates"
    )
    metrics: tuple[Metric, ...] = Field(
        default=DEFAULT_METRICS,
        min_length=1,
        max_length=len(METRIC_CHOICES),
        title="Metrics",
        description="Measures of the effect on the answer",
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
        return possible(self, EXCLUSIONS, several_prompts=n_pairs > 1)


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
    command="analyze",
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
