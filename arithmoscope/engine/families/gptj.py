"""GPT-J: parallel blocks in which attention and MLP read the same norm; the unembedding has a bias."""

from __future__ import annotations

from typing import Any

from arithmoscope.engine.families.layout import Block, Layout
from arithmoscope.engine.families.llama import by_head


def layout(hf: Any) -> Layout:
    config = hf.config

    def block(layer: Any) -> Block:
        return Block(
            attention=layer.attn,
            heads_out=layer.attn.out_proj,
            by_head=by_head(config),
            mlp=layer.mlp,
            attention_norm=layer.ln_1,
            mlp_norm=layer.ln_1,
            parallel=True,
        )

    heads, hidden = config.num_attention_heads, config.hidden_size
    return Layout(
        decoder=hf.transformer,
        blocks=tuple(block(layer) for layer in hf.transformer.h),
        final_norm=hf.transformer.ln_f,
        unembed=hf.lm_head,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        hidden=hidden,
        float32_attention=True,
    )
