"""Vocabulary of experiments: option values with their labels, limits and defaults that several kinds share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from arithmoscope.contracts.options import Choice

Effect = Literal["direct", "through_mlps", "total"]
EFFECT_CHOICES: dict[Effect, Choice] = {
    "direct": Choice("direct", "its direct path to the output; everything after it is frozen"),
    "through_mlps": Choice(
        "through later MLPs", "its direct path and those through later MLPs; later heads are frozen"
    ),
    "total": Choice("total", "every path, through later heads, too; the slowest"),
}
Positions = Literal["end", "all"]
POSITION_CHOICES: dict[Positions, Choice] = {
    "end": Choice("the last position", "where the answer is read"),
    "all": Choice("all positions", "every token of the prompt"),
}
Source = Literal["counterfactual", "zero", "mean", "resample"]
SOURCE_CHOICES: dict[Source, Choice] = {
    "counterfactual": Choice("the counterfactual", "its output on the same prompt without the calculation"),
    "zero": Choice("zero", "its output is set to zero"),
    "mean": Choice("the mean", "its mean output over the set"),
    "resample": Choice("another prompt", "its output on a prompt drawn at random from the set"),
}
Direction = Literal["noising", "denoising"]
DIRECTION_CHOICES: dict[Direction, Choice] = {
    "noising": Choice("noising", "corrupt the component in the reference run"),
    "denoising": Choice("denoising", "restore the component in the counterfactual run"),
}
Metric = Literal["logit", "relative_logit", "logit_difference", "probability"]
METRIC_CHOICES: dict[Metric, Choice] = {
    "logit": Choice("logit", "change of the answer's logit"),
    "relative_logit": Choice(
        "relative logit (%)", "change of the answer's logit, in percent of its size in the reference run", unit=" %"
    ),
    "logit_difference": Choice(
        "logit difference", "change of the difference between the answer's logit and that of the best other number"
    ),
    "probability": Choice("probability", "change of the answer's probability; slower, because it needs every logit"),
}
# Components that a ranking includes.
Among = Literal["head", "any"]
AMONG_CHOICES: dict[Among, Choice] = {
    "head": Choice("heads", "only attention heads"),
    "any": Choice("heads and MLPs", "attention heads and MLPs in one ranking"),
}
ExperimentId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
ComponentName = Annotated[str, Field(pattern=r"^(L(0|[1-9][0-9]{0,3})H(0|[1-9][0-9]{0,3})|MLP(0|[1-9][0-9]{0,3}))$")]

MAX_MODEL_ID = 200
MAX_KNOCKED = 128
MAX_KNOCK_CONTROLS = 200
MAX_SETS = 16
MAX_TUNED = 10_000
MAX_STEPS = 20_000
MAX_BATCH = 1_024
MAX_DECAY = 100
MAX_CLIP = 1e6
MAX_SEED = 2**31 - 1
DEFAULT_TOP_K = 10
DEFAULT_CONTROLS = 20
# Metric that ranks components wherever the first k of them are meant: docs/decisions/two-metrics.md.
DEFAULT_METRIC: Metric = "relative_logit"

DEFAULT_METRICS: tuple[Metric, ...] = ("logit", "relative_logit", "logit_difference")

# Part of an experiment's key: raise it when the same spec gives other numbers than before.
METHOD_VERSION = 1
