"""Sources of patches: the counterfactual run, zero, a mean over prompts, or another prompt of the set.

With every source, a patch replaces a component's output in the run by its output in the source, so that patching and
all ablations share one implementation.
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
from arithmoscope.contracts.terms import Positions
from arithmoscope.engine.forward.activations import TokenIds, end_states
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.forward.cached_run import run_from
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

_TRIES = 8


@runtime_checkable
class HasWrites(Protocol):
    """Has the outputs of heads (before the output projection) and MLPs; a row is a position of a prompt."""

    @property
    def z(self) -> Float[Tensor, "row layer head head_dim"]: ...
    @property
    def mlp(self) -> Float[Tensor, "row layer hidden"]: ...


@dataclass(frozen=True)
class Writes:
    """Outputs of heads (before the output projection) and MLPs; a row is a position of a prompt."""

    z: Float[Tensor, "row layer head head_dim"]
    mlp: Float[Tensor, "row layer hidden"]


def zero_writes(like: HasWrites) -> Writes:
    """Zero ablation: zero output for all heads and MLPs. The output projection's bias belongs to no head and stays."""
    return Writes(torch.zeros_like(like.z), torch.zeros_like(like.mlp))


@dataclass(frozen=True)
class Means:
    """Mean outputs over a set of prompts, for mean ablation.

    end        over the last positions of all prompts, one row
    by_length  over the prompts of each length, one row per position; filled only if all positions are patched
    """

    end: Writes
    by_length: dict[int, Writes]

    def at_end(self, rows: int) -> Writes:
        """The mean at END, repeated for ``rows`` prompts."""
        return Writes(self.end.z.expand(rows, -1, -1, -1), self.end.mlp.expand(rows, -1, -1))

    def everywhere(self, prompts: int, length: int) -> Writes:
        """The mean at every position, repeated for ``prompts`` prompts of one length."""
        mean = self.by_length[length]
        return Writes(mean.z.repeat(prompts, 1, 1, 1), mean.mlp.repeat(prompts, 1, 1))


def check_means(pairs: Sequence[EncodedPair], over: Sequence[EncodedPair], positions: Positions) -> None:
    """Checks, before anything is computed, that every pair has a meaningful mean.

    Raises:
        Refusal: ``no_prompts`` if the set ``over`` is empty or the mean would cover only a pair's own prompt, so that
            its effects were 0 by definition; ``lengths_differ`` if no prompt has a pair's length.
    """
    if not over:
        raise Refusal("no_prompts", "The set of prompts to average over is empty.")
    sets: dict[int, set[TokenIds]] = defaultdict(set)
    for pair in over:
        sets[_length_key(pair, positions)].add(pair.reference_ids)
    for number, pair in enumerate(pairs, start=1):
        same_length = sets.get(_length_key(pair, positions))
        if same_length is None:
            raise Refusal(
                "lengths_differ",
                f"Pair {number}: no prompt of the set to average over has {len(pair.reference_ids)} tokens.",
                "Use positions 'end', or prompts of equal length.",
            )
        if same_length == {pair.reference_ids}:
            same_length_note = f" with {len(pair.reference_ids)} tokens" if positions == "all" else ""
            raise Refusal(
                "no_prompts",
                f"Pair {number}: the set of prompts to average over has no other prompt{same_length_note}.",
                "Take the mean over several different prompts; for all positions, they need equal lengths.",
            )


@torch.no_grad()
def means(
    model: LoadedModel,
    prompts: Sequence[TokenIds],
    lengths: Collection[int],
    plan: Plan,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Means:
    """Every component's mean output over a list of prompts, repeats included; at END, and for prompts with one of
    ``lengths`` at every position. ``check_cancelled`` is called before each batch and may raise.

    Cost: one forward pass over the prompts; another, without shared prefixes, for means at every position.
    """
    z, mlp = _RunningMean(), _RunningMean()
    for start in range(0, len(prompts), plan.pairs):
        check_cancelled()
        states = end_states(model, prompts[start : start + plan.pairs], plan.tokens)
        z.add(states.z)
        mlp.add(states.mlp)
    by_length = {}
    for length in sorted(lengths):
        by_length[length] = _everywhere(model, [ids for ids in prompts if len(ids) == length], plan, check_cancelled)
    return Means(Writes(z.mean[None], mlp.mean[None]), by_length)


def _everywhere(
    model: LoadedModel, prompts: Sequence[TokenIds], plan: Plan, check_cancelled: Callable[[], None]
) -> Writes:
    z, mlp = _RunningMean(), _RunningMean()
    for start in range(0, len(prompts), plan.pairs):
        check_cancelled()
        run = run_from(model, prompts[start : start + plan.pairs], 0, plan.tokens)
        z.add(run.z.unflatten(0, (run.prompts, run.positions)))
        mlp.add(run.mlp.unflatten(0, (run.prompts, run.positions)))
    return Writes(z.mean, mlp.mean)


class _RunningMean:
    """A running mean over the first axis."""

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
    """The pairs, each with another pair's reference prompt as its counterfactual.

    Drawn among the pairs with a different question; for all positions, among those with equally many tokens.

    Raises:
        Refusal: ``no_prompts`` if a pair has no other to draw from.
    """
    rng = random.Random(seed)
    by_length: dict[int, list[EncodedPair]] = defaultdict(list)
    for pair in encoded:
        by_length[_length_key(pair, positions)].append(pair)
    resampled_pairs = []
    for number, pair in enumerate(encoded, start=1):
        candidates = by_length[_length_key(pair, positions)]
        other = next((o for o in rng.choices(candidates, k=_TRIES) if o.question != pair.question), None)
        if other is None:  # few candidates have another question: search all of them
            others = [o for o in candidates if o.question != pair.question]
            if not others:
                raise Refusal(
                    "no_prompts",
                    f"Pair {number}: no other prompt of the set can take its place.",
                    "Resampling needs a set of different questions; for all positions, with equal numbers of tokens.",
                )
            other = rng.choice(others)
        resampled_pairs.append(
            dataclasses.replace(
                pair, counterfactual_ids=other.reference_ids, counterfactual_tokens=other.reference_tokens
            )
        )
    return resampled_pairs


def _length_key(pair: EncodedPair, positions: Positions) -> int:
    """The number of tokens if all positions are patched, so that lengths must match; otherwise 0."""
    return len(pair.reference_ids) if positions == "all" else 0
