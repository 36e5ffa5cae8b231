"""An experiment in parts: each is saved when it is done, so that one that was interrupted goes on where it was, and
ends with the same bits. A part is a line of JSON (which it is, what it was computed under, what else is to be known)
and the numbers behind it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.specs import METHOD_VERSION
from arithmoscope.engine.models.loaded import LoadedModel

# Small enough that the first numbers appear within seconds, large enough for full speed.
_CHUNK_PAIRS = {"cpu": 16}
_CHUNK_PAIRS_GPU = 64


class Stopped(Exception):
    """Somebody asked for an end in the middle of a chunk."""


@dataclass(frozen=True)
class Course:
    """What a run tells whoever started it, and is told by them. ``started``: by the monotonic clock."""

    save_chunk: Callable[[int, bytes], None]
    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    started: float = field(default_factory=time.monotonic)

    def go_on(self) -> None:
        """Raises `Stopped` when no more is wanted."""
        if self.should_stop():
            raise Stopped

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return round(time.monotonic() - self.started, 3)

    def through(
        self,
        parts: Sequence[Sequence[int]],
        saved: Mapping[int, bytes],
        compute: Callable[[int, Callable[[float], None]], bytes],
        take: Callable[[int, bytes], None],
        progress: Callable[[int, int, float], Progress],
    ) -> bool:
        """Every part in turn, as it was ``saved`` or computed now; whether all of them were finished.

        ``parts``: what each consists of (pairs, sets), by number. ``compute(number, report)`` gives a part's bytes,
        ``take(number, bytes)`` gets them. ``progress(done, number, fraction)``: what is said when so much is done, and
        a fraction of the part with this number.
        """
        total = sum(map(len, parts))
        done, fresh, left = 0, 0, None
        for number, part in enumerate(parts):
            data = saved.get(number)
            if data is None:
                furthest = 0.0

                def report(fraction: float, done: int = done, number: int = number, left: float | None = left) -> None:
                    nonlocal furthest  # when memory ran out, some is done again
                    self.go_on()
                    furthest = max(furthest, fraction)
                    said = progress(done, number, furthest + 1e-6)
                    self.on_progress(said.model_copy(update={"total": total, "eta_s": left}))

                try:
                    self.go_on()
                    data = compute(number, report)
                except Stopped:
                    return False
                self.save_chunk(number, data)
                fresh += len(part)
            take(number, data)
            done += len(part)
            left = (time.monotonic() - self.started) / fresh * (total - done) if fresh else None
            self.on_progress(progress(done, number, 0.0).model_copy(update={"total": total, "eta_s": left}))
        return True


def chunk_pairs(model: LoadedModel) -> int:
    """How many pairs make a chunk on the model's device."""
    return _CHUNK_PAIRS.get(model.device.type, _CHUNK_PAIRS_GPU)


def made_of(model: LoadedModel, written_as: str) -> list[str]:
    """What moves the numbers of a chunk besides the spec, and how they are written."""
    return [model.card.revision, model.precision, model.device.type, str(METHOD_VERSION), written_as]


def packed(part: Sequence[int], made: Sequence[str], facts: Mapping[str, Any], numbers: bytes) -> bytes:
    """One part as bytes."""
    return json.dumps({"part": list(part), "made": list(made), **facts}).encode() + b"\n" + numbers


def opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What `packed` was given: the facts, and the numbers."""
    line, _, numbers = data.partition(b"\n")
    return json.loads(line), numbers


def usable(saved: Mapping[int, bytes], parts: Sequence[Sequence[int]], made: Sequence[str]) -> dict[int, bytes]:
    """The saved parts that are the ones wanted; what was cut or computed otherwise, on another device perhaps, or by an
    older version, is computed again."""
    return {
        number: data
        for number, data in saved.items()
        if number < len(parts)
        and (head := opened(data)[0]).get("made") == list(made)
        and head.get("part") == list(parts[number])
    }
