"""The verdict of a round: was any experiment lost, finished twice, or computed differently than without faults?"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Fields that differ between two undisturbed runs of the same question: id, time, duration.
_OF_THE_RUN = ("experiment_id",)
_OF_THE_RUN_PROVENANCE = ("created_at", "seconds")
_CSV_ID = "experiment_id"


@dataclass(frozen=True)
class Answer:
    """An accepted experiment at the end of a round: its final state, how often it succeeded, and its files."""

    question: str
    state: str
    finishes: int
    files: Mapping[str, str]


@dataclass(frozen=True)
class Verdict:
    """Experiments by id. ``lost``: did not succeed; ``twice``: succeeded more than once (or the count contradicts the
    state); ``differing``: files whose bits differ from the undisturbed run.
    """

    accepted: int
    lost: dict[str, str] = field(default_factory=dict)
    twice: dict[str, int] = field(default_factory=dict)
    differing: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.twice or self.differing)


def judge(answers: Mapping[str, Answer], undisturbed: Mapping[str, Mapping[str, str]]) -> Verdict:
    """Compares the answers of a round; ``undisturbed`` has the files of every question in a run without faults."""
    lost = {name: answer.state for name, answer in answers.items() if answer.state != "succeeded"}
    twice = {name: answer.finishes for name, answer in answers.items() if answer.finishes != (0 if name in lost else 1)}
    differing = {}
    for name, answer in answers.items():
        if name in lost:
            continue
        expected = undisturbed[answer.question]
        names = sorted(expected.keys() | answer.files.keys())
        if wrong := [each for each in names if expected.get(each) != answer.files.get(each)]:
            differing[name] = wrong
    return Verdict(len(answers), lost, twice, differing)


def comparable_digest(name: str, data: bytes) -> str:
    """SHA-256 of a file without the experiment's id, its times and its duration; all other bits count."""
    if name == "result.json":
        data = json.dumps(_without_the_run(json.loads(data)), sort_keys=True).encode()
    elif name.endswith(".csv"):
        data = _without_id(data)
    return hashlib.sha256(data).hexdigest()


def is_compared(name: str) -> bool:
    """False for the description of a CSV file, which contains the experiment's id and date; its table is compared."""
    return not name.endswith("-metadata.json")


def _without_the_run(result: dict[str, Any]) -> dict[str, Any]:
    provenance = {key: value for key, value in result["provenance"].items() if key not in _OF_THE_RUN_PROVENANCE}
    return {key: value for key, value in result.items() if key not in _OF_THE_RUN} | {"provenance": provenance}


def _without_id(data: bytes) -> bytes:
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    return "\n".join(json.dumps({key: row[key] for key in row if key != _CSV_ID}) for row in rows).encode()
