"""Tests that the README's files, commands and examples exist, and that its figures are the measured ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import PARTS
from benchmarks.cases import CASES
from benchmarks.competitors import COMPETITORS
from benchmarks.report import PROMISES, page_of, readme_with

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def figures() -> dict[str, Any]:
    """The results of the last full run of `make bench`."""
    return json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))


def test_every_file_that_the_docs_point_to_exists():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"`?make (\w+)", README))
    make_targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"run", "test"} <= targets <= make_targets


def test_every_command_of_the_readme_exists():
    for command in set(re.findall(r"(?:^|`)arithmoscope (\w[\w-]*)", README, re.MULTILINE)):
        finished = subprocess.run(
            [sys.executable, "-m", "arithmoscope", command, "--help"], capture_output=True, check=False
        )
        assert finished.returncode == 0, command


def test_every_folder_of_the_map_exists():
    for folder in re.findall(r"`([\w/]+)/`", README):
        assert (ROOT / folder).is_dir(), folder


def test_the_figures_are_those_that_were_measured(figures):
    assert readme_with(figures, README) == README, "run make bench"
    assert (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8") == page_of(figures), "run make bench"


def test_measured_figures_meet_the_documented_limits(figures):
    kept = {promise.label: promise.kept(figures) for promise in PROMISES}
    assert False not in kept.values(), kept
    assert (figures["pairs"], figures["tokens"], figures["dtype"]) == (32, 22, "float32")


def test_the_figures_are_of_a_whole_run(figures):
    assert [row["case"] for row in figures["effects"]] == [str(case) for case in CASES]
    assert {tool["name"] for tool in figures["competitors"]} == {tool.name for tool in COMPETITORS.values()}
    assert {"growth", "gpu"} < set(figures)
    assert set(PARTS) == {"main", "competitors", "growth", "gpu", "knockout", "tuning"}


def test_the_python_of_the_readme_runs(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(snippet, "README.md", "exec"), {})
    assert re.fullmatch(r"(L\d+H\d+|MLP\d+)\n", capsys.readouterr().out)
