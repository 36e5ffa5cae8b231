"""Whether the heads of one set matter on another: the transfer matrix, with controls that hold no arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from engine import LoadedModel, Transfer, transfer
from findings.keys import TOP
from findings.plain import Numbers, plain
from findings.sets import Asked

# A list of heads whose effects make up this share of all that hurts: how many heads a set uses.
SHARE = 0.5


def transfer_numbers(
    model: LoadedModel, sets: Sequence[Asked], draws: int, progress: Callable[[int, int], None] | None = None
) -> Numbers:
    """Heads found on one side of every set, knocked out on the other side of every set, at END.

    All sets are split by their operands in the same way, so that no two sides of different sets share any, either.
    """
    found = transfer(
        model,
        {each.name: each.found for each in sets},
        {each.name: each.judged for each in sets},
        top_k=TOP,
        metric="logit_difference",
        ablation="mean",
        controls=draws,
        progress=progress,
    )
    names = [each.name for each in sets]
    chosen = [set(selection) for selection in found.selections]
    return plain(
        {
            "sets": names,
            "controls": [each.name for each in sets if each.control],
            "top": TOP,
            "draws": draws,
            "selections": [list(selection) for selection in found.selections],
            "found_pairs": found.found_pairs.int(),
            "pairs": found.pairs.int(),
            "jaccard": found.jaccard,
            "shared": [[len(a & b) for b in chosen] for a in chosen],
            "rank_correlation": found.rank_correlation,
            "heads_for_half": [_heads_for_half(model, effects) for effects in found.effects],
            "accuracy": _measure(found, "accuracy"),
            "probability": _measure(found, "probability"),
        }
    )


def _measure(found: Transfer, name: str) -> Numbers:
    """[found][evaluated]: with the selection out, with random heads out, and with nothing out."""
    parts = {
        "plain": f"plain_{name}",
        "value": name,
        "low": f"{name}_low",
        "high": f"{name}_high",
        "control": f"control_{name}",
        "draws_low": f"control_{name}_low",
        "draws_high": f"control_{name}_high",
    }
    return {short: getattr(found, long) for short, long in parts.items()}


def _heads_for_half(model: LoadedModel, effects: torch.Tensor) -> int:
    """The fewest heads whose mean effects add up to `SHARE` of those of all heads that hurt."""
    heads = effects.view(model.anatomy.layers, model.anatomy.heads + 1)[:, :-1].flatten()
    hurting = (-heads[heads < 0]).sort(descending=True).values
    if not len(hurting):
        return 0
    return int((hurting.cumsum(0) < SHARE * hurting.sum()).sum()) + 1
