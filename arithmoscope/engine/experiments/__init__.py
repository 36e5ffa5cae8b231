"""Every kind of experiment from spec to stored result. The module of a kind's name has its run, ``run_<kind>``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def run_of(kind: str) -> Callable[..., Any]:
    """The run of a kind of `arithmoscope.contracts.kinds.KINDS`: ``run_of("knockout")`` is `run_knockout`."""
    return getattr(import_module(f"{__name__}.{kind}"), f"run_{kind}")
