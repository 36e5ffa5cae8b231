"""Outputs of runs that tests define."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from arithmoscope_worker.engine_port import Output


def output(*, complete: bool = True, **artifacts: bytes) -> Output:
    """The output of a run; of its result only the completeness matters here."""
    named = {name.replace("_", "."): data for name, data in artifacts.items()}
    return cast(Output, SimpleNamespace(result=SimpleNamespace(complete=complete), artifacts=named))
