"""Tests of the contributors' docs: files exist, decisions are indexed, the citation has the version, plain words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import arithmoscope
from arithmoscope.contracts.prompts import Corruption
from arithmoscope.contracts.terms import Metric
from tests.tables import table

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
# Generated pages. Their words are tested where they are generated.
GENERATED = re.compile(r"docs/(findings|tuning)/(?!README)[^/]+\.md|docs/soak\.md")
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if not GENERATED.fullmatch(page.relative_to(ROOT).as_posix())
)
RECIPES = (
    *("a template", "a corruption", "a metric", "a refusal", "a setting", "an architecture", "a method"),
    *("a CLI command", "a view", "a kind of experiment"),
)
# Words that are unclear to a reader of the field, and their replacements.
GONE = {
    r"is all that must be there": "You only need ...",
    r"what (then )?stands against": "protection",
    r"they write\b": "replaced with",
    r"what moves": "parameters trained",
    r"held? against": "compared with",
    r"(is|became|become) no number": "not a number, non-finite",
    r"that is no \w+": "that is not a ...",
    r"it finds nothing": "smoke test; the results mean nothing",
    r"refuses x": "raises Refusal if ...",
    r"rooms?": "package, module, folder",
    r"(front )?doors?": "entry point, before any route",
    r"wears? out": "is consumed",
    r"mend(s|ed)?": "repair, fix",
    r"at sight": "on reading",
    r"who(so)?ever|somebody|anybody": "a user, a client, a process",
    r"whatever (a|the) \w+ (puts|gives|says)": "name it",
    r"what (it|that) found": "results",
    r"links? that lets? \w+ in": "login link",
    r"one token may have": "at most N per token",
}

PAPER_AUTHORS = ["Zhang", "Wan", "Zhang", "Cheung", "Tian", "Shen", "Ye"]


@table("page", PAGES)
def test_every_file_and_folder_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    top = "|".join(re.escape(each.name) for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith("."))
    for name in re.findall(rf"`((?:{top})/[\w./*-]*[\w/])`", text):
        assert list(ROOT.glob(name.rstrip("/"))) or name.startswith("arithmoscope/page"), name
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target


def test_every_recipe_names_files_to_change_and_a_test() -> None:
    rows = {
        cells[1].strip(): cells[2:4] for cells in (row.split("|") for row in CONTRIBUTING.splitlines()) if cells[1:]
    }
    for recipe in RECIPES:
        ((change, test),) = [cells for name, cells in rows.items() if name.startswith(recipe)]
        assert re.search(r"`[\w./-]+/[\w.]+`", change), recipe
        assert recipe == "a refusal" or "`tests/" in test, recipe


def test_every_method_metric_and_corruption_is_documented() -> None:
    readme, docs = (ROOT / "README.md").read_text("utf-8"), ROOT / "docs"
    for module in (ROOT / "arithmoscope" / "engine" / "methods").glob("[a-z]*.py"):
        assert f"docs/methods/{module.stem}.md" in readme, module.stem
    for page, values in (("methods/path_patching.md", Metric), ("prompts.md", Corruption)):
        for name in get_args(values):
            assert re.search(rf"\b{name}\b", (docs / page).read_text("utf-8")), name


def test_every_decision_is_in_the_index_and_says_what_it_costs() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\) \|", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in folder.glob("*.md") if page.name != "README.md")
    for name in listed:
        text = (folder / name).read_text("utf-8")
        assert [part for part in ("**Context.**", "**Choice.**", "**What it costs.**") if part not in text] == [], name
        assert len(text.splitlines()) <= 40, name


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert (citation["version"], citation["license"]) == (arithmoscope.__version__, "Apache-2.0")
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == PAPER_AUTHORS
    assert (paper["year"], paper["volume"], paper["start"], paper["end"]) == (2024, 235, 59932, 59950)


@pytest.mark.parametrize(
    "file",
    [
        ".pre-commit-config.yaml",
        *(".github/ISSUE_TEMPLATE/" + name for name in ("bug.yml", "feature.yml", "config.yml")),
    ],
)
def test_what_the_host_reads_is_yaml_with_the_fields_that_it_asks_for(file: str) -> None:
    content: Any = yaml.safe_load((ROOT / file).read_text("utf-8"))
    if "pre-commit" in file:
        assert [repo["repo"] for repo in content["repos"]] == ["local"]
        for hook in content["repos"][0]["hooks"]:
            assert {"id", "name", "entry", "language"} <= hook.keys()
    elif "config" not in file:
        assert {"name", "description", "body"} <= content.keys()
        ids = [field["id"] for field in content["body"] if field["type"] != "markdown"]
        assert len(set(ids)) == len(ids)


@table("page", PAGES)
def test_no_page_has_a_word_from_the_list_of_unclear_ones(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", "", page.read_text("utf-8"), flags=re.DOTALL)
    words = {
        f"{match.group(0)!r}: write {better!r}"
        for gone, better in GONE.items()
        for match in re.finditer(rf"\b(?:{gone})\b", prose.replace("\n", " "), re.IGNORECASE)
    }
    assert words == set()
