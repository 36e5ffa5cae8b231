"""Vocabulary of fine-tuning: tuners, schedules and outcomes."""

from __future__ import annotations

from typing import Literal

from arithmoscope.contracts.options import Choice

# Choices of the parameters trained: docs/methods/fine_tune.md.
Tuner = Literal["precise", "random", "offsets", "lora", "full_matrices", "full"]
TUNER_CHOICES: dict[Tuner, Choice] = {
    "precise": Choice("precise", "only the chosen components"),
    "random": Choice("random components", "as many other components, drawn at random from the same layers"),
    "offsets": Choice("offsets", "one trained vector added to the output of each chosen head"),
    "lora": Choice(
        "LoRA", "low-rank adapters on all weight matrices, with about as many parameters as the chosen components"
    ),
    "full_matrices": Choice("all matrices", "all weight matrices of all layers"),
    "full": Choice("full", "every parameter of the model"),
}
# Tuners that train more than components, and need none to be named.
WHOLE_TUNERS: tuple[Tuner, ...] = ("full_matrices", "full")
# Options that a tuner ignores, and that therefore change no number.
IGNORED_OPTIONS: dict[Tuner, tuple[str, ...]] = {
    "offsets": ("tune", "biases", "head_scale"),
    "lora": ("head_scale",),
    "full": ("components", "tune", "biases", "head_scale"),
    "full_matrices": ("components", "tune", "biases", "head_scale"),
}
# Parts of a head that can be tuned: its slices of the query, key, value and output projections.
HeadPart = Literal["q", "k", "v", "o"]
HEAD_PART_CHOICES: dict[HeadPart, Choice] = {
    "q": Choice("query", "the query projection"),
    "k": Choice("key", "the key projection, shared by a group of heads under grouped-query attention"),
    "v": Choice("value", "the value projection, shared by a group of heads under grouped-query attention"),
    "o": Choice("output", "the output projection"),
}
Schedule = Literal["cosine", "linear", "constant"]
SCHEDULE_CHOICES: dict[Schedule, Choice] = {
    "cosine": Choice("cosine decay", "falls to 0 along a cosine"),
    "linear": Choice("linear decay", "falls to 0 along a straight line"),
    "constant": Choice("constant", "stays at its peak"),
}
# End of a training: after its last step, stopped by a user, or stopped on a non-finite loss.
Ending = Literal["finished", "stopped", "not_finite"]
# Evaluation sets: the trained task, other arithmetic, and controls without arithmetic.
Group = Literal["held_out", "arithmetic", "control"]
Outcome = Literal["fixed", "broken", "right", "wrong"]
OUTCOME_CHOICES: dict[Outcome, Choice] = {
    "fixed": Choice("fixed", "wrong before, right after"),
    "broken": Choice("broken", "right before, wrong after"),
    "right": Choice("right before and after", "right both times"),
    "wrong": Choice("wrong before and after", "wrong both times"),
}
