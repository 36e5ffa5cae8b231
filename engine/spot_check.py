"""A brute-force comparison that every result carries: three components, one hooked forward pass each.

It shares only the anatomy with the wave: whole prompts go through the model's own forward pass, without shared
prefixes, buckets of perturbations or control rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from contracts.components import Component, all_components
from contracts.experiments import Effect
from engine.effects import PatchingEffects
from engine.hooks import on_input, on_output
from engine.model import LoadedModel
from prompts import EncodedPair

_PAIRS = 4


@dataclass(frozen=True)
class SpotCheck:
    """``error``: the largest |wave - brute force| over these components and the first ``pairs`` pairs, in logits."""

    components: tuple[Component, ...]
    pairs: int
    error: float


@torch.no_grad()
def spot_check(model: LoadedModel, encoded: Sequence[EncodedPair], effects: PatchingEffects) -> SpotCheck:
    """Recompute the strongest head, the strongest MLP and one drawn component of the first pairs."""
    layers, heads = model.anatomy.layers, model.anatomy.heads
    strongest_head = int(effects.heads.abs().mean(0).argmax())
    strongest_mlp = int(effects.mlps.abs().mean(0).argmax())
    components = all_components(layers, heads)
    drawn = components[int(torch.randint(len(components), (1,), generator=torch.Generator().manual_seed(0)))]
    chosen = (Component(*divmod(strongest_head, heads)), Component(strongest_mlp), drawn)
    error = 0.0
    few = list(encoded[:_PAIRS])
    for row, pair in enumerate(few):
        reference = _Recorded(model, pair.reference_ids)
        source = _Recorded(model, pair.counterfactual_ids)
        for component in chosen:
            patched = _patched_logit(model, pair, component, effects.effect, reference, source)
            column = effects.mlps if component.head is None else effects.heads[..., component.head]
            claimed = float(column[row, component.layer])
            error = max(error, abs(patched - reference.logit(pair.answer_id) - claimed))
    return SpotCheck(chosen, len(few), error)


class _Recorded:
    """One prompt's forward pass, everything that heads and MLPs wrote at END kept."""

    def __init__(self, model: LoadedModel, ids: Sequence[int]) -> None:
        self.heads: dict[int, Tensor] = {}
        self.mlps: dict[int, Tensor] = {}

        def into(store: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
            return lambda states: store.update({layer: states[:, -1].clone()})

        blocks = list(enumerate(model.anatomy.blocks))
        with (
            on_input([(block.heads_out, into(self.heads, layer)) for layer, block in blocks]),
            on_output([(block.mlp, into(self.mlps, layer)) for layer, block in blocks]),
        ):
            self._logits = _forward(model, ids)

    def logit(self, token: int) -> float:
        return float(self._logits[token])


def _patched_logit(
    model: LoadedModel,
    pair: EncodedPair,
    component: Component,
    effect: Effect,
    reference: _Recorded,
    source: _Recorded,
) -> float:
    width = model.anatomy.head_dim

    def heads(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            states[:, -1] = reference.heads[layer]
            if layer == component.layer and component.head is not None:
                cut = slice(component.head * width, (component.head + 1) * width)
                states[:, -1, cut] = source.heads[layer][:, cut]
            return states

        return hook

    def mlp(layer: int) -> Callable[[Tensor], Tensor]:
        def hook(states: Tensor) -> Tensor:
            states = states.clone()
            if layer == component.layer and component.head is None:
                states[:, -1] = source.mlps[layer]
            elif effect == "direct":
                states[:, -1] = reference.mlps[layer]
            return states

        return hook

    blocks = list(enumerate(model.anatomy.blocks))
    with (
        on_input([(block.heads_out, heads(layer)) for layer, block in blocks]),
        on_output([(block.mlp, mlp(layer)) for layer, block in blocks]),
    ):
        return float(_forward(model, pair.reference_ids)[pair.answer_id])


def _forward(model: LoadedModel, ids: Sequence[int]) -> Tensor:
    tokens = torch.tensor([list(ids)], device=model.device)
    return model.hf(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[0, -1].to(model.work_dtype)
