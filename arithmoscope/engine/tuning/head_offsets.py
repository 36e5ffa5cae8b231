"""The tuner ``offsets``: one vector a chosen head, added to its output at every position (LoFiT's second step)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.hooks import TensorHook, on_input
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.model_copy import copied
from arithmoscope.engine.tuning.trainee import Trainee, Wish
from arithmoscope.engine.tuning.weight_changes import Values


def offsets(model: LoadedModel, wish: Wish) -> Trainee:
    """A vector added to each chosen head's output at every position. In the end it is what the output projection makes
    of it, added to that projection's bias."""
    selection = wish.chosen
    if any(component.head is None for component in selection.components):
        raise Refusal("bad_component", "Offsets are added to heads, not to MLPs.", "Name heads alone.")
    layout = model.layout
    tuned = copied(model, ())
    layers = sorted({component.layer for component in selection.components})
    places = {
        layer: torch.tensor(
            [
                place
                for component in selection.components
                if component.layer == layer and component.head is not None
                for place in range(component.head * layout.head_dim, (component.head + 1) * layout.head_dim)
            ],
            device=layout.blocks[layer].device,
        )
        for layer in layers
    }
    kind = torch.promote_types(model.dtype, torch.float32)
    values = tuple(nn.Parameter(torch.zeros(len(places[at]), dtype=kind, device=places[at].device)) for at in layers)

    def added(layer: int, value: Tensor) -> Tensor:
        nothing = value.new_zeros(layout.heads * layout.head_dim)
        return nothing.index_put((places[layer],), value)

    def adding(layer: int, value: Tensor) -> TensorHook:
        return lambda z: z + added(layer, value).to(z.dtype)

    def active() -> Any:
        blocks = tuned.layout.blocks
        return on_input([(blocks[at].heads_out, adding(at, value)) for at, value in zip(layers, values, strict=True)])

    def changes() -> tuple[Values, ...]:
        found = []
        for layer, value in zip(layers, values, strict=True):
            out: Any = layout.blocks[layer].heads_out
            name = next(name for name, module in model.hf.named_modules() if module is out)
            z = added(layer, value.detach()).unflatten(0, (layout.heads, -1))
            written = torch.einsum("hd,hdw->w", z, layout.blocks[layer].write.to(kind))
            whole = written if out.bias is None else out.bias.detach().to(kind) + written
            found.append(Values(f"{name}.bias", 0, ((0, layout.hidden),), whole.to(model.dtype).cpu()))
        return tuple(found)

    return Trainee(tuned, values, (1.0,) * len(values), active, lambda: None, changes)
