"""The tuner ``offsets``: one vector per chosen head, added to its output at every position (LoFiT's second step)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.contracts.trainable import refuse_offsets_of_mlps
from arithmoscope.engine.forward.hooks import TensorHook, on_input
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.model_copy import copy_model
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput
from arithmoscope.engine.tuning.weight_changes import Values


def offsets(model: LoadedModel, options: TunerInput) -> TrainableModel:
    """Trains a vector added to each chosen head's output at every position. In the exported model it becomes a bias:
    the output projection of the vector, added to that projection's bias.
    """
    selection = options.chosen
    refuse_offsets_of_mlps(selection.components)
    layout = model.layout
    tuned = copy_model(model, ())
    layers = sorted({component.layer for component in selection.components})
    columns = {
        layer: torch.tensor(
            [
                column
                for component in selection.components
                if component.layer == layer and component.head is not None
                for column in range(component.head * layout.head_dim, (component.head + 1) * layout.head_dim)
            ],
            device=layout.blocks[layer].device,
        )
        for layer in layers
    }
    kind = torch.promote_types(model.dtype, torch.float32)
    values = tuple(
        nn.Parameter(torch.zeros(len(columns[layer]), dtype=kind, device=columns[layer].device)) for layer in layers
    )

    def full_width(layer: int, value: Tensor) -> Tensor:
        zeros = value.new_zeros(layout.heads * layout.head_dim)
        return zeros.index_put((columns[layer],), value)

    def hook(layer: int, value: Tensor) -> TensorHook:
        return lambda z: z + full_width(layer, value).to(z.dtype)

    def gradients() -> Any:
        blocks = tuned.layout.blocks
        return on_input(
            [(blocks[layer].heads_out, hook(layer, value)) for layer, value in zip(layers, values, strict=True)]
        )

    def changes() -> tuple[Values, ...]:
        biases = []
        for layer, value in zip(layers, values, strict=True):
            out: Any = layout.blocks[layer].heads_out
            name = next(name for name, module in model.hf.named_modules() if module is out)
            z = full_width(layer, value.detach()).unflatten(0, (layout.heads, -1))
            written = torch.einsum("hd,hdw->w", z, layout.blocks[layer].write.to(kind))
            whole = written if out.bias is None else out.bias.detach().to(kind) + written
            biases.append(Values(f"{name}.bias", 0, ((0, layout.hidden),), whole.to(model.dtype).cpu()))
        return tuple(biases)

    return TrainableModel(tuned, values, (1.0,) * len(values), gradients, lambda: None, changes)
