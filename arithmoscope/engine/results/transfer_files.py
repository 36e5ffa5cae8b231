"""A finished transfer as data that leaves the engine: the wire result, and the files that are kept with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from arithmoscope.contracts.csv_cells import csv_text
from arithmoscope.contracts.knockout_results import TransferMatrix, TransferResult, TransferSet
from arithmoscope.contracts.specs import TransferSpec
from arithmoscope.engine.measures.knockout_result import UNITS
from arithmoscope.engine.methods.transfer import Transfer
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import facts_of, grid, provenance_of, row_of

_CELLS = ("value", "ci_low", "ci_high", "plain", "control", "draws_low", "draws_high")
_COLUMNS = ("found_on", "evaluated_on", "metric", *_CELLS, "n_pairs", "experiment_id", "model", "revision")


def transfer_result(
    *,
    model: LoadedModel,
    spec: TransferSpec,
    experiment_id: str,
    found: Transfer,
    sets: tuple[tuple[TransferSet, ...], tuple[TransferSet, ...]],
    notes: tuple[str, ...],
    prompt_set_hash: str,
    created_at: datetime,
    seconds: float,
) -> TransferResult:
    """The result as it goes over the wire. ``sets``: those found on, those evaluated on."""
    largest = max(each.pairs for side in sets for each in side)
    return TransferResult(
        experiment_id=experiment_id,
        spec=spec,
        model=facts_of(model),
        complete=True,
        found_on=sets[0],
        evaluated_on=sets[1],
        selections=found.selections,
        jaccard=grid(found.jaccard),
        rank_correlation=grid(found.rank_correlation),
        accuracy=TransferMatrix(
            unit=UNITS["accuracy"],
            plain=row_of(found.plain_accuracy),
            value=grid(found.accuracy),
            ci_low=grid(found.accuracy_low),
            ci_high=grid(found.accuracy_high),
            control=grid(found.control_accuracy),
            draws_low=grid(found.control_accuracy_low),
            draws_high=grid(found.control_accuracy_high),
        ),
        probability=TransferMatrix(
            unit=UNITS["probability"],
            plain=row_of(found.plain_probability),
            value=grid(found.probability),
            ci_low=grid(found.probability_low),
            ci_high=grid(found.probability_high),
            control=grid(found.control_probability),
            draws_low=grid(found.control_probability_low),
            draws_high=grid(found.control_probability_high),
        ),
        notes=notes,
        provenance=provenance_of(model, prompt_set_hash, None, None, created_at, seconds, chunk_pairs=largest),
    )


def transfer_files(result: TransferResult, found: Transfer) -> dict[str, bytes]:
    """Every file of a result by name."""
    return {
        "result.json": result.model_dump_json().encode(),
        "matrix.csv": csv_text(_COLUMNS, _rows(result)).encode(),
        "raw.safetensors": found.to_bytes(),
    }


def _rows(result: TransferResult) -> Iterator[list[object]]:
    model = result.model
    for metric, matrix in (("accuracy", result.accuracy), ("probability", result.probability)):
        for row, found in enumerate(result.found_on):
            for column, judged in enumerate(result.evaluated_on):
                cells = [
                    matrix.plain[column] if name == "plain" else getattr(matrix, name)[row][column] for name in _CELLS
                ]
                named = [result.experiment_id, model.id, model.revision]
                yield [found.name, judged.name, metric, *cells, judged.pairs, *named]
