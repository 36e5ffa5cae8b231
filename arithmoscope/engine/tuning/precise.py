"""The tuner ``precise``: trains the slices of chosen heads and the chosen MLPs, and nothing else."""

from __future__ import annotations

from typing import Any

from torch import nn

from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.model_copy import copy_model
from arithmoscope.engine.tuning.sliced_gradients import tapped
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput, widen
from arithmoscope.engine.tuning.weight_changes import Values
from arithmoscope.engine.tuning.weight_slices import read_slice, write_slice


def precise(model: LoadedModel, options: TunerInput) -> TrainableModel:
    """Trains chosen slices, each as its own parameter in float32 or wider regardless of the dtype of the weights: an
    update of narrow weights would round to nothing. The model computes with that parameter rounded once.
    """
    selection = options.chosen
    tuned = copy_model(model, {each.name for each in selection.slices})
    weights: dict[str, Any] = dict(tuned.hf.named_parameters())
    held = [weights[each.name] for each in selection.slices]
    values = tuple(
        nn.Parameter(widen(read_slice(w, p.axis, p.ranges))) for w, p in zip(held, selection.slices, strict=True)
    )

    def write_back() -> None:
        for each, weight, value in zip(selection.slices, held, values, strict=True):
            write_slice(weight, each.axis, each.ranges, value.detach())

    def changes() -> tuple[Values, ...]:
        pairs = zip(selection.slices, held, strict=True)
        return tuple(Values(p.name, p.axis, p.ranges, read_slice(w.detach(), p.axis, p.ranges).cpu()) for p, w in pairs)

    # The paper multiplies the heads' gradients by H/h. AdamW divides by gradient size, so here it becomes a factor on
    # the learning rate.
    heads = sum(component.head is not None for component in selection.components)
    scale = model.layout.layers * model.layout.heads / heads if options.head_scale and heads else 1.0
    rates = tuple(scale if each.kind == "head" else 1.0 for each in selection.slices)
    return TrainableModel(tuned, values, rates, lambda: tapped(tuned.hf, selection.slices, values), write_back, changes)
