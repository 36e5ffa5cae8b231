"""Spot check: a brute-force comparison stored with every result, three components with one hooked forward pass each.

It shares only the model's layout with `propagation`: whole prompts go through the model's own forward pass, without
shared prefixes, batches of perturbations or control rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.hooks import TensorHook, evaluating, on_input, on_output
from arithmoscope.engine.interventions.replacements import Means
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

_PAIRS = 4


@dataclass(frozen=True)
class SpotCheck:
    """``error``: the largest |propagation - brute force| over these components and ``pairs`` pairs, in logits."""

    components: tuple[Component, ...]
    pairs: int
    error: float


@torch.no_grad()
def spot_check(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    effects: PatchingEffects,
    mean: Means | None = None,
    at_most: int = _PAIRS,
) -> SpotCheck:
    """Recomputes the strongest head, the strongest MLP and one random component on pairs as long as the first one.

    ``mean``: the mean that was patched in, if the source was a mean. ``at_most``: upper limit of the number of pairs.

    Raises:
        Refusal: ``not_finite`` if the brute-force logits are not finite.
    """
    layers, heads = model.layout.layers, model.layout.heads
    components = all_components(layers, heads)
    random_component = components[int(torch.randint(len(components), (1,), generator=torch.Generator().manual_seed(0)))]
    strongest_head = int(effects.heads.abs().mean(0).argmax())
    strongest_mlp = int(effects.mlps.abs().mean(0).argmax())
    checked = (Component(*divmod(strongest_head, heads)), Component(strongest_mlp), random_component)

    rows = [row for row, pair in enumerate(encoded) if _lengths(pair) == _lengths(encoded[0])][: min(_PAIRS, at_most)]
    answers = torch.tensor([[encoded[row].answer_id] for row in rows], device=model.device)
    runs = [
        torch.tensor([encoded[row].reference_ids for row in rows], device=model.device),
        torch.tensor([encoded[row].counterfactual_ids for row in rows], device=model.device),
    ]
    prompts, sources = runs if effects.direction == "noising" else runs[::-1]
    base = Recorded(model, prompts)
    source = base.zeroed() if effects.source == "zero" else base.means(mean) if mean else Recorded(model, sources)
    differences = []
    for component in checked:
        patched = _patched(model, prompts, component, effects, base, source)
        change = (patched - base.logits).gather(1, answers)[:, 0].cpu()
        measured = effects.mlps if component.head is None else effects.heads[..., component.head]
        differences.append(change - measured[rows, component.layer])
    error = float(torch.stack(differences).abs().max())
    if not math.isfinite(error):
        raise Refusal("not_finite", "Patched by brute force, the model's logits are not finite.")
    return SpotCheck(checked, len(rows), error)


def _lengths(pair: EncodedPair) -> tuple[int, int]:
    return len(pair.reference_ids), len(pair.counterfactual_ids)


class Recorded:
    """One forward pass with the outputs of all heads and MLPs, each [prompt, position, output], and the logits at
    END."""

    def __init__(self, model: LoadedModel, prompts: Tensor) -> None:
        self.heads: dict[int, Tensor] = {}
        self.mlps: dict[int, Tensor] = {}

        def into(store: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
            return lambda states: store.update({layer: states.clone()})

        self.logits = forward(model, prompts, partial(into, self.heads), partial(into, self.mlps))

    def zeroed(self) -> Recorded:
        """A copy with all outputs zero."""
        return self._with(
            lambda layer, states: torch.zeros_like(states), lambda layer, states: torch.zeros_like(states)
        )

    def means(self, mean: Means) -> Recorded:
        """A copy with mean outputs: per position if there are such for this length, else the mean at END."""

        def of(field: str) -> Callable[[int, Tensor], Tensor]:
            def take(layer: int, states: Tensor) -> Tensor:
                by_position = mean.by_length.get(states.shape[1])
                rows = getattr(by_position or mean.end, field)[:, layer].flatten(1)
                return rows.to(states.dtype).expand_as(states)

            return take

        return self._with(of("z"), of("mlp"))

    def _with(self, heads: Callable[[int, Tensor], Tensor], mlps: Callable[[int, Tensor], Tensor]) -> Recorded:
        copy = object.__new__(Recorded)
        copy.heads = {layer: heads(layer, states) for layer, states in self.heads.items()}
        copy.mlps = {layer: mlps(layer, states) for layer, states in self.mlps.items()}
        copy.logits = self.logits
        return copy


def _patched(
    model: LoadedModel,
    prompts: Tensor,
    component: Component,
    effects: PatchingEffects,
    base: Recorded,
    source: Recorded,
) -> Float[Tensor, "pair vocabulary"]:
    """Logits at END of a run in which one component's output is the source's, by hooks in a full forward pass."""
    width = model.layout.head_dim
    patched = slice(None) if effects.positions == "all" else slice(-1, None)

    def heads(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            if effects.effect != "total":
                states[:, -1] = base.heads[layer][:, -1]
            if layer == component.layer and component.head is not None:
                cut = slice(component.head * width, (component.head + 1) * width)
                states[:, patched, cut] = source.heads[layer][:, patched, cut]
            return states

        return hook

    def mlp(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            if layer == component.layer and component.head is None:
                states[:, patched] = source.mlps[layer][:, patched]
            elif effects.effect == "direct":
                states[:, -1] = base.mlps[layer][:, -1]
            return states

        return hook

    return forward(model, prompts, heads, mlp)


def forward(
    model: LoadedModel, prompts: Tensor, heads: Callable[[int], TensorHook], mlp: Callable[[int], TensorHook]
) -> Float[Tensor, "pair vocabulary"]:
    """All logits at END from the model's own forward pass over whole prompts of one length, with a layer's hook on the
    outputs of all its heads and one on the output of its MLP."""
    blocks = list(enumerate(model.layout.blocks))
    with (
        on_input([(block.heads_out, heads(layer)) for layer, block in blocks]),
        on_output([(block.mlp_output, mlp(layer)) for layer, block in blocks]),
        evaluating(model.hf),
    ):
        return model.hf(input_ids=prompts, use_cache=False, logits_to_keep=1).logits[:, -1].to(model.work_dtype)
