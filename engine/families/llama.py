"""Llama and its kin (SmolLM, Mistral, Qwen2): RMS norm before each sublayer, grouped-query attention, no bias
on what a head writes."""

from __future__ import annotations

from typing import Any

from engine.families.anatomy import Anatomy, Block


def anatomy(hf: Any) -> Anatomy:
    config = hf.config
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    hidden = config.hidden_size

    def block(layer: Any) -> Block:
        out = layer.self_attn.o_proj
        return Block(
            attention=layer.self_attn,
            heads_out=out,
            by_head=lambda weight: weight.T.view(heads, head_dim, hidden),
            mlp_norm=layer.post_attention_layernorm,
            mlp=layer.mlp,
        )

    return Anatomy(
        decoder=hf.model,
        blocks=tuple(block(layer) for layer in hf.model.layers),
        final_norm=hf.model.norm,
        unembed=hf.lm_head,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        hidden=hidden,
    )
