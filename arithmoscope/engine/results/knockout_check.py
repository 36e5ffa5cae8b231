"""A brute-force comparison that every knock-out carries: some points of its curve, one hooked forward pass each.

It shares only the layout and the means with the wave: whole prompts go through the model's own forward pass, one at a
time, without forks, shared keys and values or batches.
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
from arithmoscope.engine.forward.hooks import on_input, on_output
from arithmoscope.engine.interventions.ablation import first_position
from arithmoscope.engine.interventions.spot_check import Recorded, forward
from arithmoscope.engine.measures.knockout_result import Knockout
from arithmoscope.engine.methods.knockout import Task
from arithmoscope.engine.models.loaded import LoadedModel

_PAIRS = 4


@dataclass(frozen=True)
class KnockCheck:
    """``error``: the largest |wave - brute force| over ``points`` of the curve and ``pairs`` pairs, in logits."""

    points: int
    pairs: int
    error: float


@torch.no_grad()
def knock_check(model: LoadedModel, task: Task, found: Knockout) -> KnockCheck:
    """Recompute the first, the middle and the last point of the curve and of the first random draw, on the first pairs.

    ``found``: the task's pairs from the first one on. Refuses (``not_finite``) a model that does not stay finite.
    """
    last = len(found.components)
    ks = sorted({1, (1 + last) // 2, last})
    pairs = min(_PAIRS, len(found))
    differences = []
    for number, draw in enumerate(task.draws[:2]):
        claimed = found.control_logits[0] if number else found.logits
        for k in ks:
            for row in range(pairs):
                logits = _knocked(model, task, row, draw.components[:k])
                columns = torch.stack([found.answers[row], found.competitors[row]])
                differences.append((logits[columns] - claimed[k, row]).abs().max())
    error = float(torch.stack(differences).max())
    if not math.isfinite(error):
        raise Refusal("not_finite", "KnockoutOutputs out by brute force, the model's logits are not finite.")
    return KnockCheck(len(ks) * len(task.draws[:2]), pairs, error)


def _knocked(model: LoadedModel, task: Task, row: int, components: Sequence[Component]) -> Float[Tensor, " vocabulary"]:
    """All logits at END of one pair's reference prompt with the components out, on the CPU."""
    pair, width = task.pairs[row], model.layout.head_dim
    prompt = torch.tensor([pair.reference_ids], device=model.device)
    own = len(pair.reference_ids) - first_position(task.positions, len(pair.reference_ids))
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
                    states[:, -own:, cut] = source.heads[layer][:, -own:, cut]
            return states

        return hook

    def mlp(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            if Component(layer) in components:
                states[:, -own:] = source.mlps[layer][:, -own:]
            return states

        return hook

    blocks = list(enumerate(model.layout.blocks))
    with (
        on_input([(block.heads_out, heads(layer)) for layer, block in blocks]),
        on_output([(block.mlp_output, mlp(layer)) for layer, block in blocks]),
    ):
        return forward(model, prompt)[0].cpu()
