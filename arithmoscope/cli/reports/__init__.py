"""Terminal reports: the module of a kind's name has its ``report``; other kinds get a plain list of their result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Report = Callable[[Any, Mapping[str, bytes]], str]


def report_of(kind: str) -> Report:
    """The report of a kind: takes the result and its files, returns text."""
    name = f"{__name__}.{kind}"
    return import_module(name).report if find_spec(name) is not None else _plain


def _plain(result: Any, _files: Mapping[str, bytes]) -> str:
    fields = result.model_dump(mode="json", exclude={"spec", "provenance"})
    return "".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in fields.items())
