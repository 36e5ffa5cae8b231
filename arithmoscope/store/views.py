"""What is computed of a finished analysis when somebody looks, and how its files are called.

Attention patterns of some prompts come with the result already; all else is added later, and computed again when it is
gone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import cast

from arithmoscope.contracts.errors import ProblemDetails
from arithmoscope.contracts.views import ViewKind

WITH_RESULT = "attention.safetensors"
# What could not be computed is tried again after so long, and so is what nobody has answered.
ASK_AGAIN_S = 60.0

# Of kinds of which there are several, which one: a prompt by its number, a component by its name.
_NAMES = re.compile(
    r"(?P<alone>key|roles|stages)|(?P<prompts>attention|lens)\.(?P<prompt>0|[1-9][0-9]{0,8})"
    r"|(?P<components>writes)\.(?P<component>L[0-9]{1,4}H[0-9]{1,4}|MLP[0-9]{1,4})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class View:
    """One of them. ``which``: the prompt's number in the list that was asked for, or the component; else empty."""

    kind: ViewKind
    which: str = ""

    def __str__(self) -> str:
        return f"{self.kind}.{self.which}" if self.which else self.kind

    @classmethod
    def parse(cls, name: str) -> View | None:
        """What `str` wrote; None for any other text."""
        found = _NAMES.fullmatch(name)
        if found is None:
            return None
        kind = cast(ViewKind, found["alone"] or found["prompts"] or found["components"])
        return cls(kind, found["prompt"] or found["component"] or "")

    @property
    def file(self) -> str:
        """The artifact that it is."""
        return f"{self}.safetensors" if self.kind == "attention" else f"view.{self}.json"

    @property
    def problem(self) -> str:
        """Why it could not be computed, as problem JSON with the time ``at`` which it was so."""
        return f"{self}.problem.json" if self.kind == "attention" else f"view.{self}.problem.json"


def attention(prompt: int) -> View:
    """The patterns of one prompt, by its number."""
    return View("attention", str(prompt))


def is_view(name: str) -> bool:
    """Whether an artifact is what a worker computes again when it is gone."""
    return name.startswith("view.") or (name.startswith("attention.") and name.endswith(".safetensors"))


def problem_file(problem: ProblemDetails, at: float) -> bytes:
    """``at``: seconds since 1970. What could not be computed then may be computed later."""
    return json.dumps({"at": at, **problem.model_dump()}).encode()


def read_problem(data: bytes) -> tuple[ProblemDetails, float]:
    """The problem and when it was so; 0 in files that do not say."""
    said = json.loads(data)
    at = said.pop("at", 0.0)
    return ProblemDetails.model_validate(said), at
