"""The row that describes a kind of experiment, and the files that its results consist of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from arithmoscope.contracts.base import Wire

# The whole result; every kind has it.
RESULT = "result.json"

CSV = "text/csv"
BINARY = "application/octet-stream"
ZIP = "application/zip"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a finished experiment, served at ``/api/experiments/{id}/{name}``.

    Attributes:
        name: The file's name in the store, and the last part of its address.
        media_type: Its media type.
        title: A few words for the API's documentation.
        summary: The documentation of its address.
        save_as: End of the name under which a browser saves it; the start is the experiment's id.
        operation: Name of the address in the API's documentation.
    """

    name: str
    media_type: str
    title: str
    summary: str
    save_as: str = ""
    operation: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the file's content."""
        return {"type": "string"} if self.media_type == CSV else {"type": "string", "format": "binary"}


@dataclass(frozen=True, slots=True)
class ExperimentKind:
    """A kind of experiment, a row of `arithmoscope.contracts.kinds.KINDS`.

    Its check is the module of its name in `arithmoscope.checks`, its run the one in `arithmoscope.engine.experiments`.

    Attributes:
        name: The ``kind`` of its specs.
        title: What people call it.
        command: Its command on the command line.
        help: One line on what it does.
        spec: The wire model of the question.
        result: The wire model of ``result.json``.
        artifacts: The other files of a result.
        canonical: Changes a dumped spec so that specs that ask for the same numbers become equal.
        parent: Whether a spec names a finished analysis: it must (``required``), may (``optional``), or cannot
            (``none``). With a required one, the model is that of the analysis.
        form: Address of its form on the page; empty if the form is part of another page.
        last_chunk_suffices: Each chunk contains all earlier ones, which can therefore go.
    """

    name: str
    title: str
    command: str
    help: str
    spec: type[Wire]
    result: type[Wire]
    artifacts: tuple[Artifact, ...]
    canonical: Callable[[Any, dict[str, Any]], None]
    parent: Literal["required", "optional", "none"] = "none"
    form: str = ""
    last_chunk_suffices: bool = False


# Options of later versions: a spec that leaves them at their defaults keeps the key that it had before.
_LATER_PROMPT_OPTIONS = {
    "chat": False,
    "topic": "question",
    "wording": "plain",
    "numerals": "digits",
    "decimals": 0,
    "answer": "whole",
    "half": None,
}


def canonical_prompts(prompts: dict[str, Any]) -> None:
    """Makes the dumped specs of equal prompt sets equal."""
    # The order of these lists changes no number.
    for name in ("operations", "styles"):
        if name in prompts:
            prompts[name].sort()
    # Where every counterfactual is given, the corruption changes no number.
    if prompts["source"] == "custom" and all(pair["counterfactual"] is not None for pair in prompts["pairs"]):
        prompts["corruption"] = "null_operator"
    without_defaults(prompts, _LATER_PROMPT_OPTIONS)


def without_defaults(plain: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Removes the options that are at their defaults."""
    for name, default in defaults.items():
        if name in plain and plain[name] == default:
            plain.pop(name)
