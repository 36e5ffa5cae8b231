"""The words of fine-tuning: what may move, and how."""

from __future__ import annotations

from typing import Literal

# What may move: docs/methods/fine_tune.md.
Tuner = Literal["precise", "random", "offsets", "lora", "full_matrices", "full"]
# Those that move more than components, and need none.
WHOLE_TUNERS: tuple[Tuner, ...] = ("full_matrices", "full")
# What of a head is tuned: its slices of the query, key, value and output projections.
HeadPart = Literal["q", "k", "v", "o"]
Schedule = Literal["cosine", "linear", "constant"]
# What ended a training: its last step, somebody who said so, or a number that was none.
Ending = Literal["finished", "stopped", "not_finite"]
# What a set of questions is judged for: what was trained for, other sums, and what has no arithmetic in it.
Group = Literal["held_out", "arithmetic", "control"]
Outcome = Literal["fixed", "broken", "right", "wrong"]
