"""GPT-NeoX and Pythia: parallel residuals unless the configuration turns them off, layer norms, biases."""

from __future__ import annotations

from typing import Any

from arithmoscope.engine.families.layout import Block, Layout
from arithmoscope.engine.families.llama import by_head


def layout(hf: Any) -> Layout:
    config = hf.config

    def block(layer: Any) -> Block:
        return Block(
            attention=layer.attention,
            heads_out=layer.attention.dense,
            by_head=by_head(config),
            mlp=layer.mlp,
            attention_norm=layer.input_layernorm,
            mlp_norm=layer.post_attention_layernorm,
            parallel=config.use_parallel_residual,
        )

    heads, hidden = config.num_attention_heads, config.hidden_size
    return Layout(
        decoder=hf.gpt_neox,
        blocks=tuple(block(layer) for layer in hf.gpt_neox.layers),
        final_norm=hf.gpt_neox.final_layer_norm,
        unembed=hf.get_output_embeddings(),
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        hidden=hidden,
    )
