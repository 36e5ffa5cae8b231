"""The oracle of knock-outs: several components replaced by plain hooks in one forward pass. Shares no engine code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import oracle
import torch

from arithmoscope.contracts.components import Component

Written = tuple[list[torch.Tensor], list[torch.Tensor]]


@torch.no_grad()
def knocked_logits(hf, ids: list[int], components: Sequence[Component], instead: Written, first: int) -> torch.Tensor:
    """All logits at END with the components' outputs replaced by ``instead`` from position ``first`` on.

    ``instead``: of each layer the input of the output projection and the output of the MLP, [1, position, width], as
    many positions as are replaced, or one for all of them.
    """
    width = instead[0][0].shape[-1] // hf.config.num_attention_heads

    def heads_hook(layer: int):
        def hook(_module, args):
            z = args[0].clone()
            for component in components:
                if component.layer == layer and component.head is not None:
                    cut = slice(component.head * width, (component.head + 1) * width)
                    z[:, first:, cut] = instead[0][layer][..., cut]
            return (z,)

        return hook

    def mlp_hook(layer: int):
        def hook(_module, _args, out):
            out = out.clone()
            if Component(layer) in components:
                out[:, first:] = instead[1][layer]
            return out

        return hook

    with ExitStack() as stack:
        for layer, parts in enumerate(oracle.parts_of(hf)):
            stack.callback(parts.heads_out.register_forward_pre_hook(heads_hook(layer)).remove)
            stack.callback(parts.mlp.register_forward_hook(mlp_hook(layer)).remove)
        return oracle.logits(hf, ids)


def zeros(hf, ids: list[int]) -> Written:
    heads, mlps = oracle.record(hf, ids)
    return [torch.zeros_like(z[:, :1]) for z in heads], [torch.zeros_like(m[:, :1]) for m in mlps]


def mean_of(hf, prompts: Sequence[list[int]], first: int | None = None) -> Written:
    """The mean over prompts: at END, or at every position from ``first`` on, where all are of one length."""
    from_ = -1 if first is None else first
    runs = [oracle.record(hf, ids) for ids in prompts]
    heads, mlps = (
        [torch.stack([each[:, from_:] for each in layer]).mean(0) for layer in zip(*side, strict=True)]
        for side in zip(*runs, strict=True)
    )
    return heads, mlps


def run_of(hf, ids: list[int], first: int) -> Written:
    """The outputs of a run of another prompt from ``first`` on."""
    heads, mlps = oracle.record(hf, ids)
    return [z[:, first:] for z in heads], [m[:, first:] for m in mlps]


def greedy(hf, ids: list[int], components: Sequence[Component], instead: Written, first: int, tokens: int) -> list[int]:
    """Tokens generated with the components ablated from ``first`` on: a whole pass for every token, no cache.

    ``instead``: of the prompt's positions from ``first`` on and then of END, again and again.
    """
    written: list[int] = []
    for _ in range(tokens):
        length = len(ids) + len(written) - first
        now = tuple([_stretched(layer, length) for layer in side] for side in instead)
        logits = knocked_logits(hf, [*ids, *written], components, (now[0], now[1]), first)
        written.append(int(logits.argmax()))
    return written


def _stretched(layer: torch.Tensor, length: int) -> torch.Tensor:
    return torch.cat([layer, layer[:, -1:].expand(-1, max(0, length - layer.shape[1]), -1)], dim=1)[:, :length]
