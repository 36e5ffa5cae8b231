"""What is measured: the effects, and how long something takes."""

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
from arithmoscope.contracts.specs import Effect, Positions, Source

T = TypeVar("T")

# A call that takes longer than this is timed once: what a warm-up changes is lost in it.
_LONG_SECONDS = 20.0


@dataclass(frozen=True)
class Case:
    """One effect of every component, as `path_patching` computes it."""

    effect: Effect
    positions: Positions = "end"
    source: Source = "counterfactual"

    def __str__(self) -> str:
        where = {"end": "END", "all": "all positions"}[self.positions]
        said = f"{self.effect}, {where}" if self.effect == "total" else self.effect
        return said if self.source == "counterfactual" else f"{said}, {self.source}"

    def run(self, model: LoadedModel, pairs: list[PromptPair], memory: int | None = None) -> PatchingEffects:
        """Ours. ``memory``: bytes beyond the model; the engine's own measure if None."""
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
# The other tools run the same pass whatever the patch is made of: `zero` would cost them what `counterfactual` costs.
CASES_OF_OTHERS = CASES[:4]


def column(effects: PatchingEffects, component: Component) -> Tensor:
    """One component's effect on every pair, in logits."""
    if component.head is None:
        return effects.mlps[:, component.layer]
    return effects.heads[:, component.layer, component.head]


@dataclass(frozen=True)
class Timed(Generic[T]):
    """Median wall-clock seconds of ``runs`` calls, and what the first one returned."""

    seconds: float
    runs: int
    value: T


def timed(run: Callable[[], T], repeats: int) -> Timed[T]:
    """The median of ``repeats`` calls after one that is not counted; of one call where it takes long."""
    first, value = clocked(run)
    if first > _LONG_SECONDS or repeats < 1:
        return Timed(first, 1, value)
    return Timed(statistics.median(clocked(run)[0] for _ in range(repeats)), repeats, value)


def clocked(run: Callable[[], T]) -> tuple[float, T]:
    """Wall-clock seconds of one call, until a GPU has finished, too; and what it returned."""
    _wait()
    start = time.perf_counter()
    found = run()
    _wait()
    return time.perf_counter() - start, found


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
