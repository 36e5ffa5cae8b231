"""Experiment specs, a union on ``kind``, and the key under which equal specs are found again."""

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
# Components that a ranking includes.
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


class KnockoutSpec(Wire):
    """Knockout: the model's answers with 0, 1, 2, ... components of an analysis removed, against random controls.

    Removes ``components`` in this order, or the ``top_k`` (default 10) with the most negative mean effect.
    """

    kind: Literal["knockout"]
    parent: ExperimentId = Field(description="The analysis (path patching) that found the components")
    components: tuple[ComponentName, ...] | None = Field(
        default=None, min_length=1, max_length=MAX_KNOCKED, description="Components to remove, in this order"
    )
    top_k: int | None = Field(
        default=None, ge=1, le=MAX_KNOCKED, description="Remove the K components with the most negative mean effect"
    )
    metric: Metric = Field(default="logit_difference", description="Metric that ranks the components for top_k")
    among: Among = Field(default="any", description="Components that top_k ranks: heads only, or any")
    ablation: Ablation = Field(
        default="mean", description="Replacement of a removed output: mean over the prompts, zero, or another prompt's"
    )
    positions: KnockPositions = Field(
        default="end", description="Positions at which outputs are replaced: the last, all, or all but the first token"
    )
    controls: int = Field(
        default=20, ge=0, le=MAX_KNOCK_CONTROLS, description="Random sets of components drawn for comparison"
    )
    prompts: PromptsSpec | None = Field(
        default=None, description="Evaluation prompts; those of the analysis if omitted"
    )
    disjoint: bool = Field(default=False, description="Leave out questions with operands that the analysis used")
    answer_tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ANSWER_TOKENS,
        description="Generate up to this many tokens and score whole answers (exact_match)",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the random controls and of resampling")

    @model_validator(mode="after")
    def _one_choice(self) -> KnockoutSpec:
        if self.components is not None and self.top_k is not None:
            raise ValueError("give components or top_k, not both")
        if self.components is not None and len(set(self.components)) < len(self.components):
            raise ValueError("components must not repeat")
        return self


class TransferSpec(Wire):
    """Transfer: heads found on each prompt set, knocked out on every other set."""

    kind: Literal["transfer"]
    model: str = Field(min_length=1, max_length=200)
    parent: ExperimentId | None = Field(default=None, description="The analysis that this belongs to, if any")
    found_on: tuple[PromptsSpec, ...] = Field(
        min_length=1, max_length=MAX_SETS, description="Prompt sets on which heads are found"
    )
    evaluated_on: tuple[PromptsSpec, ...] = Field(
        min_length=1, max_length=MAX_SETS, description="Prompt sets on which they are knocked out"
    )
    top_k: int = Field(default=DEFAULT_TOP_K, ge=1, le=MAX_KNOCKED, description="Heads found on each set")
    effect: Effect = Field(default="through_mlps", description="Effect by which heads are found")
    metric: Metric = Field(default="logit_difference", description="Metric by which heads are found")
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


