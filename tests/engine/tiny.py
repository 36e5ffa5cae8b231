"""Tiny random models of the real config classes, one row per family of the engine's table, and a tokenizer for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from arithmoscope import LoadedModel, PromptPair, load_model

WORDS = [
    *"0123456789",
    "+",
    "-",
    "*",
    "/",
    "=",
    "@",
    "\n",
    "plus",
    "none",
    "equals",
    "The",
    "sum",
    "of",
    "and",
    "is",
]


def tiny_tokenizer() -> Any:
    """A word or sign a token, digits one by one, spaces dropped."""
    vocabulary = {word: number for number, word in enumerate(["<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" +"), "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


_SMALL: dict[str, Any] = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_LLAMA: dict[str, Any] = {**_SMALL, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 128}

CONFIGS: dict[str, Callable[[], Any]] = {
    "LlamaForCausalLM": lambda: transformers.LlamaConfig(**_LLAMA, head_dim=12, attention_bias=True, mlp_bias=True),
    "MistralForCausalLM": lambda: transformers.MistralConfig(**_LLAMA, sliding_window=5),
    "Qwen2ForCausalLM": lambda: transformers.Qwen2Config(**_LLAMA, tie_word_embeddings=True),
    "Qwen3ForCausalLM": lambda: transformers.Qwen3Config(**_LLAMA, head_dim=12),
    "SmolLM3ForCausalLM": lambda: transformers.SmolLM3Config(
        **_LLAMA, no_rope_layer_interval=2, pad_token_id=0, bos_token_id=0, eos_token_id=0
    ),
    "Phi3ForCausalLM": lambda: transformers.Phi3Config(**_LLAMA, pad_token_id=0, bos_token_id=0, eos_token_id=0),
    "StableLmForCausalLM": lambda: transformers.StableLmConfig(
        **_LLAMA, use_parallel_residual=True, qk_layernorm=True, use_qkv_bias=True
    ),
    "Gemma2ForCausalLM": lambda: transformers.Gemma2Config(
        **{**_LLAMA, "attn_implementation": "eager"},  # the only path that caps attention scores
        head_dim=12,
        sliding_window=5,
        query_pre_attn_scalar=12,
        final_logit_softcapping=5.0,
        attn_logit_softcapping=3.0,
    ),
    "Gemma3ForCausalLM": lambda: transformers.Gemma3TextConfig(
        **_LLAMA, head_dim=12, sliding_window=5, query_pre_attn_scalar=12
    ),
    "Olmo2ForCausalLM": lambda: transformers.Olmo2Config(**_LLAMA, pad_token_id=0),
    "GPTNeoXForCausalLM": lambda: transformers.GPTNeoXConfig(
        **_SMALL, intermediate_size=48, max_position_embeddings=128, use_parallel_residual=True
    ),
    "GPTJForCausalLM": lambda: transformers.GPTJConfig(
        vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=128, rotary_dim=4, bos_token_id=0, eos_token_id=0
    ),
    "FalconForCausalLM": lambda: transformers.FalconConfig(
        **_SMALL, new_decoder_architecture=True, num_kv_heads=2, bias=True, max_position_embeddings=128
    ),
    "GPT2LMHeadModel": lambda: transformers.GPT2Config(
        vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0
    ),
}


_FALCON: dict[str, Any] = {**_SMALL, "new_decoder_architecture": False, "max_position_embeddings": 128}

# Layouts that a family's configuration can switch to.
VARIANTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "sequential NeoX": (
        "GPTNeoXForCausalLM",
        lambda: transformers.GPTNeoXConfig(
            **_SMALL, intermediate_size=48, max_position_embeddings=128, use_parallel_residual=False
        ),
    ),
    "sequential StableLM": (
        "StableLmForCausalLM",
        lambda: transformers.StableLmConfig(**_LLAMA, use_parallel_residual=False),
    ),
    "Falcon with one key and value head": (
        "FalconForCausalLM",
        lambda: transformers.FalconConfig(**_FALCON, multi_query=True, parallel_attn=True),
    ),
    "sequential Falcon": (
        "FalconForCausalLM",
        lambda: transformers.FalconConfig(**_FALCON, multi_query=False, parallel_attn=False, bias=True),
    ),
    "Falcon with biases for distance": (
        "FalconForCausalLM",
        lambda: transformers.FalconConfig(**_FALCON, multi_query=False, parallel_attn=False, alibi=True, bias=True),
    ),
    "Phi-3 beyond its original length": (
        "Phi3ForCausalLM",
        lambda: transformers.Phi3Config(
            **{**_LLAMA, "max_position_embeddings": 512},
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            original_max_position_embeddings=8,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10_000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [3.0, 2.0, 5.0, 4.0],
                "original_max_position_embeddings": 8,
            },
        ),
    ),
    "GPT-2 with scaled layers": (
        "GPT2LMHeadModel",
        lambda: transformers.GPT2Config(
            vocab_size=64,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=128,
            bos_token_id=0,
            eos_token_id=0,
            scale_attn_by_inverse_layer_idx=True,
            reorder_and_upcast_attn=False,
        ),
    ),
}


# Every family and layout, as (architecture, configuration): the laws in float64 hold on each.
LAYOUTS = [
    *(pytest.param(name, None, id=name) for name in CONFIGS),
    *(pytest.param(*layout, id=name) for name, layout in VARIANTS.items()),
]
# In float32 they hold on three families in every run (separate, fused and narrowed projections), on the others in
# `make test-all`.
_IN_FLOAT32 = ("LlamaForCausalLM", "Gemma2ForCausalLM", "GPT2LMHeadModel")
FLOAT32 = [pytest.param(name, marks=() if name in _IN_FLOAT32 else pytest.mark.slow, id=name) for name in CONFIGS]
# Both, as (architecture, precision, tolerance).
PRECISIONS = [
    *(pytest.param(name, torch.float64, 1e-9, id=f"{name}-float64") for name in CONFIGS),
    *(pytest.param(each.values[0], torch.float32, 1e-4, id=f"{each.id}-float32", marks=each.marks) for each in FLOAT32),
]


def tiny_model(
    architecture: str, dtype: torch.dtype = torch.float64, seed: int = 0, config: Callable[[], Any] | None = None
) -> LoadedModel:
    """Random weights, ten times wider than usual: effects and attention are far from uniform."""
    torch.manual_seed(seed)
    hf = getattr(transformers, architecture)((config or CONFIGS[architecture])())
    for name, weight in hf.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
        elif "bias" in name:
            torch.nn.init.normal_(weight, std=0.2)
        else:
            torch.nn.init.normal_(weight, mean=1.0, std=0.2)
    return load_model(hf.to(dtype), tiny_tokenizer())


PAIRS = [
    PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 @ 5 =", "8"),
    PromptPair("2 + 3 = 5\n1 + 6 =", "2 + 3 = 5\n1 @ 6 =", "7"),
    PromptPair("4 + 5 =", "4 @ 5 =", "9"),
    PromptPair("The sum of 2 and 2 is", "The none of 2 and 2 is", "4"),
    PromptPair("7 plus 1 equals", "3 + 4 + 5 equals", "8"),
    PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n4 @ 4 =", "8"),
]
