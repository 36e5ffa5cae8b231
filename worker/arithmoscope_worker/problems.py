"""What a person is told when a job breaks: never a traceback."""

from __future__ import annotations

from arithmoscope.contracts.errors import ProblemDetails, Refusal


def is_out_of_memory(error: BaseException) -> bool:
    """torch has one exception for devices and says it in words for the main memory. Needs no torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def problem_of(error: Exception) -> ProblemDetails:
    """The problem that an experiment ends with."""
    if isinstance(error, Refusal):
        return error.details()
    if is_out_of_memory(error):
        return Refusal("out_of_memory", "The device has not enough memory for this experiment.").details()
    return Refusal("internal", f"The computation broke ({type(error).__name__}).").details()
