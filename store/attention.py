"""How the files of attention patterns are called: those that come with a result, and those that are added later."""

from __future__ import annotations

import json

from contracts.errors import ProblemDetails

WITH_RESULT = "attention.safetensors"


def is_attention(name: str) -> bool:
    """Whether an artifact holds attention: what a worker computes again when it is gone."""
    return name.startswith("attention.") and name.endswith(".safetensors")


def attention_name(prompt: int) -> str:
    """One prompt's patterns, added later."""
    return f"attention.{prompt}.safetensors"


def problem_name(prompt: int) -> str:
    """Why one prompt's patterns could not be added, as problem JSON with the time ``at`` which it was so."""
    return f"attention.{prompt}.problem.json"


def problem_file(problem: ProblemDetails, at: float) -> bytes:
    """``at``: seconds since 1970. What could not be computed then may be computed later."""
    return json.dumps({"at": at, **problem.model_dump()}).encode()


def read_problem(data: bytes) -> tuple[ProblemDetails, float]:
    """The problem and when it was so; 0 in files that do not say."""
    said = json.loads(data)
    at = said.pop("at", 0.0)
    return ProblemDetails.model_validate(said), at
