"""Knockout: the answers with the first 0, 1, 2, ... components removed, against random controls."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds.base import BINARY, CSV, Artifact, ExperimentKind, canonical_prompts
from arithmoscope.contracts.knockout_terms import MAX_ANSWER_TOKENS, Ablation, KnockMetric, KnockPositions
from arithmoscope.contracts.options import Exclusion
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.results import SCHEMA_VERSION, DroppedPair, ModelFacts, Provenance, Row
from arithmoscope.contracts.terms import (
    DEFAULT_CONTROLS,
    DEFAULT_METRIC,
    DEFAULT_TOP_K,
    MAX_KNOCK_CONTROLS,
    MAX_KNOCKED,
    MAX_SEED,
    Among,
    ComponentName,
    ExperimentId,
    Metric,
)

# In the order in which they are checked.
EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "top_k",
        None,
        {"components": (None,)},
        "the components are named",
        "give components or top_k, not both",
        "Leave one of them out.",
        "bad_request",
    ),
)
# The option ``answer`` is that of the measured prompts: the spec's, or those of the analysis.
GENERATION_EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "answer_tokens",
        None,
        {"answer": ("whole", "first")},
        "this set has a pair for each token of an answer",
        "Answers are generated from their first token; this set has a pair for each token of an answer.",
        "Choose answer 'first' for the prompts, or leave answer_tokens out.",
    ),
)
# Without a second prompt (position by position: one of the same length) there is nothing to replace an output with.
REPLACEMENT_EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "ablation",
        ("mean", "resample"),
        {"several_prompts": (True,)},
        "needs several prompts",
        "{subject} has one prompt{of_length}; the ablation '{ablation}' needs another one{same_length}.",
        "Use several prompts of equal length, or choose the ablation 'zero'.",
    ),
)


class KnockoutSpec(Wire):
    """Knockout: the model's answers with 0, 1, 2, ... components of an analysis removed, against random controls.

    Removes ``components`` in this order, or the ``top_k`` (default 10) with the most negative mean effect.
    """

    kind: Literal["knockout"] = Field(title="Kind", description="Kind of experiment")
    parent: ExperimentId = Field(title="Analysis", description="The analysis (path patching) that ranks the components")
    components: tuple[ComponentName, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_KNOCKED,
        title="Components",
        description="Components to remove, in this order",
        json_schema_extra={"unit": "components"},
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        le=MAX_KNOCKED,
        title="Top k",
        description=f"Remove the k components with the most negative mean effect; {DEFAULT_TOP_K} if none are named",
        json_schema_extra={"unit": "components"},
    )
    metric: Metric = Field(
        default=DEFAULT_METRIC, title="Rank by", description="Metric that ranks the components for top k"
    )
    among: Among = Field(default="any", title="Among", description="Components that top k ranks")
    ablation: Ablation = Field(
        default="mean", title="Replace with", description="Replacement of a removed component's output"
    )
    positions: KnockPositions = Field(
        default="end", title="Replace at", description="Positions at which outputs are replaced"
    )
    controls: int = Field(
        default=DEFAULT_CONTROLS,
        ge=0,
        le=MAX_KNOCK_CONTROLS,
        title="Random controls",
        description="Random sets of as many components of the same layers, removed for comparison",
        json_schema_extra={"unit": "draws"},
    )
    prompts: PromptsSpec | None = Field(
        default=None, title="Prompts", description="Prompts to measure on; those of the analysis if omitted"
    )
    disjoint: bool = Field(
        default=False,
        title="Exclude operands of the analysis",
        description="Leave out questions with operands that the analysis used",
    )
    answer_tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ANSWER_TOKENS,
        title="Generated answer tokens",
        description="Generate up to this many tokens and score whole answers, too (exact match)",
        json_schema_extra={"unit": "tokens"},
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=MAX_SEED,
        title="Seed",
        description="Seed of the random controls and of the replacement with another prompt",
    )

    @model_validator(mode="after")
    def _one_choice(self) -> KnockoutSpec:
        for row in EXCLUSIONS:
            if row.hits(dict(self), {"top_k": None}):
                raise ValueError(row.detail)
        if self.components is not None and len(set(self.components)) < len(self.components):
            raise ValueError("components must not repeat")
        return self


class KnockCurve(Wire):
    """Mean of a metric over the pairs with the first k = 0, 1, ... components knocked out.

    ``ci``: 95 % percentile bootstrap over distinct questions. ``control``: mean over the random draws, with the 95 %
    bootstrap interval of that mean. ``draws``: the range that holds 95 % of the draws. ``p_value``: (1 + draws that
    hurt at least as much) / (1 + draws). A cell is None where no number exists (no draws, one question).
    """

    unit: str
    mean: Row
    ci_low: Row
    ci_high: Row
    control: Row
    control_low: Row
    control_high: Row
    draws_low: Row
    draws_high: Row
    p_value: Row


class KnockChecks(Wire):
    """Numerical checks of a knockout, in logits.

    ``noise_floor``: largest |logit with nothing knocked out - logit of the plain run|. ``spot_check_error``: largest
    |difference| to one hooked forward pass per pair, over ``spot_check_points`` points of the curve on
    ``spot_check_pairs`` pairs.
    """

    noise_floor: float
    spot_check_points: int
    spot_check_pairs: int
    spot_check_error: float


class KnockoutResult(Wire):
    """Answer of ``GET /api/experiments/{id}/result`` for a knockout.

    ``shared_questions``: how many of the ``n_pairs`` pairs have operands that the analysis used, too. ``elbow``: number
    of components after which most of the fall in accuracy has happened: the point furthest below the line from the
    first to the last point or, if less than half of the fall has happened there, the first point with half of it; None
    if the last point is not below the first. ``unmatched``: random components drawn from another layer, or from the
    chosen components themselves, because no others were left.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["knockout"] = "knockout"
    spec: KnockoutSpec
    parent: str
    model: ModelFacts
    complete: bool
    components: tuple[str, ...]
    controls: tuple[tuple[str, ...], ...]
    unmatched: int
    n_asked: int
    n_distinct: int
    n_pairs: int
    shared_questions: int
    notes: tuple[str, ...]
    dropped: tuple[DroppedPair, ...]
    curves: dict[KnockMetric, KnockCurve]
    elbow: int | None
    checks: KnockChecks
    provenance: Provenance


def _canonical(spec: KnockoutSpec, plain: dict[str, Any]) -> None:
    if spec.components is not None:  # named components are not ranked
        plain["metric"] = plain["among"] = None
    elif spec.top_k is None:
        plain["top_k"] = DEFAULT_TOP_K
    if spec.prompts is not None:
        canonical_prompts(plain["prompts"])


# A transfer stores its own tensors under the same name.
RAW = Artifact(
    "raw.safetensors",
    BINARY,
    "The raw tensors, as the engine saves them",
    "Returns a knock-out's values per pair or a transfer's matrices, for `Knockout.load` and `Transfer.load`. 409 for "
    "other kinds of experiment.",
    save_as=".safetensors",
)

KIND = ExperimentKind(
    name="knockout",
    title="Knock-out",
    command="knockout",
    help="remove components and measure the model's answers",
    spec=KnockoutSpec,
    result=KnockoutResult,
    artifacts=(
        Artifact(
            "curve.csv",
            CSV,
            "The curve of a knock-out",
            "Returns a knock-out's curve: one row per k and metric, with the mean and range of the random controls. "
            "`component` is the one that is knocked out at k. 409 for other kinds of experiment.",
        ),
        RAW,
    ),
    canonical=_canonical,
    parent="required",
)
