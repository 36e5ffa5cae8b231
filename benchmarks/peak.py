"""How much memory a piece of work took at its highest, beyond what was there before it."""

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
    """``bytes``: the peak beyond the beginning, known after the block; None where the system does not tell."""

    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measures the block: what torch allocates on a GPU, the process's resident memory on a CPU under Linux.

    On a CPU it needs a process that did no such work before: memory that was freed stays with the process, and hides
    what the next piece of work takes.
    """
    found = Peak()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield found
        found.bytes = torch.cuda.max_memory_allocated(device) - before
    elif _CLEAR.exists():
        _CLEAR.write_text("5", encoding="ascii")  # the highest so far is forgotten
        before = _resident("VmRSS")
        yield found
        found.bytes = _resident("VmHWM") - before
    else:
        yield found


def _resident(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if match is None:
        raise OSError(f"{_STATUS} does not say {name}")
    return int(match[1]) * 1024


@torch.no_grad()
def touch(model: nn.Module) -> None:
    """Read every weight once, and let torch start its threads: weights are mapped from their file and would otherwise
    come into memory, and count, when they are first used."""
    for weight in model.parameters():
        weight.float().sum()
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
