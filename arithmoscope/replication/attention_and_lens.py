"""Attention of the key heads by role, the answer layer by layer, and what MLPs write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.methods.lens import LogitLens, lens
from arithmoscope.engine.methods.roles import ROLES, TIMES, RoleAttention, attention_roles
from arithmoscope.engine.methods.writes import writes
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.replication.plain_numbers import Numbers, plain
from arithmoscope.replication.prompt_sets import operand_sets

SHOWN_MLPS = 5
_TOKENS = 100
_SHOWN_TOKENS = 6
# Kinds of the top number at a layer, for a question a + b = c.
KINDS = ("operand", "neighbour", "answer", "other number")


def role_numbers(model: LoadedModel, pairs: Sequence[PromptPair], heads: Sequence[Component]) -> Numbers:
    """Attention masses of some heads compared with the average head, with shuffled roles and with the run without the
    calculation, and the number of operand and operator heads in the model.
    """
    roles: RoleAttention = replace(attention_roles(model, pairs), questions=operand_sets(pairs))
    low, high = roles.interval()
    classes = roles.classes()
    rows = []
    for head in heads:
        index = (head.layer, int(head.head or 0))
        rows.append(
            {
                "component": str(head),
                "class": classes[head],
                "mass": roles.mean[index],
                "low": low[index],
                "high": high[index],
                "baseline": roles.baseline[index],
                "difference": roles.difference[index],
            }
        )
    return plain(
        {
            "pairs": len(roles),
            "operands": len(set(roles.questions)),
            "times": TIMES,
            "roles": list(ROLES),
            "average_head": roles.average_head,
            "rows": rows,
            "counts": {
                kind: sum(each == kind for each in classes.values()) for kind in ("operand", "operator", "neither")
            },
            "counts_among": {
                kind: sum(row["class"] == kind for row in rows) for kind in ("operand", "operator", "neither")
            },
        }
    )


def lens_numbers(model: LoadedModel, pairs: Sequence[PromptPair]) -> Numbers:
    """The answer's probability and rank by layer, the cosine curves with their stages, and the top number by layer."""
    result = replace(lens(model, pairs, k=min(_TOKENS, model.embeddings)), questions=operand_sets(pairs))
    stages, raw = result.stages(), result.stages(raw=True)
    keep = result.operands.isfinite().all(1) & result.answer.isfinite().all(1)
    return plain(
        {
            "pairs": len(result),
            "layers": result.operands.shape[1],
            "probability": result.probability.double().mean(0),
            "rank": result.rank.double().median(0).values,
            **{
                name: getattr(result, name)[keep].double().mean(0)
                for name in ("operands", "operands_other", "answer", "answer_other")
            },
            "stages": _stages(stages),
            "raw_stages": _stages(raw),
            "on_top": on_top(model, pairs, result),
        }
    )


def _stages(stages: object) -> Numbers:
    names = ("start", "inflection", "end", "start_interval", "inflection_interval", "end_interval", "found")
    return {name: getattr(stages, name) for name in names}


def on_top(model: LoadedModel, pairs: Sequence[PromptPair], result: LogitLens) -> Numbers:
    """By layer, the share of questions in which the best number among the top tokens is an operand, one off the answer,
    the answer, or another number; in the rest no number is among them. Left out are questions whose answer is also an
    operand, or whose operand is one off the answer: for these the kinds cannot be distinguished.
    """
    stages = result.top.shape[1]
    counts = torch.zeros(len(KINDS), stages, dtype=torch.float64)
    counted = 0
    for row, pair in enumerate(encode_all(model, pairs)):
        value = model.number_values.get(pair.answer_id)
        operands = {
            model.number_values.get(token.id)
            for token in pair.reference_tokens
            if token.role in ("operand_a", "operand_b")
        } - {None}
        if value is None or not operands or operands & {value - 1, value, value + 1}:
            continue
        counted += 1
        for stage in range(stages):
            numbers = (
                model.number_values[token] for token in result.top[row, stage].tolist() if token in model.number_values
            )
            first = next(numbers, None)
            if first is not None:
                counts[_kind(first, value, operands), stage] += 1
    return {"pairs": counted, "kinds": list(KINDS), "share": counts / max(1, counted)}


def _kind(number: int, answer: int, operands: set[int | None]) -> int:
    if number == answer:
        return 2
    if number in operands:
        return 0
    return 1 if abs(number - answer) == 1 else 3


def write_numbers(model: LoadedModel, pairs: Sequence[PromptPair], mlps: Sequence[Component]) -> list[Numbers]:
    """The numbers that some MLPs promote and suppress at END, and the change of the answer's own logit."""
    result = writes(model, pairs, mlps, k=_SHOWN_TOKENS)
    rows = []
    for index, mlp in enumerate(mlps):
        write = result[str(mlp)]
        rows.append(
            {
                "component": str(mlp),
                "pairs": result.n,
                "promoted": [[token.token, token.mean] for token in write.promoted],
                "promoted_numbers": [[token.token, token.mean] for token in write.promoted_numbers],
                "suppressed_numbers": [[token.token, token.mean] for token in write.suppressed_numbers],
                "answer": float((result.answers[:, index] - result.centres[:, index]).double().mean()),
            }
        )
    return plain(rows)
