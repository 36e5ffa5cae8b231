"""A finished transfer as data that leaves the engine: the wire result, and the files stored with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from arithmoscope.contracts.csv_cells import csv_text
from arithmoscope.contracts.kinds.transfer import TransferMatrix, TransferResult, TransferSet, TransferSpec
from arithmoscope.engine.measures.knockout_result import UNITS
from arithmoscope.engine.methods.transfer import Transfer
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import grid, model_facts, provenance_of, row_of

_CELLS = ("value", "ci_low", "ci_high", "plain", "control", "draws_low", "draws_high")
_COLUMNS = ("found_on", "evaluated_on", "metric", *_CELLS, "n_pairs", "experiment_id", "model", "revision")


def transfer_result(
    *,
    model: LoadedModel,
    spec: TransferSpec,
    experiment_id: str,
    transfer: Transfer,
    sets: tuple[tuple[TransferSet, ...], tuple[TransferSet, ...]],
    notes: tuple[str, ...],
    prompt_set_hash: str,
    created_at: datetime,
    seconds: float,
) -> TransferResult:
    """The wire result. ``sets``: those found on, those evaluated on."""
    largest = max(each.pairs for side in sets for each in side)
    return TransferResult(
        experiment_id=experiment_id,
        spec=spec,
        model=model_facts(model),
        complete=True,
        found_on=sets[0],
        evaluated_on=sets[1],
        selections=transfer.selections,
        jaccard=grid(transfer.jaccard),
        rank_correlation=grid(transfer.rank_correlation),
        accuracy=TransferMatrix(
            unit=UNITS["accuracy"],
            plain=row_of(transfer.plain_accuracy),
            value=grid(transfer.accuracy),
            ci_low=grid(transfer.accuracy_low),
            ci_high=grid(transfer.accuracy_high),
            control=grid(transfer.control_accuracy),
            draws_low=grid(transfer.control_accuracy_low),
            draws_high=grid(transfer.control_accuracy_high),
        ),
        probability=TransferMatrix(
            unit=UNITS["probability"],
            plain=row_of(transfer.plain_probability),
            value=grid(transfer.probability),
            ci_low=grid(transfer.probability_low),
            ci_high=grid(transfer.probability_high),
            control=grid(transfer.control_probability),
            draws_low=grid(transfer.control_probability_low),
            draws_high=grid(transfer.control_probability_high),
        ),
        notes=notes,
        provenance=provenance_of(model, prompt_set_hash, None, None, created_at, seconds, chunk_pairs=largest),
    )


def transfer_files(result: TransferResult, transfer: Transfer) -> dict[str, bytes]:
    """Every file of a result by name."""
    return {
        "result.json": result.model_dump_json().encode(),
        "matrix.csv": csv_text(_COLUMNS, _rows(result)).encode(),
        "raw.safetensors": transfer.to_bytes(),
    }


def _rows(result: TransferResult) -> Iterator[list[object]]:
    model = result.model
    for metric, matrix in (("accuracy", result.accuracy), ("probability", result.probability)):
        for row, source in enumerate(result.found_on):
            for column, target in enumerate(result.evaluated_on):
                cells = [
                    matrix.plain[column] if name == "plain" else getattr(matrix, name)[row][column] for name in _CELLS
                ]
                identity = [result.experiment_id, model.id, model.revision]
                yield [source.name, target.name, metric, *cells, target.pairs, *identity]
