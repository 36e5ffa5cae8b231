"""Converts the exception of a failed job to the problem shown to users, without a traceback."""

from __future__ import annotations

from arithmoscope.contracts.errors import ProblemDetails, Refusal


def is_out_of_memory(error: BaseException) -> bool:
    """torch has an exception type for devices; for main memory only the message tells. Needs no torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def problem_of(error: Exception) -> ProblemDetails:
    """The problem with which an experiment ends."""
    if isinstance(error, Refusal):
        return error.details()
    if is_out_of_memory(error):
        return Refusal("out_of_memory", "The device does not have enough memory for this experiment.").details()
    return Refusal("internal", f"The computation failed ({type(error).__name__}).").details()
