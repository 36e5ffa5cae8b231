"""The plain hook loop: one forward pass per component over all pairs at once, the fastest loop of its kind.

Last logits only, no cache, torch's own attention. For `direct` and `through_mlps` the other heads (and MLPs) are frozen
at END by hooks; for `total` one hook patches the component, and everything else is recomputed.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from arithmoscope import LoadedModel, PatchingEffects, PromptPair
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.prompts import encode_pair
from benchmarks.cases import Case, column, timed_once


class Prompts:
    """Pairs of one length as token ids."""

    def __init__(self, model: LoadedModel, pairs: list[PromptPair]) -> None:
        encoded = [encode_pair(pair, model.text) for pair in pairs]
        self.reference = torch.tensor([e.reference_ids for e in encoded], device=model.device)
        self.source = torch.tensor([e.counterfactual_ids for e in encoded], device=model.device)
        self.answers = torch.tensor([[e.answer_id] for e in encoded], device=model.device)
        both = torch.cat([self.reference, self.source])
        differs = (both != both[0]).any(0).nonzero()
        self.pairs, self.tokens = self.reference.shape
        self.shared = int(differs[0]) if len(differs) else self.tokens


class PlainLoop:
    """The loop over a model of Llama's layout."""

    def __init__(self, model: LoadedModel, prompts: Prompts) -> None:
        self.hf: Any = model.hf
        self.prompts = prompts
        self.width = model.layout.head_dim
        self.base, self.ref_z, self.ref_mlp = self._record(prompts.reference)
        _, self.src_z, self.src_mlp = self._record(prompts.source)

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """The answer's logit of every pair."""
        logits = self.hf(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        return logits.gather(1, self.prompts.answers)[:, 0]

    def _record(self, ids: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        z: list[Tensor] = []
        mlp: list[Tensor] = []
        with ExitStack() as stack:
            for layer in self.hf.model.layers:
                out = layer.self_attn.o_proj
                stack.callback(out.register_forward_pre_hook(lambda _m, a: z.append(a[0].clone())).remove)
                stack.callback(layer.mlp.register_forward_hook(lambda _m, _a, o: mlp.append(o.clone())).remove)
            logits = self.forward(ids)
        return logits, z, mlp

    def effect(self, component: Component, case: Case) -> Tensor:
        """The component's effect on every pair, in logits, by one forward pass."""
        with ExitStack() as stack:
            for index, layer in enumerate(self.hf.model.layers):
                if case.effect != "total" or (index == component.layer and component.head is not None):
                    hook = self._heads(index, component, case)
                    stack.callback(layer.self_attn.o_proj.register_forward_pre_hook(hook).remove)
                if case.effect == "direct" or (index == component.layer and component.head is None):
                    stack.callback(layer.mlp.register_forward_hook(self._mlp(index, component, case)).remove)
            return self.forward(self.prompts.reference) - self.base

    def _heads(self, index: int, component: Component, case: Case) -> Callable[..., Any]:
        positions = _positions(case)

        def hook(_module: Any, args: Any) -> Any:
            z = args[0].clone()
            if case.effect != "total":
                z[:, -1] = self.ref_z[index][:, -1]
            if index == component.layer and component.head is not None:
                cut = slice(component.head * self.width, (component.head + 1) * self.width)
                z[:, positions, cut] = self._patch(self.src_z[index][:, positions, cut], case)
            return (z,)

        return hook

    def _mlp(self, index: int, component: Component, case: Case) -> Callable[..., Any]:
        positions = _positions(case)

        def hook(_module: Any, _args: Any, out: Tensor) -> Tensor:
            if index == component.layer and component.head is None:
                out[:, positions] = self._patch(self.src_mlp[index][:, positions], case)
            else:
                out[:, -1] = self.ref_mlp[index][:, -1]
            return out

        return hook

    @staticmethod
    def _patch(written: Tensor, case: Case) -> Tensor:
        return torch.zeros_like(written) if case.source == "zero" else written


def _positions(case: Case) -> slice:
    return slice(None) if case.positions == "all" else slice(-1, None)


def sample_components(layers: int, heads: int, sample: int) -> list[Component]:
    """A fixed random sample of components."""
    components = all_components(layers, heads)
    return random.Random(0).sample(components, min(sample, len(components)))


def loop_row(
    loop: PlainLoop, case: Case, effects: PatchingEffects, components: list[Component]
) -> tuple[float, dict[str, Any]]:
    """Seconds of the loop over all components, estimated from a sample of passes, and its largest difference from our
    numbers.
    """
    times, differences = [], []
    for component in components:
        seconds, expected = timed_once(partial(loop.effect, component, case))
        times.append(seconds)
        differences.append(column(effects, component) - expected.cpu())
    error = float(torch.stack(differences).abs().max())  # not Python's max, which drops NaN
    total = effects.heads.shape[1] * (effects.heads.shape[2] + 1)
    checked = {"loop_sample": len(components), "largest_difference": float(f"{error:.1e}")}
    return statistics.median(times) * total, checked
