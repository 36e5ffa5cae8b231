"""Tests that the tests, settings and bounds named in docs/security.md exist, and the tests named in a decision."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "least"), [("security.md", 30), ("decisions/http-edge.md", 15)])
def test_every_test_that_the_page_names_exists(page: str, least: int) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(named) >= least
    for file, name in named:
        functions = [
            each.name
            for each in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
            if isinstance(each, ast.FunctionDef)
        ]
        assert name in functions, f"{file}::{name}"


def test_every_threat_has_a_test() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith("| threat")]
    assert len(rows) >= 25
    for row in rows:
        assert "::test_" in row, row


def test_every_setting_that_the_page_names_is_one() -> None:
    from arithmoscope.settings import PREFIX, Settings

    names = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"`({PREFIX}\w+)`", PAGE)) <= names


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    from arithmoscope_api.http import body_limit, concurrency_limit, connections
    from arithmoscope_api.http.credentials import MAX_FAILURES

    bounds = (connections.MAX_CONNECTIONS, concurrency_limit.MAX_REQUESTS, concurrency_limit.MAX_STREAMS)
    assert f"Bounds ({', '.join(map(str, bounds))})" in PAGE
    seconds = f"in {connections.HEAD_WITHIN_S:g} s, body in {body_limit.BODY_WITHIN_S:g} s"
    assert seconds in PAGE
    megabytes = f"{body_limit.MAX_BODY_BYTES >> 20} MiB, chunked too; {body_limit.MAX_HELD_BYTES >> 20} MiB"
    assert megabytes in PAGE
    assert f"{MAX_FAILURES} wrong ones a minute" in PAGE
