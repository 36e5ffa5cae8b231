"""A finished knock-out as data that leaves the engine: the wire result, and the files stored with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.csv_cells import csv_text
from arithmoscope.contracts.kinds.knockout import KnockChecks, KnockCurve, KnockoutResult, KnockoutSpec
from arithmoscope.contracts.knockout_terms import KnockMetric
from arithmoscope.contracts.results import DroppedPair
from arithmoscope.engine.measures.key_components import elbow
from arithmoscope.engine.measures.knockout_curves import KnockoutCurve
from arithmoscope.engine.measures.knockout_result import UNITS, Knockout
from arithmoscope.engine.results.analysis_files import row_of
from arithmoscope.engine.results.knockout_check import KnockCheck
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.prompts import PromptSet

_CURVE = ("mean", "ci_low", "ci_high", "control", "control_low", "control_high", "draws_low", "draws_high", "p_value")
_COLUMNS = ("k", "component", "metric", *_CURVE, "n_pairs", "draws", "experiment_id", "model", "revision")


def knockout_result(
    facts: RunFacts,
    spec: KnockoutSpec,
    prompts: PromptSet,
    *,
    knocked: Knockout,
    checked: KnockCheck,
    dropped: Sequence[DroppedPair],
    shared_questions: int,
) -> KnockoutResult:
    """The wire result. ``shared_questions``: measured pairs that share operands with the analysis."""
    metrics: list[KnockMetric] = [metric for metric in UNITS if metric != "exact_match" or knocked.exact is not None]
    curves: dict[KnockMetric, KnockoutCurve] = {metric: knocked.curve(metric) for metric in metrics}
    return KnockoutResult(
        **facts.fields,
        spec=spec,
        parent=spec.parent,
        components=knocked.components,
        controls=knocked.controls,
        unmatched=int(knocked.matched.logical_not().sum()),
        n_asked=len(prompts.pairs),
        n_distinct=prompts.n_distinct,
        n_pairs=len(knocked),
        shared_questions=shared_questions,
        dropped=tuple(dropped),
        curves={metric: _curve(curve) for metric, curve in curves.items()},
        elbow=elbow_of(curves["accuracy"].mean),
        checks=KnockChecks(
            noise_floor=float(knocked.noise.max()),
            spot_check_points=checked.points,
            spot_check_pairs=checked.pairs,
            spot_check_error=checked.error,
        ),
    )


def knockout_files(result: KnockoutResult, knocked: Knockout) -> dict[str, bytes]:
    """Every file of a result by name."""
    return {
        "result.json": result.model_dump_json().encode(),
        "curve.csv": csv_text(_COLUMNS, _rows(result)).encode(),
        "raw.safetensors": knocked.to_bytes(),
    }


def elbow_of(mean: Float[Tensor, " k"]) -> int | None:
    """The k of `KnockoutResult.elbow`. A curve that falls only at its end, or in one step, does not bend below its
    line.
    """
    if not bool(mean[-1] < mean[0]):
        return None
    half = (mean[0] + mean[-1]) / 2
    bend = elbow(mean)
    return bend if bend and bool(mean[bend] <= half) else int((mean <= half).nonzero()[0])


def _curve(curve: KnockoutCurve) -> KnockCurve:
    bounds = {"ci_low": curve.low, "ci_high": curve.high}
    names = [name for name in _CURVE if name not in bounds]
    tensors = bounds | {name: getattr(curve, name) for name in names}
    return KnockCurve(unit=curve.unit, **{name: row_of(values) for name, values in tensors.items()})


def _rows(result: KnockoutResult) -> Iterator[list[object]]:
    for metric, curve in result.curves.items():
        for k in range(len(curve.mean)):
            yield [
                k,
                result.components[k - 1] if k else None,
                metric,
                *(getattr(curve, name)[k] for name in _CURVE),
                result.n_pairs,
                len(result.controls),
                result.experiment_id,
                result.model.id,
                result.model.revision,
            ]
