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
    DEFAULT_METRIC,
    DEFAULT_TOP_K,
    MAX_KNOCK_CONTROLS,
    MAX_KNOCKED,
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

    kind: Literal["transfer"]
    model: str = Field(min_length=1, max_length=200)
    parent: ExperimentId | None = Field(default=None, description="The analysis that this belongs to, if any")
    found_on: tuple[PromptsSpec, ...] = Field(
        default=tuple(NAMED_SETS[name] for name in FOUND_ON),
        min_length=1,
        max_length=MAX_SETS,
        description="Prompt sets on which heads are found",
    )
    evaluated_on: tuple[PromptsSpec, ...] = Field(
        default=tuple(NAMED_SETS[name] for name in EVALUATED_ON),
        min_length=1,
        max_length=MAX_SETS,
        description="Prompt sets on which they are knocked out",
    )
    top_k: int = Field(default=DEFAULT_TOP_K, ge=1, le=MAX_KNOCKED, description="Heads found on each set")
    effect: Effect = Field(default="through_mlps", description="Effect by which heads are found")
    metric: Metric = Field(default=DEFAULT_METRIC, description="Metric by which heads are found")
    ablation: Ablation = Field(
        default="mean", description="Replacement of a removed output: mean over the prompts, zero, or another prompt's"
    )
    controls: int = Field(
        default=20, ge=0, le=MAX_KNOCK_CONTROLS, description="Random sets of heads drawn for comparison"
    )
    disjoint: bool = Field(
        default=True,
        description="Split every set by its operands: heads are found on one half and knocked out on the other",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the random controls and of resampling")

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
)
