"""The wave: many perturbations of one run carried through the layers together, each weight read once for all of them.

A row is what one patch changes in the residual stream. It enters at a layer, and from there on everything that the
effect does not freeze is recomputed for it:

    direct        nothing
    through_mlps  the MLPs: heads stay as they are in the run, so that nothing crosses positions
    total         the MLPs and the heads

Rows enter in the order of their layers, so that those under way are always the first ones. Row 0 is the control:
nothing patched, everything recomputed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.specs import Effect
from arithmoscope.engine.forward.cached_run import Run
from arithmoscope.engine.models.loaded import LoadedModel

# What enters a layer: into the stream before it reads, beside its heads, or beside its MLP.
EntryPoint = Literal["stream", "heads", "mlp"]
Entering = Callable[[int, EntryPoint], Float[Tensor, "new row hidden"] | None]
Watching = Callable[[int, Float[Tensor, "active row hidden"]], None]
LayerProgress = Callable[[int, int], None]


@runtime_checkable
class Carrier(Protocol):
    """What the wave needs of a run; `EndStates` and `Run` have it. A row of it is a position of a prompt."""

    @property
    def mid(self) -> Float[Tensor, "row layer hidden"]: ...
    @property
    def mlp(self) -> Float[Tensor, "row layer hidden"]: ...
    @property
    def final(self) -> Float[Tensor, "row hidden"]: ...


@torch.no_grad()
def carry(
    model: LoadedModel,
    run: Carrier,
    effect: Effect,
    enter: Entering,
    rows: int,
    *,
    first_layer: int = 0,
    product_rows: int = 2_048,
    watch: Watching | None = None,
    progress: LayerProgress | None = None,
) -> Float[Tensor, "_ row hidden"]:
    """What each of ``rows`` patches, and the control before them, changes in the stream before the final norm, at END;
    at other positions the last layer's MLP, which nobody reads any more, is left out.

    ``enter(layer, place)`` gives the perturbations that begin there, from ``first_layer`` on. ``product_rows``: rows
    of one matrix product. ``watch(layer, active)`` sees the rows under way as the layer reads them.
    ``progress(done, total)`` counts layers. The effect ``total`` needs a `Run`.
    """
    layout = model.layout
    x = torch.zeros(1 + rows, *run.final.shape, dtype=model.work_dtype, device=model.device)
    step = max(1, product_rows // len(run.final))
    positions = run.positions if isinstance(run, Run) else 1
    active = 1

    def begin(layer: int, place: EntryPoint) -> None:
        nonlocal active
        new = enter(layer, place)
        if new is not None:
            x[active : active + len(new)] = new
            active += len(new)

    for layer in range(first_layer, layout.layers):
        block = layout.blocks[layer]
        begin(layer, "stream")
        if watch is not None:
            watch(layer, x[:active])
        before = active
        if block.parallel:  # heads and MLP read the same stream, and neither sees what the other writes
            begin(layer, "heads")
        elif effect == "total":
            for some in x[:before].split(step):
                some += _attend(model, run, layer, some)
        if not block.parallel:
            begin(layer, "heads")
            before = active
        if effect != "direct":
            read = slice(None) if layer + 1 < layout.layers else slice(positions - 1, None, positions)
            for some in x[:before].split(step):
                attended = _attend(model, run, layer, some) if block.parallel and effect == "total" else None
                some[:, read] += block.mlp_write(some[:, read] + run.mid[read, layer], model.dtype).sub_(
                    run.mlp[read, layer]
                )
                if attended is not None:
                    some += attended
        begin(layer, "mlp")
        if progress is not None:
            progress(layer + 1 - first_layer, layout.layers - first_layer)
    return x


def _attend(model: LoadedModel, run: Carrier, layer: int, rows: Tensor) -> Tensor:
    if not isinstance(run, Run):
        raise TypeError("the total effect follows attention and needs a Run")
    return run.attend(model, layer, rows)
