"""Checks of a spec before a model is loaded: everything that its card, its tokenizer and the parent analysis can tell.

The module ``arithmoscope.checks.<kind>`` has the functions of a kind (`SpecCheck`, `PromptsCheck`, `SetsRead`). The API
calls them before an experiment is queued, the command line before PyTorch is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

from arithmoscope.checks.prompt_reader import Analysis, PromptReader
from arithmoscope.contracts.kinds import ExperimentSpec, PathPatchingSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec


class SpecCheck(Protocol):
    """Raises Refusal if the model, or the analysis, cannot answer the spec."""

    def __call__(self, spec: Any, card: ModelCard, analysis: Analysis | None, dtype: str) -> None: ...


class PromptsCheck(Protocol):
    """Raises Refusal if the spec cannot run with its prompts."""

    def __call__(self, spec: Any, analysis: Analysis | None, reader: PromptReader) -> None: ...


class SetsRead(Protocol):
    """The prompt sets that a run reads."""

    def __call__(self, spec: Any, analysis: Analysis | None) -> tuple[PromptsSpec, ...]: ...


class _Module(Protocol):
    check_spec: SpecCheck
    check_prompts: PromptsCheck
    sets_read: SetsRead


def check_options(spec: ExperimentSpec, analysed: PathPatchingSpec | None) -> None:
    """Checks what the spec and that of its analysis tell alone, where a kind has such a check (``check_options``)."""
    check = getattr(check_of(spec), "check_options", None)
    if check is not None:
        check(spec, analysed)


def check_of(spec: ExperimentSpec) -> _Module:
    """The checks of a spec's kind."""
    return cast(_Module, import_module(f"{__name__}.{spec.kind}"))


__all__ = ["Analysis", "PromptReader", "check_of", "check_options"]
