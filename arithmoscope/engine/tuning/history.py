"""History of a training, step by step, and its learning rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# Reason for the end: the last step, a request to stop, or a non-finite number.
Ending = Literal["finished", "stopped", "not_finite"]


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One step of the optimiser.

    Attributes:
        number: Number of the step, from 0.
        loss: Mean loss over the batch's answer tokens before the step, in nats.
        rate: Learning rate.
        norm: Norm of the whole gradient before clipping.
        seconds: Wall-clock time, on a GPU until it has finished.
    """

    number: int
    loss: float
    rate: float
    norm: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainingHistory:
    """The course of a training.

    Attributes:
        steps: The steps made.
        ended: ``"finished"``, ``"stopped"`` or ``"not_finite"``.
        kept: Number of steps after which the returned weights were taken: all, unless a loss was not finite; then those
            before the step that led there.
        problem: One sentence on what went wrong, if anything.
    """

    steps: tuple[TrainingStep, ...]
    ended: Ending
    kept: int
    problem: str | None = None

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss of every step, in nats per answer token."""
        return tuple(step.loss for step in self.steps)


Schedule = Literal["cosine", "linear", "constant"]


def rate_at(step: int, steps: int, warm: int, schedule: Schedule) -> float:
    """The fraction of the learning rate at a step: it rises over the first ``warm`` steps, then stays (``constant``) or
    falls to zero in a straight line (``linear``) or along half a ``cosine``.
    """
    if step < warm:
        return (step + 1) / warm
    if schedule == "constant":
        return 1.0
    gone = (step - warm) / max(1, steps - warm)
    return 1.0 - gone if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * gone))
