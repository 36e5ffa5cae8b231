"""The measured effects, and timing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from arithmoscope import LoadedModel, PatchingEffects, PromptPair, path_patching
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.terms import Effect, Positions, Source

T = TypeVar("T")

# A call that takes longer than this is timed once: the effect of a warm-up is negligible in it.
_LONG_SECONDS = 20.0


@dataclass(frozen=True)
class Case:
    """One effect of every component, as `path_patching` computes it."""

    effect: Effect
    positions: Positions = "end"
    source: Source = "counterfactual"

    def __str__(self) -> str:
        positions = {"end": "END", "all": "all positions"}[self.positions]
        name = f"{self.effect}, {positions}" if self.effect == "total" else self.effect
        return name if self.source == "counterfactual" else f"{name}, {self.source}"

    def run(self, model: LoadedModel, pairs: list[PromptPair], memory: int | None = None) -> PatchingEffects:
        """Our implementation. ``memory``: bytes beyond the model; None: measured by the engine."""
        return path_patching(
            model, pairs, effect=self.effect, positions=self.positions, source=self.source, memory=memory
        )


CASES = (
    Case("direct"),
    Case("through_mlps"),
    Case("total"),
    Case("total", "all"),
    Case("total", "all", "zero"),
)
# The other tools run the same pass for any source of the patch: `zero` would cost them as much as `counterfactual`.
COMPETITOR_CASES = CASES[:4]


def column(effects: PatchingEffects, component: Component) -> Tensor:
    """One component's effect on every pair, in logits."""
    if component.head is None:
        return effects.mlps[:, component.layer]
    return effects.heads[:, component.layer, component.head]


@dataclass(frozen=True)
class Timed(Generic[T]):
    """Median wall-clock seconds of ``runs`` calls, and the first call's return value."""

    seconds: float
    runs: int
    value: T


def timed(run: Callable[[], T], repeats: int) -> Timed[T]:
    """The median of ``repeats`` calls after one warm-up call; a long call is timed once."""
    first, value = timed_once(run)
    if first > _LONG_SECONDS or repeats < 1:
        return Timed(first, 1, value)
    return Timed(statistics.median(timed_once(run)[0] for _ in range(repeats)), repeats, value)


def timed_once(run: Callable[[], T]) -> tuple[float, T]:
    """Wall-clock seconds of one call, until a GPU has finished, too, and its return value."""
    _synchronise()
    start = time.perf_counter()
    value = run()
    _synchronise()
    return time.perf_counter() - start, value


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
