"""Vocabulary of knockouts and key components: option values with their labels, and limits."""

from __future__ import annotations

from typing import Literal

from arithmoscope.contracts.options import Choice

# Replacement for the output of a knocked-out component.
Ablation = Literal["mean", "zero", "resample"]
ABLATION_CHOICES: dict[Ablation, Choice] = {
    "mean": Choice("mean", "its mean output over the prompts"),
    "zero": Choice("zero", "zero, a state that the model has never seen"),
    "resample": Choice("another prompt", "its output on another prompt of the set, drawn at random"),
}
# Knocked-out positions: the last one, all of them, or all but the first token, where idle attention rests.
KnockPositions = Literal["end", "all", "after_first"]
KNOCK_POSITION_CHOICES: dict[KnockPositions, Choice] = {
    "end": Choice("the last position", "where the answer is read"),
    "all": Choice("all positions", "every token of the prompt"),
    "after_first": Choice("all positions but the first", "every token but the first, where idle attention rests"),
}
# Metrics of a knockout curve.
KnockMetric = Literal["accuracy", "probability", "logit_difference", "exact_match"]
KNOCK_METRIC_CHOICES: dict[KnockMetric, Choice] = {
    "accuracy": Choice("accuracy", "share of prompts whose answer is the model's first choice"),
    "probability": Choice("probability of the answer", "mean over the prompts"),
    "logit_difference": Choice(
        "logit difference to the best other number", "the answer's logit minus that of the best other number"
    ),
    "exact_match": Choice(
        "exact match of the generated answer", "share of prompts whose answer is generated in full and ends there"
    ),
}
# Rules by which a component counts as key.
KeyRule = Literal["fdr", "threshold", "top_k"]
HeadClass = Literal["operand", "operator", "neither"]

MAX_CONTROLS = 1_000
MAX_ANSWER_TOKENS = 16
# The paper's threshold, in percent of the reference logit.
PAPER_THRESHOLD = -5.0
