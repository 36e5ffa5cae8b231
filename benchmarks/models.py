"""Test models and prompts: random models of Llama's kind in any size, and prompts in any number and length."""

from __future__ import annotations

import random
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from arithmoscope import LoadedModel, PromptPair, load_model

_SIGNS = [*"0123456789", "+", "-", "@", "=", "\n"]


def random_llama(*, device: str = "cpu", dtype: torch.dtype = torch.float32, **config: Any) -> LoadedModel:
    """A model with random weights, built directly on its device in its dtype. ``config``: differences from LlamaConfig,
    whose defaults are LLaMA-2-7B's shape. Its tokenizer knows digits and signs, one token each.
    """
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(**config)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            hf = transformers.LlamaForCausalLM(shape)
    finally:
        torch.set_default_dtype(before)
    return load_model(hf, sign_tokenizer())


def sign_tokenizer() -> Any:
    """A tokenizer with one token per digit or sign; spaces are dropped."""
    vocabulary = {sign: number for number, sign in enumerate(["<unk>", *_SIGNS])}
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


def subtractions(pairs: int, examples: int, *, shared: bool, seed: int = 0) -> list[PromptPair]:
    """Distinct questions such as ``34 - 27 =``, all of equal length, behind solved examples such as ``2 + 3 = 5``.

    ``shared``: all pairs have the same examples; otherwise each has its own, and no two pairs share a long beginning.
    The counterfactual has ``@`` instead of the minus. For SmolLM2: 8 tokens, and 8 more per example.
    """
    draw = random.Random(seed)
    questions = [(a, a - result) for a in range(10, 100) for result in range(10) if a - result >= 10]
    if pairs > len(questions):
        raise ValueError(f"there are {len(questions)} questions, not {pairs}")
    same = _examples(draw, examples)
    prompt_pairs = []
    for a, b in draw.sample(questions, pairs):
        prefix = same if shared else _examples(draw, examples)
        prompt_pairs.append(PromptPair(f"{prefix}{a} - {b} =", f"{prefix}{a} @ {b} =", str(a - b)))
    return prompt_pairs


def _examples(draw: random.Random, number: int) -> str:
    sums = [(a, b) for a in range(10) for b in range(10) if a + b < 10]
    return "".join(f"{a} + {b} = {a + b}\n" for a, b in draw.choices(sums, k=number))
