"""A finished analysis as data that leaves the engine: the wire result, and the files stored with it."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

from arithmoscope.contracts.csvw import csv_metadata
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.ranking import to_csv
from arithmoscope.contracts.results import (
    Checks,
    DroppedPair,
    Effects,
    Grid,
    MetricResult,
    PairResult,
    Row,
)
from arithmoscope.contracts.terms import Metric
from arithmoscope.engine.interventions.spot_check import SpotCheck
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.metrics import METRICS, EffectSummary
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.prompts import EncodedPair, PromptSet


def grid(values: Tensor) -> Grid:
    """A table of numbers; non-finite ones become None."""
    return tuple(tuple(cell if math.isfinite(cell) else None for cell in row) for row in values.tolist())


def row_of(values: Tensor) -> Row:
    """A row of numbers; non-finite ones become None."""
    return grid(values[None])[0]


def result_of(
    facts: RunFacts,
    spec: PathPatchingSpec,
    prompts: PromptSet,
    *,
    effects: PatchingEffects,
    summaries: Mapping[Metric, EffectSummary],
    kept: Mapping[int, EncodedPair],
    dropped: Sequence[DroppedPair],
    n_correct: int,
    checked: SpotCheck,
    attention_pairs: tuple[int, ...],
) -> PathPatchingResult:
    """The wire result. ``kept``: the measured pairs by their index in the submitted list."""
    return PathPatchingResult(
        **facts.fields,
        spec=spec,
        effect=spec.effect,
        n_asked=len(prompts.pairs),
        n_distinct=prompts.n_distinct,
        n_correct=n_correct,
        pairs=tuple(_pair(facts.model, effects, row, index, pair) for row, (index, pair) in enumerate(kept.items())),
        dropped=tuple(dropped),
        attention_pairs=attention_pairs,
        metrics={metric: metric_result(METRICS[metric].unit, summary) for metric, summary in summaries.items()},
        checks=Checks(
            noise_floor=float(effects.noise.max()),
            spot_check=tuple(str(component) for component in checked.components),
            spot_check_pairs=checked.pairs,
            spot_check_error=checked.error,
        ),
    )


def set_hash(prompts: PromptSet) -> str:
    """SHA-256 of the texts and tokens of a prompt set: the same texts have other tokens under another chat template."""
    rows = [
        [p.pair.reference, p.pair.counterfactual, p.pair.answer, p.reference_ids, p.counterfactual_ids, p.answer_id]
        for p in prompts.pairs
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def artifacts_of(
    result: PathPatchingResult,
    effects: PatchingEffects,
    summaries: Mapping[Metric, EffectSummary],
    patterns: Mapping[int, Tensor],
) -> dict[str, bytes]:
    """Every file of a result by name."""
    files = {
        "result.json": result.model_dump_json().encode(),
        "arrays.npz": _npz(effects, result),
        "attention.safetensors": patterns_file(patterns),
    }
    for metric, summary in summaries.items():
        rows = effects.ranking(metric, result.experiment_id, summary)
        files[f"components.{metric}.csv"] = to_csv(rows).encode()
        # Its link over HTTP, where both files are requested by metric.
        described = csv_metadata(result, metric, f"components.csv?metric={metric}")
        files[f"components.{metric}.csv-metadata.json"] = described.encode()
    return files


def patterns_file(patterns: Mapping[int, Tensor]) -> bytes:
    """Attention patterns, [layer, head, query, key] per prompt, as safetensors."""
    return save({f"prompt.{index}": weights.contiguous() for index, weights in patterns.items()})


def _pair(model: LoadedModel, effects: PatchingEffects, row: int, index: int, pair: EncodedPair) -> PairResult:
    competitor = int(effects.competitors[row])
    return PairResult(
        index=index,
        reference=pair.reference_tokens,
        counterfactual=pair.counterfactual_tokens,
        answer=pair.answer_text,
        answer_id=pair.answer_id,
        competitor=model.token_text(competitor),
        competitor_id=competitor,
        top=model.token_text(int(effects.top[row])),
        correct=bool(effects.correct[row]),
        reference_logit=float(effects.reference[row]),
        counterfactual_logit=float(effects.counterfactual[row]),
        reference_probability=float(effects.reference_probability[row]),
    )


def metric_result(unit: str, summary: EffectSummary) -> MetricResult:
    """A metric's summary in its wire format."""
    tables = (summary.mean, summary.std, summary.ci_low, summary.ci_high)
    return MetricResult(
        unit=unit,
        n_pairs=summary.n_pairs,
        left_out=summary.left_out,
        heads=Effects(**_named(table[:, :-1] for table in tables)),
        mlps=Effects(**_named(table[:, -1:] for table in tables)),
    )


def _named(tables: object) -> dict[str, Grid]:
    return dict(zip(("mean", "std", "ci_low", "ci_high"), (grid(t) for t in tables), strict=True))  # pyright: ignore


def _npz(effects: PatchingEffects, result: PathPatchingResult) -> bytes:
    """Raw arrays over the kept pairs: numbers and texts only, no pickled objects."""
    out = io.BytesIO()
    probabilities: dict[str, Any] = {}
    if effects.probability_heads is not None and effects.probability_mlps is not None:
        probabilities["probability_heads"] = effects.probability_heads.numpy()
        probabilities["probability_mlps"] = effects.probability_mlps.numpy()
    np.savez_compressed(
        out,
        pair_index=np.array([pair.index for pair in result.pairs]),
        questions=np.array(effects.questions),
        heads=effects.heads.numpy(),
        mlps=effects.mlps.numpy(),
        competitor_heads=effects.competitor_heads.numpy(),
        competitor_mlps=effects.competitor_mlps.numpy(),
        reference=effects.reference.numpy(),
        counterfactual=effects.counterfactual.numpy(),
        reference_competitor=effects.reference_competitor.numpy(),
        answers=effects.answers.numpy(),
        competitors=effects.competitors.numpy(),
        correct=effects.correct.numpy(),
        model=np.array([effects.model, effects.revision]),
        effect=np.array(effects.effect),
        positions=np.array(result.spec.positions),
        source=np.array(result.spec.source),
        direction=np.array(result.spec.direction),
        **probabilities,
    )
    return out.getvalue()
