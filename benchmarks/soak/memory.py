"""Memory growth of processes: resident memory every second, and its slope with an interval."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import psutil

# Quantiles of Student's t, two-sided 95 %, by degrees of freedom; the last one for all larger.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.0)
_MIB = 2**20


@dataclass(frozen=True)
class Slope:
    """MiB per minute with its 95 % interval, over ``minutes``; ``first_mib`` and ``last_mib``: means of the first and
    last bin.
    """

    mib_a_minute: float
    low: float
    high: float
    minutes: float
    first_mib: float
    last_mib: float


def slope_of(samples: list[float], *, every_s: float = 1.0, skip_s: float = 60.0, bin_s: float = 30.0) -> Slope | None:
    """Least squares over means of ``bin_s`` seconds: neighbouring samples are correlated, so single ones would make the
    interval too narrow.

    The first ``skip_s`` seconds, in which caches fill, are left out. None for fewer than three bins.
    """
    kept = samples[int(skip_s / every_s) :]
    size = max(1, int(bin_s / every_s))
    bins = [sum(kept[start : start + size]) / size / _MIB for start in range(0, len(kept) - size + 1, size)]
    n = len(bins)
    if n < 3:
        return None
    times = [(index + 0.5) * bin_s / 60 for index in range(n)]
    mean_t, mean_y = sum(times) / n, sum(bins) / n
    spread = sum((t - mean_t) ** 2 for t in times)
    slope = sum((t - mean_t) * (y - mean_y) for t, y in zip(times, bins, strict=True)) / spread
    left = sum((y - mean_y - slope * (t - mean_t)) ** 2 for t, y in zip(times, bins, strict=True))
    half = _T[min(n - 3, len(_T) - 1)] * math.sqrt(left / (n - 2) / spread)
    return Slope(slope, slope - half, slope + half, n * bin_s / 60, bins[0], bins[-1])


@dataclass
class MemorySampler:
    """Samples memory in a thread while the block runs. ``parts`` returns the process ids by name, for each sample."""

    parts: Callable[[], Mapping[str, list[int]]]
    every_s: float = 1.0
    samples: dict[str, list[float]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self.every_s):
            for name, pids in self.parts().items():
                try:
                    resident = sum(psutil.Process(pid).memory_info().rss for pid in pids)
                except psutil.NoSuchProcess:
                    continue
                self.samples.setdefault(name, []).append(float(resident))
