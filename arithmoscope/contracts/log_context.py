"""Which experiment the running code works on, so that every line of every log can say so.

The worker sets it around a job and the API around a request; whoever logs meanwhile need not know of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

experiment_id: ContextVar[str | None] = ContextVar("arithmoscope_experiment_id", default=None)


@contextmanager
def working_on(an_id: str) -> Iterator[None]:
    """What is logged in the block is about this experiment. Holds for this thread or task alone."""
    before = experiment_id.set(an_id)
    try:
        yield
    finally:
        experiment_id.reset(before)
