"""The oracle: a plain hook loop, one forward pass per component, sharing no code with the engine.

Every effect of the engine is tested against it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Parts:
    """A layer's modules as their family names them; ``mlp`` is the last one of its sublayer."""

    heads_out: nn.Module
    mlp: nn.Module


def parts_of(hf) -> list[Parts]:
    match type(hf).__name__:
        case "GPT2LMHeadModel":
            return [Parts(layer.attn.c_proj, layer.mlp) for layer in hf.transformer.h]
        case "GPTJForCausalLM":
            return [Parts(layer.attn.out_proj, layer.mlp) for layer in hf.transformer.h]
        case "FalconForCausalLM":
            return [Parts(layer.self_attention.dense, layer.mlp) for layer in hf.transformer.h]
        case "GPTNeoXForCausalLM":
            return [Parts(layer.attention.dense, layer.mlp) for layer in hf.gpt_neox.layers]
        case "Gemma2ForCausalLM" | "Gemma3ForCausalLM" | "Olmo2ForCausalLM":
            # The MLP writes the output of the norm after it into the residual stream.
            return [Parts(layer.self_attn.o_proj, layer.post_feedforward_layernorm) for layer in hf.model.layers]
        case _:
            return [Parts(layer.self_attn.o_proj, layer.mlp) for layer in hf.model.layers]


@torch.no_grad()
def record(hf, ids: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The input of every output projection and the output of every MLP, all positions."""
    heads, mlps = [], []
    with ExitStack() as stack:
        for parts in parts_of(hf):
            stack.callback(
                parts.heads_out.register_forward_pre_hook(lambda _m, args: heads.append(args[0].clone())).remove
            )
            stack.callback(parts.mlp.register_forward_hook(lambda _m, _a, out: mlps.append(out.clone())).remove)
        hf(torch.tensor([ids], device=hf.device), use_cache=False)
    return heads, mlps


@torch.no_grad()
def patched_logits(
    hf,
    reference: list[int],
    source: list[int],
    layer: int,
    head: int | None,
    effect: str,
    recorded=None,
    positions: str = "end",
) -> torch.Tensor:
    """All logits at END of the reference prompt with one component's output taken from the source prompt.

    ``recorded``: outputs of the reference run and of the source, if the source is not a run of a prompt.
    """
    (ref_heads, ref_mlps), (src_heads, src_mlps) = recorded or (record(hf, reference), record(hf, source))
    head_dim = ref_heads[0].shape[-1] // hf.config.num_attention_heads
    patched = slice(None) if positions == "all" else slice(-1, None)

    def heads_hook(index: int):
        def hook(_module, args):
            z = args[0].clone()
            if effect != "total":
                z[:, -1] = ref_heads[index][:, -1]
            if index == layer and head is not None:
                cut = slice(head * head_dim, (head + 1) * head_dim)
                z[:, patched, cut] = src_heads[index][:, patched, cut]
            return (z,)

        return hook

    def mlp_hook(index: int):
        def hook(_module, _args, out):
            out = out.clone()
            if index == layer and head is None:
                out[:, patched] = src_mlps[index][:, patched]
            elif effect == "direct":
                out[:, -1] = ref_mlps[index][:, -1]
            return out

        return hook

    with ExitStack() as stack:
        for index, parts in enumerate(parts_of(hf)):
            stack.callback(parts.heads_out.register_forward_pre_hook(heads_hook(index)).remove)
            stack.callback(parts.mlp.register_forward_hook(mlp_hook(index)).remove)
        return hf(torch.tensor([reference], device=hf.device), use_cache=False).logits[0, -1]


@torch.no_grad()
def logits(hf, ids: list[int]) -> torch.Tensor:
    return hf(torch.tensor([ids], device=hf.device), use_cache=False).logits[0, -1]
