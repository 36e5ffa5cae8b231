"""Chunks of an experiment. Each is saved when it is done, so that an interrupted experiment resumes and ends with the
same bits. A stored chunk is a line of JSON (its part, the key it was computed under, further facts) followed by the
numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.terms import METHOD_VERSION
from arithmoscope.engine.models.loaded import LoadedModel

# Small enough that the first numbers appear within seconds, large enough for full speed.
_CHUNK_PAIRS = {"cpu": 16}
_CHUNK_PAIRS_GPU = 64


class Stopped(Exception):
    """A stop was requested in the middle of a chunk."""


@dataclass(frozen=True)
class RunCallbacks:
    """Callbacks of a run. ``started``: its start by the monotonic clock."""

    save_chunk: Callable[[int, bytes], None]
    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    started: float = field(default_factory=time.monotonic)

    def check_stop(self) -> None:
        """Raises `Stopped` if a stop was requested."""
        if self.should_stop():
            raise Stopped

    @property
    def seconds(self) -> float:
        """Seconds since the run started."""
        return round(time.monotonic() - self.started, 3)

    def run_chunks(
        self,
        parts: Sequence[Sequence[int]],
        saved: Mapping[int, bytes],
        compute: Callable[[int, Callable[[float], None]], bytes],
        take: Callable[[int, bytes], None],
        progress: Callable[[int, int, float], Progress],
    ) -> bool:
        """Processes the chunks in order; each is taken from ``saved`` or computed. Returns whether all were
        finished.

        Args:
            parts: The contents of each chunk (pairs or sets), by chunk number.
            compute: ``compute(number, report)`` returns a chunk's bytes.
            take: ``take(number, bytes)`` receives them.
            progress: ``progress(done, number, fraction)`` describes the state with ``done`` items finished and a
                fraction of the chunk with this number.
        """
        total = sum(map(len, parts))
        done, fresh, left = 0, 0, None
        for number, part in enumerate(parts):
            data = saved.get(number)
            if data is None:
                furthest = 0.0

                def report(fraction: float, done: int = done, number: int = number, left: float | None = left) -> None:
                    nonlocal furthest  # after running out of memory a part of the chunk is repeated
                    self.check_stop()
                    furthest = max(furthest, fraction)
                    state = progress(done, number, furthest + 1e-6)
                    self.on_progress(state.model_copy(update={"total": total, "eta_s": left}))

                try:
                    self.check_stop()
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
    """Number of pairs per chunk on the model's device."""
    return _CHUNK_PAIRS.get(model.device.type, _CHUNK_PAIRS_GPU)


def chunk_key(model: LoadedModel, storage_format: str) -> list[str]:
    """Everything besides the spec that a chunk's numbers depend on, and their storage format."""
    return [model.card.revision, model.precision, model.device.type, str(METHOD_VERSION), storage_format]


def pack_chunk(part: Sequence[int], key: Sequence[str], facts: Mapping[str, Any], numbers: bytes) -> bytes:
    """One chunk as bytes."""
    return json.dumps({"part": list(part), "made": list(key), **facts}).encode() + b"\n" + numbers


def unpack_chunk(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The facts and numbers of a packed chunk."""
    line, _, numbers = data.partition(b"\n")
    return json.loads(line), numbers


def reusable_chunks(saved: Mapping[int, bytes], parts: Sequence[Sequence[int]], key: Sequence[str]) -> dict[int, bytes]:
    """The saved chunks that match the current parts and key. A chunk that was cut differently or computed under other
    conditions (another device, an older version) is computed again.
    """
    return {
        number: data
        for number, data in saved.items()
        if number < len(parts)
        and (head := unpack_chunk(data)[0]).get("made") == list(key)
        and head.get("part") == list(parts[number])
    }
