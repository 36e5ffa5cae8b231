"""Training: a small Llama from scratch, Muon for the matrices of its layers and AdamW for the rest.

Everything follows from the recipe and the seed: the same seed gives the same weights, bit by bit, on one machine with
one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.adder.batches import draw_batch
from benchmarks.adder.vocabulary import BOS, EOS, build_tokenizer


@dataclass(frozen=True)
class Recipe:
    """The shape of the model and its training."""

    layers: int = 4
    heads: int = 8
    hidden: int = 128
    mlp: int = 384
    context: int = 512
    rope_theta: float = 1_000.0
    steps: int = 1_600
    rows: int = 24
    length: int = 128
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    decay: float = 0.1
    warm_up: int = 50
    # The rate is constant, then falls to 0 over this last part of the steps.
    falling: float = 0.5


def new_model(recipe: Recipe, seed: int) -> LlamaForCausalLM:
    """The model before training."""
    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
        tie_word_embeddings=False,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        initializer_range=0.02,
    )
    return LlamaForCausalLM(config)


def train(
    recipe: Recipe, seed: int, report: Callable[[int, float, LlamaForCausalLM], None] = lambda *_: None
) -> tuple[LlamaForCausalLM, float]:
    """The trained model and the processor time in seconds. ``report`` gets the step, its loss and the model."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model, tokenizer, rng = new_model(recipe, seed), build_tokenizer(), Random(seed)
    inner = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if not any(parameter is each for each in inner)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(inner, lr=recipe.muon_rate, weight_decay=recipe.decay, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    rates = [recipe.muon_rate, recipe.adam_rate]
    model.train()
    start = time.process_time()
    for step in range(recipe.steps):
        left = 1 - step / recipe.steps
        share = min(1.0, (step + 1) / recipe.warm_up, left / recipe.falling)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        batch = draw_batch(tokenizer, rng, recipe.rows, recipe.length)
        hidden = model.model(batch.ids).last_hidden_state
        loss = cross_entropy(model.lm_head(hidden[batch.learned]), batch.wanted[batch.learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        report(step + 1, loss.item(), model)
    return model.eval(), time.process_time() - start
