"""The experiment that the running code works on, as a context variable for log records.

The worker sets it around a job and the API around a request, so that code which logs need not pass it along.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

experiment_id: ContextVar[str | None] = ContextVar("arithmoscope_experiment_id", default=None)


@contextmanager
def working_on(current_id: str) -> Generator[None]:
    """Attributes log records made inside the block to this experiment, in this thread or task only."""
    token = experiment_id.set(current_id)
    try:
        yield
    finally:
        experiment_id.reset(token)
