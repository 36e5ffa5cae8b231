"""Tests of docs/laws.md: every law names a test that exists and says where it runs, and every test file holds a law."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(
    r"^\| (?P<law>[^|]+) \| `(?P<file>tests/[\w/]+\.py)::(?P<test>\w+)` \| (?P<runs>[^|]+) \|$", re.MULTILINE
)
LAWS = [match.groupdict() for match in ROW.finditer((ROOT / "docs" / "laws.md").read_text(encoding="utf-8"))]


@cache
def runs_in(file: str) -> dict[str, str]:
    """Where the tests of a file run, by their names."""
    module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    whole = any(
        isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "pytestmark" and _is_slow(each.value)
        for each in module.body
    )
    return {
        each.name: "`make test-all`" if whole or any(map(_is_slow, each.decorator_list)) else "`make test`"
        for each in ast.walk(module)
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    }


def _is_slow(mark: ast.expr) -> bool:
    return ast.unparse(mark) == "pytest.mark.slow"


def test_every_law_names_a_test_and_says_where_it_runs() -> None:
    assert len(LAWS) > 150
    wrong = {
        law["test"]: (law["runs"], runs)
        for law in LAWS
        if (runs := runs_in(law["file"]).get(law["test"], "nowhere: there is no such test")) != law["runs"]
    }
    assert wrong == {}


def test_no_law_is_listed_twice() -> None:
    for part in ("law", "test"):
        names = [f"{law['file'] if part == 'test' else ''} {law[part]}" for law in LAWS]
        assert sorted(names) == sorted(set(names))


def test_every_test_file_has_a_law_on_the_list() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert files - {law["file"] for law in LAWS} == set(), "add a row to docs/laws.md"
