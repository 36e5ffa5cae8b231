"""What the README promises is there, and its figures are the measured ones."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def benchmark():
    spec = importlib.util.spec_from_file_location("bench", ROOT / "benchmarks" / "path_patching.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_that_the_docs_point_to_exists():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"`?make (\w+)", README))
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"run", "test"} <= targets <= known


def test_every_command_of_the_readme_exists():
    for command in set(re.findall(r"arithmoscope (\w+)", README)):
        done = subprocess.run(
            [sys.executable, "-m", "arithmoscope.cli", command, "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0, command


def test_every_room_of_the_map_is_a_folder():
    for room in re.findall(r"`(\w+)/`", README):
        assert (ROOT / room).is_dir(), room


def test_the_figures_are_those_that_were_measured():
    bench = benchmark()
    found = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    assert bench.readme_with(found, README) == README, "run make bench"
    assert (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8") == bench.page_of(found)


def test_the_measured_costs_keep_their_promises():
    found = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    assert found["pairs"] == 32
    assert found["direct"]["of_two_passes"] <= 1.2
    assert found["through_mlps"]["of_two_passes"] <= 3.5
    assert max(found[effect]["largest_difference"] for effect in ("direct", "through_mlps")) < 1e-3


@pytest.mark.slow
def test_the_python_of_the_readme_runs(capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(snippet, "README.md", "exec"), {})
    assert re.fullmatch(r"(L\d+H\d+|MLP\d+)\n", capsys.readouterr().out)
