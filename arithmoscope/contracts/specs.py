"""What people ask for: specs, a union on ``kind``, and the key that the same question always has."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_ANSWER_TOKENS, Ablation, KnockPositions
from arithmoscope.contracts.prompts import MAX_PAIRS, PromptsSpec
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS, HeadPart, Schedule, Tuner

Effect = Literal["direct", "through_mlps", "total"]
Positions = Literal["end", "all"]
Source = Literal["counterfactual", "zero", "mean", "resample"]
Direction = Literal["noising", "denoising"]
Metric = Literal["logit", "relative_logit", "logit_difference", "probability"]
Kind = Literal["path_patching", "knockout", "transfer", "fine_tune"]
# Which components a ranking is taken among.
Among = Literal["head", "any"]
ExperimentId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
ComponentName = Annotated[str, Field(pattern=r"^(L(0|[1-9][0-9]{0,3})H(0|[1-9][0-9]{0,3})|MLP(0|[1-9][0-9]{0,3}))$")]

MAX_KNOCKED = 128
MAX_KNOCK_CONTROLS = 200
MAX_SETS = 16
MAX_TUNED = 10_000
MAX_STEPS = 20_000
MAX_BATCH = 1_024
DEFAULT_TOP_K = 10

DEFAULT_METRICS: tuple[Metric, ...] = ("logit", "relative_logit", "logit_difference")

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


class KnockoutSpec(Wire):
    """What the model still answers with components out that an analysis found, beside as many random ones.

    Which: ``components`` in this order, or the ``top_k`` whose mean effect by ``metric`` is most negative among the
    heads or ``any`` components (10 where neither is said). On which prompts: ``prompts``, or those of the analysis;
    ``disjoint`` leaves out what asks about operands that the analysis asked about.
    """

    kind: Literal["knockout"]
    parent: ExperimentId
    components: tuple[ComponentName, ...] | None = Field(default=None, min_length=1, max_length=MAX_KNOCKED)
    top_k: int | None = Field(default=None, ge=1, le=MAX_KNOCKED)
    metric: Metric = "logit_difference"
    among: Among = "any"
    ablation: Ablation = "mean"
    positions: KnockPositions = "end"
    controls: int = Field(default=20, ge=0, le=MAX_KNOCK_CONTROLS)
    prompts: PromptsSpec | None = None
    disjoint: bool = False
    answer_tokens: int | None = Field(default=None, ge=1, le=MAX_ANSWER_TOKENS)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _one_choice(self) -> KnockoutSpec:
        if self.components is not None and self.top_k is not None:
            raise ValueError("give components or top_k, not both")
        if self.components is not None and len(set(self.components)) < len(self.components):
            raise ValueError("components must not repeat")
        return self


class TransferSpec(Wire):
    """Whether the heads found on each set of prompts matter on each other set.

    ``disjoint``: every set is split by its operands; heads are found on the one side and knocked out on the other.
    ``parent``: the analysis that it belongs to, if there is one.
    """

    kind: Literal["transfer"]
    model: str = Field(min_length=1, max_length=200)
    parent: ExperimentId | None = None
    found_on: tuple[PromptsSpec, ...] = Field(min_length=1, max_length=MAX_SETS)
    evaluated_on: tuple[PromptsSpec, ...] = Field(min_length=1, max_length=MAX_SETS)
    top_k: int = Field(default=DEFAULT_TOP_K, ge=1, le=MAX_KNOCKED)
    effect: Effect = "through_mlps"
    metric: Metric = "logit_difference"
    ablation: Ablation = "mean"
    controls: int = Field(default=20, ge=0, le=MAX_KNOCK_CONTROLS)
    disjoint: bool = True
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _distinct_sets(self) -> TransferSpec:
        for name in ("found_on", "evaluated_on"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} must not name a set twice")
        asked = {prompts: prompts.pairs for prompts in (*self.found_on, *self.evaluated_on)}
        total = sum(pairs if isinstance(pairs, int) else len(pairs) for pairs in asked.values())
        if total > MAX_PAIRS:
            raise ValueError(f"the sets come to {total} pairs; the most is {MAX_PAIRS}")
        return self


class FineTuneSpec(Wire):
    """Training of ``components`` alone (or of what ``tuner`` says) to give the answers of ``prompts``.

    The questions of ``prompts`` are split by their operands into three sets that share none: one to train on, one to
    look at while it trains (``validation``) and one to judge by afterwards (``test``). A set that is given for one of
    the last two takes its place, and must ask about other operands. ``parent``: the analysis that the components come
    from, if there is one. What the settings do: docs/methods/fine_tune.md.
    """

    kind: Literal["fine_tune"]
    model: str = Field(min_length=1, max_length=200)
    parent: ExperimentId | None = None
    tuner: Tuner = "precise"
    components: tuple[ComponentName, ...] = Field(default=(), max_length=MAX_TUNED)
    prompts: PromptsSpec
    validation: PromptsSpec | None = None
    test: PromptsSpec | None = None
    steps: int = Field(default=80, ge=1, le=MAX_STEPS)
    batch_size: int = Field(default=32, ge=1, le=MAX_BATCH)
    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=100)
    schedule: Schedule = "cosine"
    warmup: float = Field(default=0.05, ge=0, le=1)
    clip: float | None = Field(default=1.0, gt=0, le=1e6)
    tune: tuple[HeadPart, ...] | None = Field(default=None, min_length=1, max_length=4)
    biases: bool = False
    head_scale: bool = False
    accumulate: int = Field(default=1, ge=1, le=MAX_BATCH)
    checkpointing: bool = False
    validate_every: int = Field(default=10, ge=1, le=MAX_STEPS)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    @field_validator("prompts", mode="before")
    @classmethod
    def _template_where_nothing_is_said(cls, prompts: object) -> object:
        return {"source": "template"} if prompts == {} else prompts

    @model_validator(mode="after")
    def _something_to_tune(self) -> FineTuneSpec:
        for name in ("components", "tune"):
            given = getattr(self, name) or ()
            if len(set(given)) < len(given):
                raise ValueError(f"{name} must not repeat")
        if not self.components and self.tuner not in WHOLE_TUNERS:
            raise PydanticCustomError(
                "bad_component",
                "{detail}",  # pyright: ignore[reportArgumentType]
                {
                    "detail": "No component is named, so there is nothing to tune.",
                    "way_out": "Name components, or choose the tuner 'full'.",
                },
            )
        return self


ExperimentSpec = Annotated[PathPatchingSpec | KnockoutSpec | TransferSpec | FineTuneSpec, Field(discriminator="kind")]


# Options that came later: a question that leaves them as they were has the key that it had before.
_LATER = {"positions": "end", "source": "counterfactual", "direction": "noising"}
_LATER_OF_PROMPTS = {
    "chat": False,
    "topic": "question",
    "wording": "plain",
    "numerals": "digits",
    "decimals": 0,
    "answer": "whole",
    "half": None,
}


# What a tuner does not read: it moves nothing.
_UNREAD: dict[Tuner, tuple[str, ...]] = {
    "offsets": ("tune", "biases", "head_scale"),
    "lora": ("head_scale",),
    "full": ("components", "tune", "biases", "head_scale"),
    "full_matrices": ("components", "tune", "biases", "head_scale"),
}


def experiment_key(spec: ExperimentSpec, *, revision: str, dtype: str, device_kind: str) -> str:
    """The same question has the same key: SHA-256 of the canonical spec and of what else moves the numbers."""
    plain = spec.model_dump(mode="json")
    if isinstance(spec, PathPatchingSpec):
        plain["metrics"].sort()
        _without_defaults(plain, _LATER)
        _canonical(plain["prompts"])
    elif isinstance(spec, KnockoutSpec):
        if spec.components is not None:  # nothing is ranked then
            plain["metric"] = plain["among"] = None
        elif spec.top_k is None:
            plain["top_k"] = DEFAULT_TOP_K
        if spec.prompts is not None:
            _canonical(plain["prompts"])
    elif isinstance(spec, TransferSpec):
        plain["parent"] = None  # moves no number
        for prompts in (*plain["found_on"], *plain["evaluated_on"]):
            _canonical(prompts)
    else:
        plain["parent"] = None
        for name in ("prompts", "validation", "test"):
            if plain[name] is not None:
                _canonical(plain[name])
        for name in _UNREAD.get(spec.tuner, ()):
            plain[name] = None
    asked = [plain, revision, METHOD_VERSION, dtype, device_kind]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _canonical(prompts: dict[str, Any]) -> None:
    # Lists whose order moves nothing.
    for name in ("operations", "styles"):
        if name in prompts:
            prompts[name].sort()
    # A way to make counterfactuals moves nothing where each was given.
    if prompts["source"] == "custom" and all(pair["counterfactual"] is not None for pair in prompts["pairs"]):
        prompts["corruption"] = "null_operator"
    _without_defaults(prompts, _LATER_OF_PROMPTS)


def _without_defaults(plain: dict[str, Any], later: dict[str, Any]) -> None:
    for name, default in later.items():
        if name in plain and plain[name] == default:
            plain.pop(name)
