"""Where patches come from: the counterfactual run, nothing, a mean over prompts, or another prompt of the set.

Whatever the source, a patch replaces what a component wrote in the run by what it wrote in the source, so that one
engine serves patching and every ablation.
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import Positions
from arithmoscope.engine.forward.activations import TokenIds, end_states
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.forward.cached_run import run_from
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

_TRIES = 8


@runtime_checkable
class HasWrites(Protocol):
    """What heads and MLPs wrote; a row is a position of a prompt."""

    @property
    def z(self) -> Float[Tensor, "row layer head head_dim"]: ...
    @property
    def mlp(self) -> Float[Tensor, "row layer hidden"]: ...


@dataclass(frozen=True)
class Writes:
    """What heads (before the output projection) and MLPs write."""

    z: Float[Tensor, "row layer head head_dim"]
    mlp: Float[Tensor, "row layer hidden"]


def zero_writes(like: HasWrites) -> Writes:
    """Zero ablation: heads and MLPs that write nothing. The output projection's bias belongs to no head and stays."""
    return Writes(torch.zeros_like(like.z), torch.zeros_like(like.mlp))


@dataclass(frozen=True)
class Means:
    """Mean ablation. ``end``: over the last positions of all prompts of a set, one row. ``by_length``: over the
    prompts of one length, a row a position; only where all positions are patched."""

    end: Writes
    by_length: dict[int, Writes]

    def at_end(self, rows: int) -> Writes:
        """The mean at END, for each of ``rows`` prompts."""
        return Writes(self.end.z.expand(rows, -1, -1, -1), self.end.mlp.expand(rows, -1, -1))

    def everywhere(self, prompts: int, length: int) -> Writes:
        """The mean at every position, for each of some prompts of one length."""
        mean = self.by_length[length]
        return Writes(mean.z.repeat(prompts, 1, 1, 1), mean.mlp.repeat(prompts, 1, 1))


def check_means(pairs: Sequence[EncodedPair], over: Sequence[EncodedPair], positions: Positions) -> None:
    """Refuses pairs that have no mean, before anything is computed: where the mean would be over a pair's own prompt
    alone (``no_prompts``; its effects were 0 by definition), or no prompt has its length (``lengths_differ``)."""
    if not over:
        raise Refusal("no_prompts", "The set that the mean is taken over is empty.")
    sets: dict[int, set[TokenIds]] = defaultdict(set)
    for pair in over:
        sets[_kind(pair, positions)].add(pair.reference_ids)
    for number, pair in enumerate(pairs, start=1):
        mine = sets.get(_kind(pair, positions))
        if mine is None:
            raise Refusal(
                "lengths_differ",
                f"Pair {number}: no prompt of the set that the mean is over has {len(pair.reference_ids)} tokens.",
                "Use positions 'end', or prompts of equal length.",
            )
        if mine == {pair.reference_ids}:
            alike = f" with {len(pair.reference_ids)} tokens" if positions == "all" else ""
            raise Refusal(
                "no_prompts",
                f"Pair {number}: the set that the mean is taken over has no other prompt{alike}.",
                "Take the mean over several different prompts, for all positions of equal length.",
            )


@torch.no_grad()
def means(
    model: LoadedModel,
    prompts: Sequence[TokenIds],
    lengths: Collection[int],
    plan: Plan,
    go_on: Callable[[], None] = lambda: None,
) -> Means:
    """What every component writes on average over a set of prompts, each counted as often as it stands there; at all
    positions over those that have one of ``lengths``. ``go_on`` is called now and then, and may raise.

    Cost: one forward pass over the set, for all positions without shared beginnings.
    """
    z, mlp = _Sum(), _Sum()
    for start in range(0, len(prompts), plan.pairs):
        go_on()
        states = end_states(model, prompts[start : start + plan.pairs], plan.tokens)
        z.add(states.z)
        mlp.add(states.mlp)
    by_length = {}
    for length in sorted(lengths):
        by_length[length] = _everywhere(model, [ids for ids in prompts if len(ids) == length], plan, go_on)
    return Means(Writes(z.mean[None], mlp.mean[None]), by_length)


def _everywhere(model: LoadedModel, prompts: Sequence[TokenIds], plan: Plan, go_on: Callable[[], None]) -> Writes:
    z, mlp = _Sum(), _Sum()
    for start in range(0, len(prompts), plan.pairs):
        go_on()
        run = run_from(model, prompts[start : start + plan.pairs], 0, plan.tokens)
        z.add(run.z.unflatten(0, (run.prompts, run.positions)))
        mlp.add(run.mlp.unflatten(0, (run.prompts, run.positions)))
    return Writes(z.mean, mlp.mean)


class _Sum:
    def __init__(self) -> None:
        self._sum, self._n = None, 0

    def add(self, rows: Tensor) -> None:
        self._sum = rows.sum(0) if self._sum is None else self._sum + rows.sum(0)
        self._n += len(rows)

    @property
    def mean(self) -> Tensor:
        if self._sum is None:
            raise ValueError("nothing was added")
        return self._sum / self._n


def resampled(encoded: Sequence[EncodedPair], positions: Positions, seed: int) -> list[EncodedPair]:
    """The pairs, each with another one's reference prompt in the place of its counterfactual.

    Drawn among the pairs that ask another question, for all positions among those with as many tokens.
    Refuses (``no_prompts``) a set in which a pair has no other to draw from.
    """
    draw = random.Random(seed)
    alike: dict[int, list[EncodedPair]] = defaultdict(list)
    for pair in encoded:
        alike[_kind(pair, positions)].append(pair)
    drawn = []
    for number, pair in enumerate(encoded, start=1):
        among = alike[_kind(pair, positions)]
        other = next((o for o in draw.choices(among, k=_TRIES) if o.question != pair.question), None)
        if other is None:  # few others ask something else: look through them all
            others = [o for o in among if o.question != pair.question]
            if not others:
                raise Refusal(
                    "no_prompts",
                    f"Pair {number}: no other prompt of the set can take its place.",
                    "Resampling needs a set of different questions, for all positions with equal numbers of tokens.",
                )
            other = draw.choice(others)
        drawn.append(
            dataclasses.replace(
                pair, counterfactual_ids=other.reference_ids, counterfactual_tokens=other.reference_tokens
            )
        )
    return drawn


def _kind(pair: EncodedPair, positions: Positions) -> int:
    return len(pair.reference_ids) if positions == "all" else 0
