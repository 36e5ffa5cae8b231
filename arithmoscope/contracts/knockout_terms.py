"""Vocabulary of knockouts and key components: option values and limits."""

from __future__ import annotations

from typing import Literal

# Replacement for the output of a knocked-out component.
Ablation = Literal["mean", "zero", "resample"]
# Knocked-out positions: the last one, all of them, or all but the first token, where idle attention rests.
KnockPositions = Literal["end", "all", "after_first"]
# Metrics of a knockout curve.
KnockMetric = Literal["accuracy", "probability", "logit_difference", "exact_match"]
# Rules by which a component counts as key.
KeyRule = Literal["fdr", "threshold", "top_k"]
HeadClass = Literal["operand", "operator", "neither"]

MAX_CONTROLS = 1_000
MAX_ANSWER_TOKENS = 16
# The paper's threshold, in percent of the reference logit.
PAPER_THRESHOLD = -5.0
