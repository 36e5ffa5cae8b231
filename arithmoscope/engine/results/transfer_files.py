"""A finished transfer as data that leaves the engine: the wire result, and the files stored with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from torch import Tensor

from arithmoscope.contracts.csv_cells import csv_text
from arithmoscope.contracts.kinds.transfer import TransferMatrix, TransferResult, TransferSet, TransferSpec
from arithmoscope.engine.measures.knockout_result import UNITS
from arithmoscope.engine.methods.transfer import Transfer
from arithmoscope.engine.results.analysis_files import grid, row_of
from arithmoscope.engine.results.run_facts import RunFacts

_CELLS = ("value", "ci_low", "ci_high", "plain", "control", "draws_low", "draws_high")
_COLUMNS = ("found_on", "evaluated_on", "metric", *_CELLS, "n_pairs", "experiment_id", "model", "revision")


def transfer_result(
    facts: RunFacts, spec: TransferSpec, transfer: Transfer, sets: Sequence[tuple[TransferSet, ...]]
) -> TransferResult:
    """The wire result. ``sets``: those found on, those evaluated on."""
    return TransferResult(
        **facts.fields,
        spec=spec,
        found_on=sets[0],
        evaluated_on=sets[1],
        selections=transfer.selections,
        jaccard=grid(transfer.jaccard),
        rank_correlation=grid(transfer.rank_correlation),
        accuracy=_matrix(transfer, "accuracy"),
        probability=_matrix(transfer, "probability"),
    )


def _matrix(transfer: Transfer, metric: Literal["accuracy", "probability"]) -> TransferMatrix:
    tensors: dict[str, Tensor] = vars(transfer)
    return TransferMatrix(
        unit=UNITS[metric],
        plain=row_of(tensors[f"plain_{metric}"]),
        value=grid(tensors[metric]),
        ci_low=grid(tensors[f"{metric}_low"]),
        ci_high=grid(tensors[f"{metric}_high"]),
        control=grid(tensors[f"control_{metric}"]),
        draws_low=grid(tensors[f"control_{metric}_low"]),
        draws_high=grid(tensors[f"control_{metric}_high"]),
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
