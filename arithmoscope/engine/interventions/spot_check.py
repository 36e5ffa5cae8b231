"""A brute-force comparison that every result carries: three components, one hooked forward pass each.

It shares only the layout with the wave: whole prompts go through the model's own forward pass, without shared
prefixes, buckets of perturbations or control rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.interventions.replacements import Means
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

_PAIRS = 4


@dataclass(frozen=True)
class SpotCheck:
    """``error``: the largest |wave - brute force| over these components and ``pairs`` pairs, in logits."""

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
    """Recompute the strongest head, the strongest MLP and one drawn component on pairs of the first one's length.

    ``mean``: what was patched in where the source was a mean. ``at_most``: pairs at once. Refuses (``not_finite``) a
    model that does not stay finite under brute force.
    """
    layers, heads = model.layout.layers, model.layout.heads
    components = all_components(layers, heads)
    drawn = components[int(torch.randint(len(components), (1,), generator=torch.Generator().manual_seed(0)))]
    strongest_head = int(effects.heads.abs().mean(0).argmax())
    strongest_mlp = int(effects.mlps.abs().mean(0).argmax())
    chosen = (Component(*divmod(strongest_head, heads)), Component(strongest_mlp), drawn)

    alike = [row for row, pair in enumerate(encoded) if _lengths(pair) == _lengths(encoded[0])][: min(_PAIRS, at_most)]
    answers = torch.tensor([[encoded[row].answer_id] for row in alike], device=model.device)
    runs = [
        torch.tensor([encoded[row].reference_ids for row in alike], device=model.device),
        torch.tensor([encoded[row].counterfactual_ids for row in alike], device=model.device),
    ]
    prompts, sources = runs if effects.direction == "noising" else runs[::-1]
    base = Recorded(model, prompts)
    source = base.zeroed() if effects.source == "zero" else base.means(mean) if mean else Recorded(model, sources)
    differences = []
    for component in chosen:
        patched = _patched(model, prompts, component, effects, base, source)
        change = (patched - base.logits).gather(1, answers)[:, 0].cpu()
        claimed = effects.mlps if component.head is None else effects.heads[..., component.head]
        differences.append(change - claimed[alike, component.layer])
    error = float(torch.stack(differences).abs().max())
    if not math.isfinite(error):
        raise Refusal("not_finite", "Patched by brute force, the model's logits are not finite.")
    return SpotCheck(chosen, len(alike), error)


def _lengths(pair: EncodedPair) -> tuple[int, int]:
    return len(pair.reference_ids), len(pair.counterfactual_ids)


class Recorded:
    """One forward pass over some prompts, everything that heads and MLPs wrote kept, [prompt, position, written]."""

    def __init__(self, model: LoadedModel, prompts: Tensor) -> None:
        self.heads: dict[int, Tensor] = {}
        self.mlps: dict[int, Tensor] = {}

        def into(store: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
            return lambda states: store.update({layer: states.clone()})

        blocks = list(enumerate(model.layout.blocks))
        with (
            on_input([(block.heads_out, into(self.heads, layer)) for layer, block in blocks]),
            on_output([(block.mlp_output, into(self.mlps, layer)) for layer, block in blocks]),
        ):
            self.logits = forward(model, prompts)

    def zeroed(self) -> Recorded:
        """The same with all that was written taken away."""
        return self._with(
            lambda layer, states: torch.zeros_like(states), lambda layer, states: torch.zeros_like(states)
        )

    def means(self, mean: Means) -> Recorded:
        """The same with the means written: position by position where there are such, else the mean at END."""

        def of(written: str) -> Callable[[int, Tensor], Tensor]:
            def take(layer: int, states: Tensor) -> Tensor:
                by_position = mean.by_length.get(states.shape[1])
                rows = getattr(by_position or mean.end, written)[:, layer].flatten(1)
                return rows.to(states.dtype).expand_as(states)

            return take

        return self._with(of("z"), of("mlp"))

    def _with(self, heads: Callable[[int, Tensor], Tensor], mlps: Callable[[int, Tensor], Tensor]) -> Recorded:
        other = object.__new__(Recorded)
        other.heads = {layer: heads(layer, states) for layer, states in self.heads.items()}
        other.mlps = {layer: mlps(layer, states) for layer, states in self.mlps.items()}
        other.logits = self.logits
        return other


def _patched(
    model: LoadedModel,
    prompts: Tensor,
    component: Component,
    effects: PatchingEffects,
    base: Recorded,
    source: Recorded,
) -> Float[Tensor, "pair vocabulary"]:
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

    blocks = list(enumerate(model.layout.blocks))
    with (
        on_input([(block.heads_out, heads(layer)) for layer, block in blocks]),
        on_output([(block.mlp_output, mlp(layer)) for layer, block in blocks]),
    ):
        return forward(model, prompts)


def forward(model: LoadedModel, prompts: Tensor) -> Float[Tensor, "pair vocabulary"]:
    """The model's own pass over whole prompts of one length: all logits at END."""
    with evaluating(model.hf):
        return model.hf(input_ids=prompts, use_cache=False, logits_to_keep=1).logits[:, -1].to(model.work_dtype)
