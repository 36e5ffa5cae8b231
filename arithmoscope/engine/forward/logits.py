"""Logits from the residual stream at END."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from arithmoscope.engine.families.layout import Layout, apply_norm
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

_UNEMBED_ROWS = 8_192


def column_logits(
    layout: Layout, final: Float[Tensor, "... pair hidden"], columns: Int[Tensor, "pair k"]
) -> Float[Tensor, "... pair k"]:
    """Logits of k tokens per pair, from the residual stream before the final norm. ``columns``: their token ids."""
    weight, bias = layout.unembed_columns(columns)
    normed = apply_norm(layout.final_norm, final)
    logits = torch.einsum("...pd,pkd->...pk", normed, weight.to(normed.dtype))
    return layout.capped(logits if bias is None else logits + bias.to(normed.dtype))


def all_logits(model: LoadedModel, final: Float[Tensor, "... hidden"]) -> Float[Tensor, "... vocabulary"]:
    """All logits in the work precision, from the residual stream before the final norm. Narrower unembedding weights
    are widened a block of rows at a time."""
    normed = apply_norm(model.layout.final_norm, final)
    unembed: Any = model.layout.unembed
    if model.dtype == normed.dtype:
        return model.layout.capped(unembed(normed))
    bias = unembed.bias
    biases = [None] * -(-len(unembed.weight) // _UNEMBED_ROWS) if bias is None else bias.split(_UNEMBED_ROWS)
    parts = [
        linear(normed, weight.to(normed.dtype), None if bias_part is None else bias_part.to(normed.dtype))
        for weight, bias_part in zip(unembed.weight.split(_UNEMBED_ROWS), biases, strict=True)
    ]
    return model.layout.capped(torch.cat(parts, dim=-1))


def competitors(
    model: LoadedModel, logits: Float[Tensor, "pair vocabulary"], encoded: Sequence[EncodedPair]
) -> Int[Tensor, " pair"]:
    """The competitor of each pair's answer: the number token with the highest logit in the reference run whose value is
    not the answer's. Among digits if the answer is in digits, among number words if it is a word; for any other
    answer, the best other token."""
    tables = []
    for values in (model.number_values, model.word_values):
        value_of = {token: value for token, value in values.items() if token < logits.shape[-1]}
        ids = torch.tensor(list(value_of), dtype=torch.long, device=logits.device)
        tables.append((value_of, ids, torch.tensor(list(value_of.values()), device=logits.device)))
    best = []
    for row, pair in zip(logits, encoded, strict=True):
        others = torch.empty(0, dtype=torch.long)
        for value_of, ids, values in tables:
            if pair.answer_id in value_of:
                others = ids[values != value_of[pair.answer_id]]
        if len(others):
            best.append(others[row[others].argmax()])
        else:
            best.append(row.scatter(0, torch.tensor([pair.answer_id], device=row.device), -torch.inf).argmax())
    return torch.stack(best)
