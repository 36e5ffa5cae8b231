"""The words of what is done with components once they are found: knocked out, carried over, looked at."""

from __future__ import annotations

from typing import Literal

# What a component writes instead when it is knocked out.
Ablation = Literal["mean", "zero", "resample"]
# Where it is knocked out: at the last position, at all of them, or at all but the first token, where attention rests.
KnockPositions = Literal["end", "all", "after_first"]
# What a knock-out is counted in.
KnockMetric = Literal["accuracy", "probability", "logit_difference", "exact_match"]
# What a component is asked to be when it is called key.
KeyRule = Literal["fdr", "threshold", "top_k"]
HeadClass = Literal["operand", "operator", "neither"]

MAX_CONTROLS = 1_000
MAX_ANSWER_TOKENS = 16
# The paper's threshold, in percent of the reference logit.
PAPER_THRESHOLD = -5.0
