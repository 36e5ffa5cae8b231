"""Vocabulary of fine-tuning: tuners, schedules and outcomes."""

from __future__ import annotations

from typing import Literal

# Choices of the parameters trained: docs/methods/fine_tune.md.
Tuner = Literal["precise", "random", "offsets", "lora", "full_matrices", "full"]
# Tuners that train more than components, and need none to be named.
WHOLE_TUNERS: tuple[Tuner, ...] = ("full_matrices", "full")
# Parts of a head that can be tuned: its slices of the query, key, value and output projections.
HeadPart = Literal["q", "k", "v", "o"]
Schedule = Literal["cosine", "linear", "constant"]
# End of a training: after its last step, stopped by a user, or stopped on a non-finite loss.
Ending = Literal["finished", "stopped", "not_finite"]
# Evaluation sets: the trained task, other arithmetic, and controls without arithmetic.
Group = Literal["held_out", "arithmetic", "control"]
Outcome = Literal["fixed", "broken", "right", "wrong"]
