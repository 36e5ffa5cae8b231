"""Tiny random models of the real config classes, one row a family of the engine's table, and a tokenizer for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from engine import LoadedModel, PromptPair, load_model

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
    "GPT2LMHeadModel": lambda: transformers.GPT2Config(
        vocab_size=64, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0
    ),
}


def tiny_model(architecture: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> LoadedModel:
    """Random weights, ten times wider than usual: effects and attention are far from uniform."""
    torch.manual_seed(seed)
    hf = getattr(transformers, architecture)(CONFIGS[architecture]())
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
