"""Tables and adapter of a fine-tuning, as files; docs/exports.md describes their columns."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence

from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.csv_cells import csv_text
from arithmoscope.contracts.kinds.fine_tune import FineTuneResult
from arithmoscope.contracts.results import MetricResult
from arithmoscope.contracts.tuning_results import Repatched, Validation
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.deltas import Deltas
from arithmoscope.engine.tuning.evaluate import EvaluatedSet
from arithmoscope.engine.tuning.evaluation_sets import FACETS, facets_of
from arithmoscope.engine.tuning.export import adapter_files
from arithmoscope.engine.tuning.history import TrainingStep
from arithmoscope.prompts.language.question_operands import question_only

_IDENTITY = ("experiment_id", "model", "revision")
_HISTORY = ("step", "loss", "learning_rate", "gradient_norm", "seconds", "validation_accuracy", "validation_loss")
_JUDGED = (
    *("group", "set", "question", "answer", "before", "after", "outcome"),
    *("log_probability_before", "log_probability_after", "divergence", *FACETS),
)
_EFFECT = ("mean", "std", "ci_low", "ci_high")
_SIDES = ("before", "after", "difference")
_REPATCHED = (
    *("component", "kind", "layer", "head"),
    *(f"{side}_{name}" for side in _SIDES for name in _EFFECT),
    *("n_pairs", "metric", "effect"),
)
# Archive entries carry a date; a fixed one makes equal adapters equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def history_csv(steps: Sequence[TrainingStep], validation: Sequence[Validation], result: FineTuneResult) -> bytes:
    """One row a step, from 1; row 0 holds the validation before the first step."""
    validation_at = {each.step: each for each in validation}
    identity = _identity(result)

    def rows() -> Iterator[list[object]]:
        for number in range(len(steps) + 1):
            step = steps[number - 1] if number else None
            validated = validation_at.get(number)
            if step is None and validated is None:
                continue
            numbers = (None,) * 4 if step is None else (step.loss, step.rate, step.norm, step.seconds)
            yield [number, *numbers, validated and validated.accuracy, validated and validated.loss, *identity]

    return csv_text((*_HISTORY, *_IDENTITY), rows()).encode()


def judged_csv(sets: Sequence[EvaluatedSet], result: FineTuneResult) -> bytes:
    """One row a question, for every set."""
    identity = _identity(result)

    def rows() -> Iterator[list[object]]:
        for each in sets:
            before, after = each.comparison.before, each.comparison.after
            for row, pair in enumerate(each.pairs):
                facets = facets_of(pair)
                yield [
                    each.group,
                    each.name,
                    question_only(pair.reference),
                    pair.answer,
                    before.texts[row],
                    after.texts[row],
                    each.outcome(row),
                    float(before.log_probability[row]),
                    float(after.log_probability[row]),
                    float(each.comparison.divergence[row]),
                    *(facets[name] for name in FACETS),
                    *identity,
                ]

    return csv_text((*_JUDGED, *_IDENTITY), rows()).encode()


def repatched_csv(repatched: Repatched, result: FineTuneResult) -> bytes:
    """One row a component, largest change first."""
    identity = _identity(result)
    sides = [_cells(getattr(repatched, side)) for side in _SIDES]
    components = all_components(result.model.layers, result.model.heads)

    def size(index: int) -> float:
        mean = sides[-1][index][0]
        return -1.0 if mean is None else abs(mean)

    def rows() -> Iterator[list[object]]:
        for index in sorted(range(len(components)), key=size, reverse=True):
            component = components[index]
            yield [
                str(component),
                component.kind,
                component.layer,
                component.head,
                *(number for side in sides for number in side[index]),
                repatched.n_pairs,
                "logit_difference",
                repatched.effect,
                *identity,
            ]

    return csv_text((*_REPATCHED, *_IDENTITY), rows()).encode()


def _cells(effects: MetricResult) -> list[tuple[float | None, ...]]:
    """The columns of `_EFFECT` for every component, in the order of `all_components`."""
    tables = [(getattr(effects.heads, name), getattr(effects.mlps, name)) for name in _EFFECT]
    cells = []
    for layer in range(len(effects.heads.mean)):
        rows = [(*heads[layer], *mlps[layer]) for heads, mlps in tables]
        cells += zip(*rows, strict=True)
    return cells


def adapter_zip(base: LoadedModel, deltas: Deltas) -> bytes:
    """The changes as an adapter that PEFT loads, in an archive.

    Raises:
        Refusal: ``impossible_options`` if an adapter cannot express them.
    """
    out = io.BytesIO()
    # Half of an adapter is an index of rows or columns in ones and zeros, which compresses well.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in sorted(adapter_files(base, deltas.changes).items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()


def _identity(result: FineTuneResult) -> tuple[str, str, str]:
    return result.experiment_id, result.model.id, result.model.revision
