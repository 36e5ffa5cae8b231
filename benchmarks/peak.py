"""Peak memory of a block of work, beyond what was in use before it."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Peak:
    """``bytes``: the peak beyond the start, set after the block; None if the system does not report it."""

    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measures the block: torch's allocations on a GPU, the process's resident memory on a CPU under Linux.

    On a CPU it needs a process that did no such work before: freed memory stays with the process, and would hide what
    the next block takes.
    """
    peak = Peak()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
    elif _CLEAR.exists():
        _CLEAR.write_text("5", encoding="ascii")  # resets the peak
        before = _resident("VmRSS")
        yield peak
        peak.bytes = _resident("VmHWM") - before
    else:
        yield peak


def _resident(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if match is None:
        raise OSError(f"{_STATUS} has no {name}")
    return int(match[1]) * 1024


@torch.no_grad()
def touch(model: nn.Module) -> None:
    """Reads every weight once, and lets torch start its threads: weights are mapped from their file and would otherwise
    be loaded, and counted, at first use.
    """
    for weight in model.parameters():
        weight.float().sum()
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
