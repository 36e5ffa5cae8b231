"""OLMo 2: a norm after each sublayer, none before it; norms on queries and keys."""

from __future__ import annotations

from typing import Any

from arithmoscope.engine.families.layout import Block, Layout
from arithmoscope.engine.families.llama import by_head, llama_layout


def layout(hf: Any) -> Layout:
    def block(layer: Any) -> Block:
        return Block(
            attention=layer.self_attn,
            heads_out=layer.self_attn.o_proj,
            by_head=by_head(hf.config),
            mlp=layer.mlp,
            head_norm=layer.post_attention_layernorm,
            mlp_post=layer.post_feedforward_layernorm,
        )

    return llama_layout(hf, tuple(block(layer) for layer in hf.model.layers))
