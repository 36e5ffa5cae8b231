"""Brute-force check of every knock-out: some points of its curve are recomputed with one hooked forward pass each.

It shares only the layout and the means with the fast implementation: whole prompts go through the model's own forward
pass, one at a time, without forks, shared keys and values, or batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.interventions.ablation import first_position
from arithmoscope.engine.interventions.spot_check import Recorded, forward
from arithmoscope.engine.measures.knockout_result import Knockout
from arithmoscope.engine.methods.knockout import Task
from arithmoscope.engine.models.loaded import LoadedModel

_PAIRS = 4


@dataclass(frozen=True)
class KnockCheck:
    """``error``: the largest |fast - brute force| over ``points`` of the curve and ``pairs`` pairs, in logits."""

    points: int
    pairs: int
    error: float


@torch.no_grad()
def check_knockout(model: LoadedModel, task: Task, result: Knockout) -> KnockCheck:
    """Recomputes the first, middle and last point of the curve and of the first random draw, on the first pairs.

    ``result``: the task's pairs from the first one on.

    Raises:
        Refusal: ``not_finite`` if the recomputed logits are not finite.
    """
    last = len(result.components)
    ks = sorted({1, (1 + last) // 2, last})
    pairs = min(_PAIRS, len(result))
    differences = []
    for number, draw in enumerate(task.draws[:2]):
        claimed = result.control_logits[0] if number else result.logits
        for k in ks:
            for row in range(pairs):
                logits = _knocked(model, task, row, draw.components[:k])
                columns = torch.stack([result.answers[row], result.competitors[row]])
                differences.append((logits[columns] - claimed[k, row]).abs().max())
    error = float(torch.stack(differences).max())
    if not math.isfinite(error):
        raise Refusal("not_finite", "In the brute-force check of the knock-out, the model's logits are not finite.")
    return KnockCheck(len(ks) * len(task.draws[:2]), pairs, error)


def _knocked(model: LoadedModel, task: Task, row: int, components: Sequence[Component]) -> Float[Tensor, " vocabulary"]:
    """All logits at END of one pair's reference prompt with the components knocked out, on the CPU."""
    pair, width = task.pairs[row], model.layout.head_dim
    prompt = torch.tensor([pair.reference_ids], device=model.device)
    positions = len(pair.reference_ids) - first_position(task.positions, len(pair.reference_ids))
    if task.ablation == "resample":
        source = Recorded(model, torch.tensor([pair.counterfactual_ids], device=model.device))
    else:
        base = Recorded(model, prompt)
        source = base.means(task.mean) if task.mean is not None else base.zeroed()

    def heads(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            for component in components:
                if component.layer == layer and component.head is not None:
                    cut = slice(component.head * width, (component.head + 1) * width)
                    states[:, -positions:, cut] = source.heads[layer][:, -positions:, cut]
            return states

        return hook

    def mlp(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            if Component(layer) in components:
                states[:, -positions:] = source.mlps[layer][:, -positions:]
            return states

        return hook

    return forward(model, prompt, heads, mlp)[0].cpu()