class FineTuneSpec(Wire):
    """Fine-tuning: trains the chosen components alone (or the parameters that ``tuner`` selects) on ``prompts``.

    The questions of ``prompts`` are split by their operands into three sets that share none: training, ``validation``
    (during training) and ``test`` (before and after it). A given ``validation`` or ``test`` set replaces that part, and
    must not share operands with the others. Settings in detail: docs/methods/fine_tune.md.
    """

    kind: Literal["fine_tune"]
    model: str = Field(min_length=1, max_length=200)
    parent: ExperimentId | None = Field(default=None, description="The analysis that found the components, if any")
    tuner: Tuner = Field(default="precise", description="Parameters trained")
    components: tuple[ComponentName, ...] = Field(
        default=(), max_length=MAX_TUNED, description="Components to train; needed unless the tuner trains whole models"
    )
    prompts: PromptsSpec
    validation: PromptsSpec | None = Field(default=None, description="Validation questions; split off if omitted")
    test: PromptsSpec | None = Field(default=None, description="Test questions; split off if omitted")
    steps: int = Field(default=80, ge=1, le=MAX_STEPS, description="Optimiser steps")
    batch_size: int = Field(default=32, ge=1, le=MAX_BATCH, description="Questions per step")
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, le=100, description="Weight decay (AdamW)")
    schedule: Schedule = Field(default="cosine", description="Learning rate schedule after the warm-up")
    warmup: float = Field(default=0.05, ge=0, le=1, description="Share of the steps over which the learning rate rises")
    clip: float | None = Field(default=1.0, gt=0, le=1e6, description="Gradient clipping (max norm); null for none")
    tune: tuple[HeadPart, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=4,
        description="Projections of each head to train; null: q and o under grouped-query attention, else all four",
    )
    biases: bool = Field(default=False, description="Train the components' biases, too")
    head_scale: bool = Field(
        default=False, description="Multiply the heads' learning rate by H/h, as in the paper: all heads / chosen heads"
    )
    accumulate: int = Field(default=1, ge=1, le=MAX_BATCH, description="Gradient accumulation steps")
    checkpointing: bool = Field(default=False, description="Activation checkpointing: less memory, more time")
    validate_every: int = Field(default=10, ge=1, le=MAX_STEPS, description="Steps between validations")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the training")

    @field_validator("prompts", mode="before")
    @classmethod
    def _template_by_default(cls, prompts: object) -> object:
        return {"source": "template"} if prompts == {} else prompts

    @model_validator(mode="after")
    def _something_to_tune(self) -> FineTuneSpec:
        for name in ("components", "tune"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
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


# Options of later versions: a spec that leaves them at their defaults keeps the key that it had before.
_LATER_OPTIONS = {"positions": "end", "source": "counterfactual", "direction": "noising"}
_LATER_PROMPT_OPTIONS = {
    "chat": False,
    "topic": "question",
    "wording": "plain",
    "numerals": "digits",
    "decimals": 0,
    "answer": "whole",
    "half": None,
}


# Options that a tuner ignores, and that therefore change no number.
_IGNORED: dict[Tuner, tuple[str, ...]] = {
    "offsets": ("tune", "biases", "head_scale"),
    "lora": ("head_scale",),
    "full": ("components", "tune", "biases", "head_scale"),
    "full_matrices": ("components", "tune", "biases", "head_scale"),
}


def experiment_key(spec: ExperimentSpec, *, revision: str, dtype: str, device_kind: str) -> str:
    """Key of an experiment, equal for equal questions: SHA-256 of the canonical spec, the model's revision, the version
    of the method, the dtype and the kind of device."""
    plain = spec.model_dump(mode="json")
    if isinstance(spec, PathPatchingSpec):
        plain["metrics"].sort()
        _without_defaults(plain, _LATER_OPTIONS)
        _canonical(plain["prompts"])
    elif isinstance(spec, KnockoutSpec):
        if spec.components is not None:  # named components are not ranked
            plain["metric"] = plain["among"] = None
        elif spec.top_k is None:
            plain["top_k"] = DEFAULT_TOP_K
        if spec.prompts is not None:
            _canonical(plain["prompts"])
    elif isinstance(spec, TransferSpec):
        plain["parent"] = None  # changes no number
        for prompts in (*plain["found_on"], *plain["evaluated_on"]):
            _canonical(prompts)
    else:
        plain["parent"] = None
        for name in ("prompts", "validation", "test"):
            if plain[name] is not None:
                _canonical(plain[name])
        for name in _IGNORED.get(spec.tuner, ()):
            plain[name] = None
    identity = [plain, revision, METHOD_VERSION, dtype, device_kind]
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _canonical(prompts: dict[str, Any]) -> None:
    # The order of these lists changes no number.
    for name in ("operations", "styles"):
        if name in prompts:
            prompts[name].sort()
    # Where every counterfactual is given, the corruption changes no number.
    if prompts["source"] == "custom" and all(pair["counterfactual"] is not None for pair in prompts["pairs"]):
        prompts["corruption"] = "null_operator"
    _without_defaults(prompts, _LATER_PROMPT_OPTIONS)


def _without_defaults(plain: dict[str, Any], defaults: dict[str, Any]) -> None:
    for name, default in defaults.items():
        if name in plain and plain[name] == default:
            plain.pop(name)
