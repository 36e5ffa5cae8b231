"""GPT-2: layer norm before each sublayer, learned positions, weights stored as [in, out], biases throughout.

The bias of the output projection belongs to no head; it cancels in every difference between two runs.
"""

from __future__ import annotations

from typing import Any

from arithmoscope.engine.families.layout import Block, Layout


def layout(hf: Any) -> Layout:
    config = hf.config
    heads, hidden = config.num_attention_heads, config.hidden_size
    head_dim = hidden // heads

    def block(layer: Any) -> Block:
        out = layer.attn.c_proj
        return Block(
            attention=layer.attn,
            heads_out=out,
            by_head=lambda matrix: matrix.view(heads, head_dim, hidden),
            mlp=layer.mlp,
            attention_norm=layer.ln_1,
            mlp_norm=layer.ln_2,
        )

    return Layout(
        decoder=hf.transformer,
        blocks=tuple(block(layer) for layer in hf.transformer.h),
        final_norm=hf.transformer.ln_f,
        unembed=hf.lm_head,
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        hidden=hidden,
    )
