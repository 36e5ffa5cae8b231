"""A fine-tuning's tables and adapter, as files: what their columns are is in docs/exports.md."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence

from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.csv_cells import csv_text
from arithmoscope.contracts.results import MetricResult
from arithmoscope.contracts.tuning_results import FineTuneResult, Repatched, Validation
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.deltas import Deltas
from arithmoscope.engine.tuning.evaluate import Asked
from arithmoscope.engine.tuning.evaluation_sets import FACETS, facets_of
from arithmoscope.engine.tuning.export import adapter_files
from arithmoscope.engine.tuning.history import Step
from arithmoscope.prompts.language.question_operands import question_only

_WHICH = ("experiment_id", "model", "revision")
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
# Files in an archive carry a date; always the same one, so that equal adapters are equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def history_csv(steps: Sequence[Step], validation: Sequence[Validation], result: FineTuneResult) -> bytes:
    """A row a step, from 1; row 0 has what was validated before it."""
    seen = {each.step: each for each in validation}
    which = _which(result)

    def rows() -> Iterator[list[object]]:
        for number in range(len(steps) + 1):
            step = steps[number - 1] if number else None
            looked = seen.get(number)
            if step is None and looked is None:
                continue
            numbers = (None,) * 4 if step is None else (step.loss, step.rate, step.norm, step.seconds)
            yield [number, *numbers, looked and looked.accuracy, looked and looked.loss, *which]

    return csv_text((*_HISTORY, *_WHICH), rows()).encode()


def judged_csv(asked: Sequence[Asked], result: FineTuneResult) -> bytes:
    """A row a question, of every set."""
    which = _which(result)

    def rows() -> Iterator[list[object]]:
        for each in asked:
            one, other = each.verdicts.before, each.verdicts.after
            for row, pair in enumerate(each.pairs):
                facets = facets_of(pair)
                yield [
                    each.group,
                    each.name,
                    question_only(pair.reference),
                    pair.answer,
                    one.words[row],
                    other.words[row],
                    each.outcome(row),
                    float(one.log_probability[row]),
                    float(other.log_probability[row]),
                    float(each.verdicts.divergence[row]),
                    *(facets[name] for name in FACETS),
                    *which,
                ]

    return csv_text((*_JUDGED, *_WHICH), rows()).encode()


def repatched_csv(found: Repatched, result: FineTuneResult) -> bytes:
    """A row a component: first the one whose effect has changed most."""
    which = _which(result)
    sides = [_cells(getattr(found, side)) for side in _SIDES]
    components = all_components(result.model.layers, result.model.heads)

    def size(at: int) -> float:
        mean = sides[-1][at][0]
        return -1.0 if mean is None else abs(mean)

    def rows() -> Iterator[list[object]]:
        for at in sorted(range(len(components)), key=size, reverse=True):
            component = components[at]
            yield [
                str(component),
                component.kind,
                component.layer,
                component.head,
                *(number for side in sides for number in side[at]),
                found.n_pairs,
                "logit_difference",
                found.effect,
                *which,
            ]

    return csv_text((*_REPATCHED, *_WHICH), rows()).encode()


def _cells(found: MetricResult) -> list[tuple[float | None, ...]]:
    """Of every component, in the order of `all_components`, what `_EFFECT` names."""
    tables = [(getattr(found.heads, name), getattr(found.mlps, name)) for name in _EFFECT]
    cells = []
    for layer in range(len(found.heads.mean)):
        rows = [(*heads[layer], *mlps[layer]) for heads, mlps in tables]
        cells += zip(*rows, strict=True)
    return cells


def adapter_zip(base: LoadedModel, deltas: Deltas) -> bytes:
    """The changes as an adapter that PEFT loads, in an archive.

    Refuses (``impossible_options``) what an adapter cannot express.
    """
    out = io.BytesIO()
    # Half of an adapter says which rows are meant, in ones and zeros.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in sorted(adapter_files(base, deltas.changes).items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()


def _which(result: FineTuneResult) -> tuple[str, str, str]:
    return result.experiment_id, result.model.id, result.model.revision
