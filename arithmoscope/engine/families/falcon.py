"""Falcon: parallel blocks with one or two norms, or sequential blocks; multi-query, grouped-query or full attention."""

from __future__ import annotations

from typing import Any

from arithmoscope.engine.families.layout import Block, Layout
from arithmoscope.engine.families.llama import by_head


def layout(hf: Any) -> Layout:
    config = hf.config
    parallel = bool(config.new_decoder_architecture or config.parallel_attn)

    def block(layer: Any) -> Block:
        attention_norm = layer.ln_attn if hasattr(layer, "ln_attn") else layer.input_layernorm
        if hasattr(layer, "ln_mlp"):
            mlp_norm = layer.ln_mlp
        else:
            mlp_norm = layer.input_layernorm if parallel else layer.post_attention_layernorm
        return Block(
            attention=layer.self_attention,
            heads_out=layer.self_attention.dense,
            by_head=by_head(config),
            mlp=layer.mlp,
            attention_norm=attention_norm,
            mlp_norm=mlp_norm,
            parallel=parallel,
        )

    heads, hidden = config.num_attention_heads, config.hidden_size
    kv_heads = 1 if config.multi_query else heads
    return Layout(
        decoder=hf.transformer,
        blocks=tuple(block(layer) for layer in hf.transformer.h),
        final_norm=hf.transformer.ln_f,
        unembed=hf.lm_head,
        heads=heads,
        kv_heads=config.num_kv_heads if config.new_decoder_architecture else kv_heads,
        head_dim=hidden // heads,
        hidden=hidden,
    )
