"""Vocabulary of experiments: option values, limits and defaults that several kinds share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Effect = Literal["direct", "through_mlps", "total"]
Positions = Literal["end", "all"]
Source = Literal["counterfactual", "zero", "mean", "resample"]
Direction = Literal["noising", "denoising"]
Metric = Literal["logit", "relative_logit", "logit_difference", "probability"]
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
# Ranks components wherever the first k of them are meant: docs/decisions/two-metrics.md.
DEFAULT_METRIC: Metric = "relative_logit"

DEFAULT_METRICS: tuple[Metric, ...] = ("logit", "relative_logit", "logit_difference")

# Part of an experiment's key: raise it when the same spec gives other numbers than before.
METHOD_VERSION = 1
