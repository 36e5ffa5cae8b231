"""Where heads look, how the answer comes up layer by layer, and what MLPs write."""

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
# What the number on top of a layer's reading is, to a question a + b = c.
KINDS = ("operand", "neighbour", "answer", "other number")


def role_numbers(model: LoadedModel, pairs: Sequence[PromptPair], heads: Sequence[Component]) -> Numbers:
    """The masses of some heads beside the average head, the shuffled roles and the run without the calculation, and how
    many heads of the model are operand and operator heads."""
    found: RoleAttention = replace(attention_roles(model, pairs), questions=operand_sets(pairs))
    low, high = found.interval()
    classes = found.classes()
    rows = []
    for head in heads:
        at = (head.layer, int(head.head or 0))
        rows.append(
            {
                "component": str(head),
                "class": classes[head],
                "mass": found.mean[at],
                "low": low[at],
                "high": high[at],
                "baseline": found.baseline[at],
                "difference": found.difference[at],
            }
        )
    return plain(
        {
            "pairs": len(found),
            "operands": len(set(found.questions)),
            "times": TIMES,
            "roles": list(ROLES),
            "average_head": found.average_head,
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
    """The answer's way through the layers, the two cosine curves with their stages, and what number is on top."""
    found = replace(lens(model, pairs, k=min(_TOKENS, model.embeddings)), questions=operand_sets(pairs))
    stages, raw = found.stages(), found.stages(raw=True)
    keep = found.operands.isfinite().all(1) & found.answer.isfinite().all(1)
    return plain(
        {
            "pairs": len(found),
            "layers": found.operands.shape[1],
            "probability": found.probability.double().mean(0),
            "rank": found.rank.double().median(0).values,
            **{
                name: getattr(found, name)[keep].double().mean(0)
                for name in ("operands", "operands_other", "answer", "answer_other")
            },
            "stages": _stages(stages),
            "raw_stages": _stages(raw),
            "on_top": on_top(model, pairs, found),
        }
    )


def _stages(stages: object) -> Numbers:
    names = ("start", "inflection", "end", "start_interval", "inflection_interval", "end_interval", "found")
    return {name: getattr(stages, name) for name in names}


def on_top(model: LoadedModel, pairs: Sequence[PromptPair], found: LogitLens) -> Numbers:
    """By layer, the share of the questions in which the best number among the top tokens is an operand, one off the
    answer, the answer, or another; the rest have none among them. Questions whose answer is an operand, too, or whose
    operand is one off the answer, are left out: there the kinds cannot be told apart."""
    stages = found.top.shape[1]
    counts = torch.zeros(len(KINDS), stages, dtype=torch.float64)
    asked = 0
    for row, pair in enumerate(encode_all(model, pairs)):
        value = model.number_values.get(pair.answer_id)
        operands = {
            model.number_values.get(token.id)
            for token in pair.reference_tokens
            if token.role in ("operand_a", "operand_b")
        } - {None}
        if value is None or not operands or operands & {value - 1, value, value + 1}:
            continue
        asked += 1
        for stage in range(stages):
            numbers = (
                model.number_values[token] for token in found.top[row, stage].tolist() if token in model.number_values
            )
            first = next(numbers, None)
            if first is not None:
                counts[_kind(first, value, operands), stage] += 1
    return {"pairs": asked, "kinds": list(KINDS), "share": counts / max(1, asked)}


def _kind(number: int, answer: int, operands: set[int | None]) -> int:
    if number == answer:
        return 2
    if number in operands:
        return 0
    return 1 if abs(number - answer) == 1 else 3


def write_numbers(model: LoadedModel, pairs: Sequence[PromptPair], mlps: Sequence[Component]) -> list[Numbers]:
    """The numbers that some MLPs promote and suppress at END, and what they do to the answer's own logit."""
    found = writes(model, pairs, mlps, k=_SHOWN_TOKENS)
    rows = []
    for at, mlp in enumerate(mlps):
        write = found[str(mlp)]
        rows.append(
            {
                "component": str(mlp),
                "pairs": found.n,
                "promoted": [[token.token, token.mean] for token in write.promoted],
                "promoted_numbers": [[token.token, token.mean] for token in write.promoted_numbers],
                "suppressed_numbers": [[token.token, token.mean] for token in write.suppressed_numbers],
                "answer": float((found.answers[:, at] - found.centres[:, at]).double().mean()),
            }
        )
    return plain(rows)
