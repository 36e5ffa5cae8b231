"""A brute-force comparison that every result carries: three components, one hooked forward pass each.

It shares only the anatomy with the wave: whole prompts go through the model's own forward pass, without shared
prefixes, buckets of perturbations or control rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from contracts.components import Component, all_components
from contracts.experiments import Effect
from engine.effects import PatchingEffects
from engine.hooks import evaluating, on_input, on_output
from engine.model import LoadedModel
from prompts import EncodedPair

_PAIRS = 4


@dataclass(frozen=True)
class SpotCheck:
    """``error``: the largest |wave - brute force| over these components and ``pairs`` pairs, in logits."""

    components: tuple[Component, ...]
    pairs: int
    error: float


@torch.no_grad()
def spot_check(model: LoadedModel, encoded: Sequence[EncodedPair], effects: PatchingEffects) -> SpotCheck:
    """Recompute the strongest head, the strongest MLP and one drawn component on pairs of the first one's length."""
    layers, heads = model.anatomy.layers, model.anatomy.heads
    components = all_components(layers, heads)
    drawn = components[int(torch.randint(len(components), (1,), generator=torch.Generator().manual_seed(0)))]
    strongest_head = int(effects.heads.abs().mean(0).argmax())
    strongest_mlp = int(effects.mlps.abs().mean(0).argmax())
    chosen = (Component(*divmod(strongest_head, heads)), Component(strongest_mlp), drawn)

    alike = [row for row, pair in enumerate(encoded) if _lengths(pair) == _lengths(encoded[0])][:_PAIRS]
    prompts = torch.tensor([encoded[row].reference_ids for row in alike], device=model.device)
    sources = torch.tensor([encoded[row].counterfactual_ids for row in alike], device=model.device)
    answers = torch.tensor([[encoded[row].answer_id] for row in alike], device=model.device)
    reference, source = _Recorded(model, prompts), _Recorded(model, sources)
    error = 0.0
    for component in chosen:
        patched = _patched(model, prompts, component, effects.effect, reference, source)
        change = (patched - reference.logits).gather(1, answers)[:, 0].cpu()
        claimed = effects.mlps if component.head is None else effects.heads[..., component.head]
        error = max(error, float((change - claimed[alike, component.layer]).abs().max()))
    return SpotCheck(chosen, len(alike), error)


def _lengths(pair: EncodedPair) -> tuple[int, int]:
    return len(pair.reference_ids), len(pair.counterfactual_ids)


class _Recorded:
    """One forward pass over some prompts, everything that heads and MLPs wrote at END kept."""

    def __init__(self, model: LoadedModel, prompts: Tensor) -> None:
        self.heads: dict[int, Tensor] = {}
        self.mlps: dict[int, Tensor] = {}

        def into(store: dict[int, Tensor], layer: int) -> Callable[[Tensor], None]:
            return lambda states: store.update({layer: states[:, -1].clone()})

        blocks = list(enumerate(model.anatomy.blocks))
        with (
            on_input([(block.heads_out, into(self.heads, layer)) for layer, block in blocks]),
            on_output([(block.writes, into(self.mlps, layer)) for layer, block in blocks]),
        ):
            self.logits = _forward(model, prompts)


def _patched(
    model: LoadedModel,
    prompts: Tensor,
    component: Component,
    effect: Effect,
    reference: _Recorded,
    source: _Recorded,
) -> Float[Tensor, "pair vocabulary"]:
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
        on_output([(block.writes, mlp(layer)) for layer, block in blocks]),
    ):
        return _forward(model, prompts)


def _forward(model: LoadedModel, prompts: Tensor) -> Float[Tensor, "pair vocabulary"]:
    with evaluating(model.hf):
        return model.hf(input_ids=prompts, use_cache=False, logits_to_keep=1).logits[:, -1].to(model.work_dtype)
