"""Transfer: heads found on each prompt set, knocked out on every other set."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds.base import CSV, Artifact, ExperimentKind, canonical_prompts
from arithmoscope.contracts.kinds.knockout import RAW
from arithmoscope.contracts.knockout_terms import Ablation
from arithmoscope.contracts.prompts import MAX_PAIRS, Operation, PromptsSpec, TemplatePrompts
from arithmoscope.contracts.results import SCHEMA_VERSION, Grid, ModelFacts, Provenance, Row
from arithmoscope.contracts.terms import (
    DEFAULT_CONTROLS,
    DEFAULT_METRIC,
    DEFAULT_TOP_K,
    MAX_KNOCK_CONTROLS,
    MAX_KNOCKED,
    MAX_MODEL_ID,
    MAX_SEED,
    MAX_SETS,
    Effect,
    ExperimentId,
    Metric,
)

_PAIRS = 32


def _set(*operations: Operation, **options: Any) -> TemplatePrompts:
    return TemplatePrompts(source="template", operations=operations or ("add",), pairs=_PAIRS, **options)


# Named prompt sets to choose from, on the page and in the terminal.
NAMED_SETS: dict[str, TemplatePrompts] = {
    "addition": _set(),
    "subtraction": _set("subtract"),
    "multiplication": _set("multiply"),
    "division": _set("divide"),
    "powers": _set("power"),
    "addition, statements": _set(styles=("statement",)),
    "addition, questions": _set(styles=("question",)),
    "addition in words": _set(numerals="words"),
    "two-digit addition": _set(operands=(10, 99), answer="first"),
    "spans of years": _set(topic="year_span"),
    "word problems": _set(topic="word_problem"),
    "counting": _set(topic="counting"),
    "facts": _set(topic="facts"),
    "grammar": _set(topic="grammar"),
    "antonyms": _set(topic="antonyms"),
    "sequences": _set(topic="sequences"),
}
# The sets of a transfer that names none: heads are found on the first, and knocked out on all of them. The last two
# contain no arithmetic: they are controls.
FOUND_ON = (
    *("addition", "subtraction", "multiplication", "addition, statements", "addition, questions"),
    *("addition in words", "spans of years", "word problems"),
)
EVALUATED_ON = (*FOUND_ON, "facts", "grammar")


class TransferSpec(Wire):
    """Transfer: heads found on each prompt set, knocked out on every other set."""

    kind: Literal["transfer"] = Field(title="Kind", description="Kind of experiment")
    model: str = Field(
        min_length=1, max_length=MAX_MODEL_ID, title="Model", description="Id of the model, as in the list of models"
    )
    parent: ExperimentId | None = Field(
        default=None, title="Analysis", description="The analysis that this belongs to, if any"
    )
    found_on: tuple[PromptsSpec, ...] = Field(
        default=tuple(NAMED_SETS[name] for name in FOUND_ON),
        min_length=1,
        max_length=MAX_SETS,
        title="Find heads on",
        description="Prompt sets on which heads are found",
        json_schema_extra={"unit": "sets"},
    )
    evaluated_on: tuple[PromptsSpec, ...] = Field(
        default=tuple(NAMED_SETS[name] for name in EVALUATED_ON),
        min_length=1,
        max_length=MAX_SETS,
        title="Knock out on",
        description="Prompt sets on which the heads of each set are knocked out",
        json_schema_extra={"unit": "sets"},
    )
    top_k: int = Field(
        default=DEFAULT_TOP_K,
        ge=1,
        le=MAX_KNOCKED,
        title="Top k heads",
        description="Heads kept of each set: the k with the most negative mean effect",
        json_schema_extra={"unit": "heads"},
    )
    effect: Effect = Field(
        default="through_mlps", title="Effect", description="Paths from a head to the output that count"
    )
    metric: Metric = Field(default=DEFAULT_METRIC, title="Rank by", description="Metric that ranks the heads")
    ablation: Ablation = Field(
        default="mean", title="Replace with", description="Replacement of a removed head's output"
    )
    controls: int = Field(
        default=DEFAULT_CONTROLS,
        ge=0,
        le=MAX_KNOCK_CONTROLS,
        title="Random controls",
        description="Random sets of as many heads of the same layers, removed for comparison",
        json_schema_extra={"unit": "draws"},
    )
    disjoint: bool = Field(
        default=True,
        title="Split by operands",
        description="Split every set by its operands: heads are found on one half and knocked out on the other",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=MAX_SEED,
        title="Seed",
        description="Seed of the random controls and of the replacement with another prompt",
    )

    @model_validator(mode="after")
    def _distinct_sets(self) -> TransferSpec:
        for name in ("found_on", "evaluated_on"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must not name a set twice")
        sizes = {prompts: prompts.pairs for prompts in (*self.found_on, *self.evaluated_on)}
        total = sum(pairs if isinstance(pairs, int) else len(pairs) for pairs in sizes.values())
        if total > MAX_PAIRS:
            raise ValueError(f"the sets have {total} pairs in total; the most is {MAX_PAIRS}")
        return self


class TransferSet(Wire):
    """One prompt set of a transfer: name and number of pairs. A control contains no arithmetic."""

    name: str
    pairs: int
    is_control: bool


class TransferMatrix(Wire):
    """One metric as [found][evaluated].

    ``value``: with the selected components knocked out; ``ci``: its 95 % bootstrap interval over questions.
    ``control``: with random components knocked out, mean over the draws; ``draws``: the range that holds 95 % of them.
    ``plain``: with nothing knocked out, by evaluated set.
    """

    unit: str
    plain: Row
    value: Grid
    ci_low: Grid
    ci_high: Grid
    control: Grid
    draws_low: Grid
    draws_high: Grid


class TransferResult(Wire):
    """Answer of ``GET /api/experiments/{id}/result`` for a transfer.

    ``selections``: the components found on each set of ``found_on``, most negative effect first. ``jaccard``
    (similarity of the selections) and ``rank_correlation`` (Spearman, of all components' mean effects) are
    [found][found].
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["transfer"] = "transfer"
    spec: TransferSpec
    model: ModelFacts
    complete: bool
    found_on: tuple[TransferSet, ...]
    evaluated_on: tuple[TransferSet, ...]
    selections: tuple[tuple[str, ...], ...]
    jaccard: Grid
    rank_correlation: Grid
    accuracy: TransferMatrix
    probability: TransferMatrix
    notes: tuple[str, ...]
    provenance: Provenance


def _canonical(_spec: TransferSpec, plain: dict[str, Any]) -> None:
    plain["parent"] = None  # changes no number
    for prompts in (*plain["found_on"], *plain["evaluated_on"]):
        canonical_prompts(prompts)


KIND = ExperimentKind(
    name="transfer",
    title="Transfer",
    command="transfer",
    help="remove heads found on one prompt set on other sets",
    spec=TransferSpec,
    result=TransferResult,
    artifacts=(
        Artifact(
            "matrix.csv",
            CSV,
            "The matrices of a transfer",
            "Returns a transfer's matrices: one row per set that components were found on, set they were evaluated on, "
            "and metric. 409 for other kinds of experiment.",
        ),
        RAW,
    ),
    canonical=_canonical,
    parent="optional",
    form="transfer",
)
