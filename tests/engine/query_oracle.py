"""The queries and keys of each family, and plain hooks that read and change them. Shares no engine code."""

from __future__ import annotations

import torch
from torch import nn

from arithmoscope.prompts import encode_pair


def ids_of(model, pair):
    encoded = encode_pair(pair, model.text)
    return list(encoded.reference_ids), list(encoded.counterfactual_ids), encoded.answer_id


def reading(change):
    return lambda _module, args: (change(args[0].clone()), *args[1:])


def writing(change):
    return lambda _module, _args, out: change(out.clone())


def only(head, z):
    """One head's slice of the output of all heads, 0 elsewhere."""
    width = len(z) // 4
    return torch.cat([z[at * width : (at + 1) * width] * (at == head) for at in range(4)])


def last(move):
    def moved(states):
        states[:, -1] += move
        return states

    return moved


def projections(hf, layer):
    """The modules whose outputs are a layer's queries and keys before any rotation, with each head's columns.

    They are the projections, or the norm over all heads after them, if there is one."""
    name, config = type(hf).__name__, hf.config
    width = config.hidden_size // 4
    each = [slice(h * width, (h + 1) * width) for h in range(4)]
    match name:
        case "GPT2LMHeadModel":
            fused = hf.transformer.h[layer].attn.c_attn
            return fused, each, fused, [slice(32 + c.start, 32 + c.stop) for c in each]
        case "GPTJForCausalLM":
            attn = hf.transformer.h[layer].attn
            return attn.q_proj, each, attn.k_proj, each
        case "GPTNeoXForCausalLM":
            fused = hf.gpt_neox.layers[layer].attention.query_key_value
            queries = [slice(3 * c.start, 3 * c.start + width) for c in each]
            return fused, queries, fused, [slice(c.stop, c.stop + width) for c in queries]
        case "FalconForCausalLM":
            fused = hf.transformer.h[layer].self_attention.query_key_value
            if config.new_decoder_architecture:  # two groups: two queries, a key, a value
                queries, keys = [0, 1, 4, 5], [2, 2, 6, 6]
            elif config.multi_query:
                queries, keys = [0, 1, 2, 3], [4, 4, 4, 4]
            else:
                queries, keys = [0, 3, 6, 9], [1, 4, 7, 10]
            cut = [slice(at * width, (at + 1) * width) for at in range(12)]
            return fused, [cut[at] for at in queries], fused, [cut[at] for at in keys]
        case "Phi3ForCausalLM":
            fused = hf.model.layers[layer].self_attn.qkv_proj
            return fused, each, fused, [slice(32 + h // 2 * width, 32 + (h // 2 + 1) * width) for h in range(4)]
        case _:
            attn = hf.model.layers[layer].self_attn
            width = attn.head_dim
            each = [slice(h * width, (h + 1) * width) for h in range(4)]
            normed = name == "Olmo2ForCausalLM"
            modules = (attn.q_norm, attn.k_norm) if normed else (attn.q_proj, attn.k_proj)
            return modules[0], each, modules[1], [each[h // 2] for h in range(4)]


@torch.no_grad()
def input_of(hf, ids, keep: nn.Module, change: nn.Module | None = None, how=lambda states: states):
    """The input of ``keep`` at END when ``how`` changes the output of ``change``."""
    kept = []
    handles = [keep.register_forward_pre_hook(lambda _m, args: kept.append(args[0][0, -1].clone()))]
    if change is not None:
        handles.append(change.register_forward_hook(writing(how)))
    try:
        hf(torch.tensor([ids]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return kept[0]


def output_of(hf, ids, module):
    kept = []
    handle = module.register_forward_hook(lambda _m, _a, out: kept.append(out[0].detach().clone()))
    with torch.no_grad():
        hf(torch.tensor([ids]), use_cache=False)
    handle.remove()
    return kept[0]
