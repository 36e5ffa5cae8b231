"""Propagates many perturbations of one run through the layers together ("the wave"), reading each weight once for all.

A row is the change that one patch makes to the residual stream. It enters at a layer; from there on, the parts that the
effect does not freeze are recomputed for it:

    direct        nothing
    through_mlps  the MLPs: heads keep their output of the run, so that nothing crosses positions
    total         the MLPs and the heads

Rows enter in the order of their layers, so that the active ones always come first. Row 0 is the control: nothing
patched, everything recomputed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.terms import Effect
from arithmoscope.engine.forward.cached_run import Run
from arithmoscope.engine.models.loaded import LoadedModel

# Where a perturbation enters a layer: the stream before the layer, the heads' output, or the MLP's output.
EntryPoint = Literal["stream", "heads", "mlp"]
Enter = Callable[[int, EntryPoint], Float[Tensor, "new row hidden"] | None]
OnLayer = Callable[[int, Float[Tensor, "active row hidden"]], None]
LayerProgress = Callable[[int, int], None]


@runtime_checkable
class BaseRun(Protocol):
    """The activations that `carry` needs of a run; `EndStates` and `Run` have them. A row is a position of a prompt."""

    @property
    def mid(self) -> Float[Tensor, "row layer hidden"]: ...
    @property
    def mlp(self) -> Float[Tensor, "row layer hidden"]: ...
    @property
    def final(self) -> Float[Tensor, "row hidden"]: ...


@torch.no_grad()
def carry(
    model: LoadedModel,
    run: BaseRun,
    effect: Effect,
    enter: Enter,
    rows: int,
    *,
    first_layer: int = 0,
    product_rows: int = 2_048,
    on_layer: OnLayer | None = None,
    progress: LayerProgress | None = None,
) -> Float[Tensor, "_ row hidden"]:
    """The change of the stream before the final norm for the control row and each of ``rows`` patches. It is complete
    at END only: at other positions the last layer's MLP is skipped, since nothing reads it.

    ``enter(layer, point)`` returns the perturbations that enter there, from ``first_layer`` on. ``product_rows``: rows
    per matrix product. ``on_layer(layer, active)`` receives the active rows as the layer reads them.
    ``progress(done, total)`` counts layers. The effect ``total`` needs a `Run`.
    """
    layout = model.layout
    x = torch.zeros(1 + rows, *run.final.shape, dtype=model.work_dtype, device=model.device)
    step = max(1, product_rows // len(run.final))
    positions = run.positions if isinstance(run, Run) else 1
    active = 1

    def add_patches(layer: int, point: EntryPoint) -> None:
        nonlocal active
        new = enter(layer, point)
        if new is not None:
            x[active : active + len(new)] = new
            active += len(new)

    for layer in range(first_layer, layout.layers):
        block = layout.blocks[layer]
        add_patches(layer, "stream")
        if on_layer is not None:
            on_layer(layer, x[:active])
        readers = active  # rows that the sublayer to be computed reads
        if block.parallel:  # heads and MLP read the same stream; neither sees the other's output
            add_patches(layer, "heads")
        elif effect == "total":
            for batch in x[:readers].split(step):
                batch += _attention_change(model, run, layer, batch)
        if not block.parallel:
            add_patches(layer, "heads")
            readers = active
        if effect != "direct":
            mlp_rows = slice(None) if layer + 1 < layout.layers else slice(positions - 1, None, positions)
            for batch in x[:readers].split(step):
                attention_change = None
                if block.parallel and effect == "total":
                    attention_change = _attention_change(model, run, layer, batch)
                output = block.mlp_write(batch[:, mlp_rows] + run.mid[mlp_rows, layer], model.dtype)
                batch[:, mlp_rows] += output.sub_(run.mlp[mlp_rows, layer])
                if attention_change is not None:
                    batch += attention_change
        add_patches(layer, "mlp")
        if progress is not None:
            progress(layer + 1 - first_layer, layout.layers - first_layer)
    return x


def _attention_change(model: LoadedModel, run: BaseRun, layer: int, rows: Tensor) -> Tensor:
    if not isinstance(run, Run):
        raise TypeError("the total effect recomputes attention and needs a Run")
    return run.attend(model, layer, rows)
