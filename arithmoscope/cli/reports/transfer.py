"""Terminal report of a transfer: the matrix of probabilities, and how alike the heads found are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arithmoscope.cli.formatting import number, plural
from arithmoscope.contracts.kinds.transfer import TransferResult
from arithmoscope.contracts.knockout_terms import ABLATION_CHOICES
from arithmoscope.contracts.results import Row


def report(result: TransferResult, _files: Mapping[str, bytes]) -> str:
    """A row for each set that heads are found on, a column for each that they are removed on."""
    found, evaluated, matrix = result.found_on, result.evaluated_on, result.probability
    width = max(len("  random heads"), *(len(each.name) for each in (*found, *evaluated)))
    indent = " " * (width + 5)
    header = indent + "".join(f"{f'[{number}]':>8}" for number in range(1, len(evaluated) + 1))
    square = indent + "".join(f"{f'[{number}]':>8}" for number in range(1, len(found) + 1))
    lines = [
        f"{result.model.name}: probability of the answer on each column's set, with the heads found on each row's set "
        f"removed",
        f"Replace with: {ABLATION_CHOICES[result.spec.ablation].label}",
        *(
            f"[{number}] {each.name}: {plural(each.pairs, 'pair')}{' (control)' if each.is_control else ''}"
            for number, each in enumerate(evaluated, start=1)
        ),
        "",
        header,
    ]
    for index, each in enumerate(found):
        lines.append(f"     {each.name:<{width}}{_cells(matrix.value[index])}")
        lines.append(f"     {'  random heads':<{width}}{_cells(matrix.control[index])}")
    lines.append(f"     {'nothing removed':<{width}}{_cells(matrix.plain)}")
    for title, values in (
        ("overlap of the heads found (Jaccard: heads of both sets / heads of either)", result.jaccard),
        ("rank correlation of the effects of all components", result.rank_correlation),
    ):
        lines += ["", title, square]
        lines += [
            f"[{number:>2}] {each.name:<{width}}{_cells(values[number - 1])}"
            for number, each in enumerate(found, start=1)
        ]
    lines += ["", "heads found, most negative effect first"]
    lines += [
        f"     {each.name:<{width}}  {' '.join(names)}"
        for each, names in zip(found, _listed(result.selections), strict=True)
    ]
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _listed(selections: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    return [names or ("none",) for names in selections]


def _cells(values: Row) -> str:
    return "".join(f"{number(value, '.2f'):>8}" for value in values)
