"""Llama and similar families: norm before each sublayer, grouped-query attention.

SmolLM, SmolLM3, Mistral, Qwen2, Qwen2.5, Qwen3 (norms on queries and keys), Phi-3 (fused projections) and StableLM
(layer norms; some models with parallel residuals) share this layout; they differ only inside attention or the MLP.
"""

from __future__ import annotations

from typing import Any

from arithmoscope.engine.families.layout import Block, Layout


def layout(hf: Any) -> Layout:
    config = hf.config
    parallel = bool(getattr(config, "use_parallel_residual", False))

    def block(layer: Any) -> Block:
        return Block(
            attention=layer.self_attn,
            heads_out=layer.self_attn.o_proj,
            by_head=by_head(config),
            mlp=layer.mlp,
            attention_norm=layer.input_layernorm,
            mlp_norm=layer.input_layernorm if parallel else layer.post_attention_layernorm,
            parallel=parallel,
        )

    return llama_layout(hf, tuple(block(layer) for layer in hf.model.layers))


def by_head(config: Any) -> Any:
    """A view of an output projection [head * head_dim, hidden] as [head, head_dim, hidden]."""
    return lambda matrix: matrix.view(config.num_attention_heads, -1, config.hidden_size)


def llama_layout(hf: Any, blocks: tuple[Block, ...]) -> Layout:
    """The layout of a model with Llama's module names, given its blocks."""
    config = hf.config
    heads = config.num_attention_heads
    return Layout(
        decoder=hf.model,
        blocks=blocks,
        final_norm=hf.model.norm,
        unembed=hf.lm_head,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        head_dim=blocks[0].heads_out.weight.shape[1] // heads,  # pyright: ignore
        hidden=config.hidden_size,
        softcap=getattr(config, "final_logit_softcapping", None),
    )
