"""Views: data computed on demand from a finished analysis, and the names of their files.

Attention patterns of some prompts are stored with the result; all other views are added later, and recomputed if
they are gone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sqlalchemy import Column, ColumnElement, or_

from arithmoscope.contracts.errors import ProblemDetails
from arithmoscope.contracts.views import VIEWS, ViewKind

STORED_ATTENTION = "attention.safetensors"
# A view that failed, or was not answered, is requested again after this time.
RETRY_AFTER_S = 60.0

# Names of the files that a worker recomputes if they are gone.
_FILES = ("view.*", STORED_ATTENTION, "attention.*.safetensors")
# The target of a view that has a parameter: a prompt by its number, a component by its name.
_TARGETS = {
    None: re.compile(""),
    "prompt": re.compile(r"\.(0|[1-9][0-9]{0,8})", re.ASCII),
    "component": re.compile(r"\.(L[0-9]{1,4}H[0-9]{1,4}|MLP[0-9]{1,4})", re.ASCII),
}


@dataclass(frozen=True, slots=True)
class View:
    """One view. ``which``: the prompt's index in the submitted list, or the component; else empty."""

    kind: ViewKind
    which: str = ""

    def __str__(self) -> str:
        return f"{self.kind}.{self.which}" if self.which else self.kind

    @classmethod
    def parse(cls, name: str) -> View | None:
        """Parses the output of `str`; None for any other text."""
        kind, dot, target = name.partition(".")
        row = next((row for row in VIEWS.values() if row.name == kind), None)
        if row is None or _TARGETS[row.parameter].fullmatch(dot + target) is None:
            return None
        return cls(row.name, target)

    @property
    def file(self) -> str:
        """The name of its artifact."""
        return VIEWS[self.kind].file.format(view=self)

    @property
    def problem(self) -> str:
        """The name of the artifact with the reason why it could not be computed: problem JSON with the time ``at``."""
        return f"{self.file.rpartition('.')[0]}.problem.json"


def attention_view(prompt: int) -> View:
    """The attention patterns of one prompt, by its index."""
    return View("attention", str(prompt))


def is_view(name: str) -> bool:
    """Returns whether an artifact is a view, which a worker recomputes if it is gone."""
    return any(fnmatchcase(name, pattern) for pattern in _FILES)


def is_view_in_sql(name: Column[str]) -> ColumnElement[bool]:
    """`is_view` as a condition on a column."""
    return or_(*(name.like(pattern.replace("*", "%")) for pattern in _FILES))


def problem_file(problem: ProblemDetails, failed_at: float) -> bytes:
    """Content of a problem artifact. ``at``: seconds since 1970; the view may be tried again later."""
    return json.dumps({"at": failed_at, **problem.model_dump()}).encode()


def read_problem(data: bytes) -> tuple[ProblemDetails, float]:
    """Parses a problem artifact to the problem and its time; 0 if the file has none."""
    content = json.loads(data)
    failed_at = content.pop("at", 0.0)
    return ProblemDetails.model_validate(content), failed_at
