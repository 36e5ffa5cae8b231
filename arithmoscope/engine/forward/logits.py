"""From the residual stream at END to logits."""

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
    """Logits of a few tokens of each pair, of streams before the final norm."""
    weight, bias = layout.unembed_columns(columns)
    read = apply_norm(layout.final_norm, final)
    logits = torch.einsum("...pd,pkd->...pk", read, weight.to(read.dtype))
    return layout.capped(logits if bias is None else logits + bias.to(read.dtype))


def all_logits(model: LoadedModel, final: Float[Tensor, "... hidden"]) -> Float[Tensor, "... vocabulary"]:
    """Logits in the work precision, also over narrower weights, which are widened a few rows at a time."""
    read = apply_norm(model.layout.final_norm, final)
    unembed: Any = model.layout.unembed
    if model.dtype == read.dtype:
        return model.layout.capped(unembed(read))
    bias = unembed.bias
    biases = [None] * -(-len(unembed.weight) // _UNEMBED_ROWS) if bias is None else bias.split(_UNEMBED_ROWS)
    parts = [
        linear(read, weight.to(read.dtype), None if part is None else part.to(read.dtype))
        for weight, part in zip(unembed.weight.split(_UNEMBED_ROWS), biases, strict=True)
    ]
    return model.layout.capped(torch.cat(parts, dim=-1))


def competitors(
    model: LoadedModel, logits: Float[Tensor, "pair vocabulary"], encoded: Sequence[EncodedPair]
) -> Int[Tensor, " pair"]:
    """The best number token of the reference run that is not the answer: among digits for an answer in digits, among
    number words for one in words; the best other token for any other answer."""
    tables = []
    for values in (model.number_values, model.word_values):
        known = {token: value for token, value in values.items() if token < logits.shape[-1]}
        ids = torch.tensor(list(known), dtype=torch.long, device=logits.device)
        tables.append((known, ids, torch.tensor(list(known.values()), device=logits.device)))
    best = []
    for row, pair in zip(logits, encoded, strict=True):
        others = torch.empty(0, dtype=torch.long)
        for known, ids, values in tables:
            if pair.answer_id in known:
                others = ids[values != known[pair.answer_id]]
        if len(others):
            best.append(others[row[others].argmax()])
        else:
            best.append(row.scatter(0, torch.tensor([pair.answer_id], device=row.device), -torch.inf).argmax())
    return torch.stack(best)
