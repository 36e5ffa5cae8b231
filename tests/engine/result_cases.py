"""One small result of every class that is saved to a file, with the same numbers each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import arithmoscope as am
from arithmoscope.engine.tuning.weight_changes import Product, Values

MODEL: dict[str, Any] = {"model": "tiny", "revision": "0123abcd"}
QUESTIONS = ("3 + 5 =", "7 - 4 =")
PAIRS, LAYERS, HEADS = 2, 3, 4


def numbers(*shape: int) -> Tensor:
    """Distinct numbers, some of them negative."""
    return torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape) / 8 - 1


def ids(*shape: int) -> Tensor:
    return torch.arange(math.prod(shape)).reshape(shape)


def signs(*shape: int) -> Tensor:
    return ids(*shape) % 2 == 0


def effects(probability: bool = False, direction: Any = "noising") -> am.PatchingEffects:
    heads, mlps = numbers(PAIRS, LAYERS, HEADS), numbers(PAIRS, LAYERS)
    return am.PatchingEffects(
        effect="direct",
        positions="end",
        source="counterfactual",
        direction=direction,
        **MODEL,
        questions=QUESTIONS,
        heads=heads,
        mlps=mlps,
        competitor_heads=heads * 2,
        competitor_mlps=mlps * 2,
        probability_heads=heads * 3 if probability else None,
        probability_mlps=mlps * 3 if probability else None,
        reference=numbers(PAIRS),
        counterfactual=numbers(PAIRS),
        reference_competitor=numbers(PAIRS),
        reference_probability=numbers(PAIRS),
        answers=ids(PAIRS),
        competitors=ids(PAIRS),
        top=ids(PAIRS),
        correct=signs(PAIRS),
        noise=numbers(PAIRS),
    )


def knockout(decoded: bool = False, seed: int = 0) -> am.Knockout:
    draws, ks = 2, 3
    return am.Knockout(
        ablation="mean",
        positions="end",
        seed=seed,
        **MODEL,
        components=("L1H2", "MLP0"),
        controls=(("L1H0", "MLP1"), ("L1H3", "MLP2")),
        questions=QUESTIONS,
        matched=signs(draws, 2),
        logits=numbers(ks, PAIRS, 2),
        probability=numbers(ks, PAIRS),
        correct=signs(ks, PAIRS),
        control_logits=numbers(draws, ks, PAIRS, 2),
        control_probability=numbers(draws, ks, PAIRS),
        control_correct=signs(draws, ks, PAIRS),
        reference=numbers(PAIRS, 2),
        answers=ids(PAIRS),
        competitors=ids(PAIRS),
        written=ids(ks, PAIRS, 3) if decoded else None,
        exact=signs(ks, PAIRS) if decoded else None,
        control_exact=signs(draws, ks, PAIRS) if decoded else None,
    )


def transfer() -> am.Transfer:
    names = ("accuracy", "probability")
    matrices = [f"{kind}{name}{end}" for name in names for kind in ("", "control_") for end in ("", "_low", "_high")]
    tensors: dict[str, Any] = {name: numbers(2, 1) for name in matrices}
    tensors |= {f"plain_{name}": numbers(1) for name in names}
    return am.Transfer(
        **MODEL,
        found_on=("sums", "stories"),
        evaluated_on=("facts",),
        selections=(("L1H2",), ()),
        metric="logit",
        ablation="mean",
        effects=numbers(2, LAYERS * (HEADS + 1)),
        jaccard=numbers(2, 2),
        rank_correlation=numbers(2, 2),
        found_pairs=numbers(2),
        pairs=numbers(1),
        **tensors,
    )


def roles() -> am.RoleAttention:
    masses = numbers(PAIRS, LAYERS, HEADS, 7)
    return am.RoleAttention(
        **MODEL, questions=QUESTIONS, reference=masses, counterfactual=masses * 2, shuffled=masses * 3
    )


def lens() -> am.LogitLens:
    return am.LogitLens(
        **MODEL,
        questions=QUESTIONS,
        answers=ids(PAIRS),
        logit=numbers(PAIRS, LAYERS + 1),
        probability=numbers(PAIRS, LAYERS + 1),
        rank=ids(PAIRS, LAYERS + 1),
        top=ids(PAIRS, LAYERS + 1, 2),
        top_probability=numbers(PAIRS, LAYERS + 1, 2),
        operands=numbers(PAIRS, LAYERS) * math.nan,
        operands_other=numbers(PAIRS, LAYERS),
        answer=numbers(PAIRS, LAYERS),
        answer_other=numbers(PAIRS, LAYERS),
    )


def writes() -> am.VocabularyEffects:
    tokens = (am.TokenEffect(5, " 8", 0.1 + 0.2, None), am.TokenEffect(6, '"é', -1.5, 0.25))
    component = am.ComponentTokens("MLP0", tokens, (), tokens[:1], ())
    return am.VocabularyEffects(
        **MODEL, n=PAIRS, components=(component,), answers=numbers(PAIRS, 1), centres=numbers(PAIRS, 1)
    )


def edges() -> am.Edges:
    return am.Edges(
        **MODEL,
        questions=QUESTIONS,
        through="total",
        senders=("L0H0", "MLP0"),
        receivers=("L1H2",),
        query_changes=numbers(PAIRS, 1, 2),
        directs=numbers(PAIRS, 1, 2),
        top=(("MLP0", "L1H2"),),
        effects=numbers(PAIRS, 1),
        reference=numbers(PAIRS),
        noise=numbers(PAIRS),
    )


def attribution(keys: bool = False) -> am.Attribution:
    heads = numbers(PAIRS, LAYERS, HEADS)
    return am.Attribution(
        **MODEL,
        questions=QUESTIONS,
        heads=heads,
        mlps=numbers(PAIRS, LAYERS),
        queries=heads * 2,
        keys=heads * math.nan if keys else None,
        pairs_without_keys=1,
        reference=numbers(PAIRS),
        correlation=am.RankCorrelation(0.1 + 0.2, -0.5, 15, 2, "total", drawn=False),
        checked=("L1H2",),
        checked_exact=numbers(1, 1),
    )


def stream() -> am.StreamEffects:
    return am.StreamEffects(
        **MODEL,
        questions=QUESTIONS,
        effects=numbers(PAIRS, LAYERS, 5),
        lengths=ids(PAIRS),
        reference=numbers(PAIRS),
        counterfactual=numbers(PAIRS),
        noise=numbers(PAIRS),
    )


def patterns() -> am.AttentionPatterns:
    return am.AttentionPatterns((0, 2), (numbers(2, HEADS, 3, 3), numbers(2, HEADS, 4, 4)))


def deltas() -> am.Deltas:
    return am.Deltas(
        base="tiny",
        revision=MODEL["revision"],
        weights="ff00",
        dtype="float32",
        tuner="precise",
        components=("L1H2",),
        touched=("L1H3",),
        settings={"steps": 3, "learning_rate": 0.01, "clip": None, "tune": ["q", "o"]},
        changes=(
            Values("model.layers.1.self_attn.q_proj.weight", 0, ((0, 2), (4, 6)), numbers(4, 3)),
            Product("model.layers.0.mlp.up_proj.weight", numbers(1, 3), numbers(4, 1), 0.5, transposed=False),
        ),
    )


CASES: dict[str, Callable[[], Any]] = {
    "path_patching": effects,
    "path_patching_probability": lambda: effects(probability=True),
    "knockout": knockout,
    "knockout_decoded": lambda: knockout(decoded=True),
    "transfer": transfer,
    "roles": roles,
    "lens": lens,
    "writes": writes,
    "edges": edges,
    "attribution": attribution,
    "attribution_keys": lambda: attribution(keys=True),
    "stream": stream,
    "attention": patterns,
    "deltas": deltas,
}
