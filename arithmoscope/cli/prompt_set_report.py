"""Prompt sets in the reports of ``knockout`` and ``transfer``: sizes, accuracy, and the split by operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel
    from arithmoscope.replication.prompt_sets import AnsweredSet


def json_facts(model: LoadedModel, sets: Sequence[AnsweredSet]) -> dict[str, Any]:
    """Model and prompt sets, as fields of the JSON output."""
    names = ("name", "control", "example", "n", "right", "kept_wrong")
    counts: list[dict[str, Any]] = []
    for each in sets:
        sides = {"found": each.selection_operands, "judged": each.evaluation_operands}
        counts.append(
            {name: getattr(each, name) for name in names}
            | {side: len(operands) for side, operands in sides.items()}
            | {f"{side}_operands": len(set(operands)) for side, operands in sides.items()}
        )
    return {"model": model.card.id, "revision": model.card.revision, "dtype": model.precision, "sets": counts}


def set_lines(sets: Sequence[AnsweredSet]) -> list[str]:
    """One line per prompt set."""
    lines: list[str] = []
    for each in sets:
        kept = "all kept" if each.kept_wrong else "wrong ones left out"
        split = f"components found on {_size(each.selection_operands)}, evaluated on {_size(each.evaluation_operands)}"
        lines.append(f"{each.name}, for example {each.example}: {each.right} of {each.n} right, {kept}; {split}")
    return lines


def _size(operands: Sequence[str]) -> str:
    return f"{len(operands)} ({len(set(operands))} distinct operand sets)"
