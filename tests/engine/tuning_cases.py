"""Shared helpers of the fine-tuning tests: short settings, and a model's numbers."""

from __future__ import annotations

from typing import Any

import torch
from tiny import PAIRS
from torch import Tensor

from arithmoscope import LoadedModel, PromptPair
from arithmoscope.engine.tuning.weight_slices import WeightSlice

# Prompts of several lengths, one of them with an answer of two tokens.
LESSONS = [*PAIRS, PromptPair("2 + 3 = 5\n8 + 5 =", "2 + 3 = 5\n8 @ 5 =", "13")]
# Two heads of a layer and one of another, and an MLP between them.
CHOSEN = ["L1H2", "L1H1", "L2H3", "MLP1"]
QUICK: dict[str, Any] = {"steps": 3, "learning_rate": 1e-2, "batch_size": 4}


def quick(**changed: Any) -> dict[str, Any]:
    """The short settings, some of them changed."""
    return {**QUICK, **changed}


@torch.no_grad()
def logits_of(model: LoadedModel, hf: Any = None) -> Tensor:
    """Logits at every position of a prompt."""
    ids = torch.tensor([model.text.encode(PAIRS[0].reference).ids])
    return (hf or model.hf)(input_ids=ids, use_cache=False).logits


def weights_of(model: LoadedModel) -> dict[str, Tensor]:
    """A copy of every parameter."""
    return {name: weight.detach().clone() for name, weight in model.hf.named_parameters()}


def mask_of(weight: Tensor, part: WeightSlice | None) -> Tensor:
    """The entries of a parameter that a part names, as a mask."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if part is not None:
        for start, stop in part.ranges:
            mask.narrow(part.axis, start, stop - start).fill_(True)
    return mask
