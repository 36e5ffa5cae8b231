"""The tuner ``precise``: the chosen heads' slices and the chosen MLPs, and nothing else."""

from __future__ import annotations

from typing import Any

from torch import nn

from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.model_copy import copied
from arithmoscope.engine.tuning.parts import put, taken
from arithmoscope.engine.tuning.sliced_gradients import tapped
from arithmoscope.engine.tuning.trainee import Trainee, Wish, wide
from arithmoscope.engine.tuning.weight_changes import Values


def precise(model: LoadedModel, wish: Wish) -> Trainee:
    """Chosen slices alone, each a parameter of its own in float32 or wider, however the weights are kept: a step on
    narrow weights would round to nothing. What the model computes with is that parameter, rounded once."""
    selection = wish.chosen
    tuned = copied(model, {part.name for part in selection.parts})
    weights: dict[str, Any] = dict(tuned.hf.named_parameters())
    held = [weights[part.name] for part in selection.parts]
    values = tuple(nn.Parameter(wide(taken(w, p.axis, p.ranges))) for w, p in zip(held, selection.parts, strict=True))

    def settle() -> None:
        for part, weight, value in zip(selection.parts, held, values, strict=True):
            put(weight, part.axis, part.ranges, value.detach())

    def changes() -> tuple[Values, ...]:
        pairs = zip(selection.parts, held, strict=True)
        return tuple(Values(p.name, p.axis, p.ranges, taken(w.detach(), p.axis, p.ranges).cpu()) for p, w in pairs)

    # The paper multiplies the heads' gradients by H/h: under AdamW, which divides by their size, that is only kept as
    # a factor on the rate.
    heads = sum(component.head is not None for component in selection.components)
    scale = model.layout.layers * model.layout.heads / heads if wish.head_scale and heads else 1.0
    rates = tuple(scale if part.kind == "head" else 1.0 for part in selection.parts)
    return Trainee(tuned, values, rates, lambda: tapped(tuned.hf, selection.parts, values), settle, changes)
