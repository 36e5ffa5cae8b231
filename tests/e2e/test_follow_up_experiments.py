"""From an analysis to the views of its components, to a knock-out and a transfer: in a real browser, with a real
worker and a real model."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import httpx2
import pytest
from accessibility import no_serious_barrier
from playwright.sync_api import expect

LONG = 240_000


@pytest.fixture(scope="module")
def analysis(address: str) -> str:
    """The id of a finished analysis of direct effects (cheap), of a set large enough for significance tests."""
    prompts = {"source": "template", "pairs": 12, "shots": 2, "keep_wrong": True}
    body = {"kind": "path_patching", "model": "smollm2-135m", "effect": "direct", "prompts": prompts}
    created = httpx2.post(f"{address}/api/experiments", json=body, timeout=60)
    assert created.status_code == 202, created.text
    experiment_id = created.json()["id"]
    with httpx2.stream("GET", f"{address}/api/experiments/{experiment_id}/events", timeout=240) as events:
        assert '"succeeded"' in "".join(events.iter_text())
    return experiment_id


@pytest.mark.parametrize("watched", ["light-1280", "dark-400"], indirect=True)
def test_what_is_known_of_the_components_is_unfolded_from_the_keyboard(watched, analysis):
    page = watched.open(f"/analyses/{analysis}?sel=L14H2")
    page.get_by_role("button", name="Key components").press("Enter")
    counts = page.get_by_role("list", name="Number of key components")
    expect(counts).to_contain_text("as in the paper", timeout=LONG)
    expect(counts).to_contain_text(re.compile(r"false discovery rate of 5 %: \d+ components?, \d+ of 270 heads"))
    expect(page).to_have_url(re.compile("open=key"))

    page.get_by_role("button", name="What heads attend to").press("Enter")
    expect(page.get_by_role("group", name="All parts of the prompt, L14H2")).to_contain_text("operator", timeout=LONG)
    expect(page.get_by_role("group", name="Heads by attention").get_by_role("row")).to_have_count(31)

    page.get_by_role("button", name="How the answer emerges").press("Enter")
    expect(page.locator("dl.stages")).to_contain_text("inflection", timeout=LONG)
    lens = page.get_by_role("group", name="Top tokens by layer").get_by_role("row")
    expect(lens).to_have_count(32, timeout=LONG)
    assert lens.last.get_by_role("rowheader").inner_text() == "29"

    page.get_by_text("Number tokens it promotes and suppresses").click()
    expect(page.get_by_role("table", name="Promoted").get_by_role("row").nth(1)).to_be_visible(timeout=LONG)
    no_serious_barrier(page)


def test_what_no_worker_computes_says_so_and_can_be_tried_again(watched, analysis):
    problem = {
        "type": "x",
        "title": "No worker",
        "status": 503,
        "detail": "No worker is running.",
        "way_out": "Start one.",
    }
    page = watched.page
    page.route("**/key", lambda route: route.fulfill(status=503, json=problem))
    watched.open(f"/analyses/{analysis}?open=key")
    expect(page.get_by_role("alert")).to_contain_text("No worker")
    page.unroute("**/key")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("list", name="Number of key components")).to_be_visible(timeout=LONG)
    watched.provoked = ["status of 503"]


def test_pinned_components_are_knocked_out_and_the_curve_is_downloaded(watched, analysis, tmp_path: Path):
    page = watched.open(f"/analyses/{analysis}?sel=L14H2")
    page.get_by_test_id("component").get_by_role("button", name="Pin", exact=True).click()
    expect(page.get_by_role("region", name="Pins")).to_contain_text("L14H2")
    page.get_by_role("button", name="Knock out").click()
    form = page.get_by_role("form", name="New knock-out")
    expect(form.get_by_label("Components, in order of removal")).to_have_value("L14H2")
    form.get_by_label("Components, in order of removal").fill("L14H2, MLP19, L99H0")
    form.get_by_label("Random controls").fill("2")
    form.get_by_role("button", name="Knock out").click()
    expect(form.get_by_role("alert")).to_contain_text("L99H0")
    watched.provoked = ["status of 422"]
    form.get_by_label("Components, in order of removal").fill("L14H2, MLP19")
    form.get_by_role("button", name="Knock out").click()

    expect(page.get_by_role("heading", name="Knock-out of L14H2, MLP19")).to_be_visible()
    rows = page.get_by_role("group", name="The curve as a table").get_by_role("row")
    expect(rows).to_have_count(4, timeout=LONG)  # zero, one and two components ablated
    expect(rows.nth(3)).to_contain_text("MLP19")
    expect(page.get_by_text(re.compile("use operands that the components were found on"))).to_be_visible()
    no_serious_barrier(page)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    waiting.value.save_as(tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open(newline="", encoding="utf-8") as stream:
        curve = [row for row in csv.DictReader(stream) if row["metric"] == "accuracy"]
    assert [(row["k"], row["component"]) for row in curve] == [("0", ""), ("1", "L14H2"), ("2", "MLP19")]

    # The analysis lists it; so does the first page.
    page.get_by_role("link", name="12 addition prompts").click()
    page.get_by_role("button", name="Knock out").click()
    expect(page.get_by_role("link", name="Knock-out of L14H2, MLP19")).to_be_visible()
    watched.open("/")
    expect(page.get_by_role("row", name=re.compile("Knock-out of L14H2, MLP19 .* knock-out, mean"))).to_be_visible()


def test_a_transfer_is_put_together_run_and_read_cell_by_cell(watched, tmp_path: Path):
    page = watched.open("/transfer")
    sets = page.get_by_role("group", name="Sets of prompts").get_by_role("listitem")
    expect(sets).to_have_count(10)
    for name in ("subtraction", "multiplication", "addition, statements", "addition, questions", "addition, in words"):
        page.get_by_role("button", name=f"Remove {name}", exact=True).click()
    for name in ("spans of years, addition", "word problems, addition", "grammar (no arithmetic)"):
        page.get_by_role("button", name=f"Remove {name}", exact=True).click()
    for name in ("addition", "facts (no arithmetic)"):
        page.get_by_role("button", name=f"Edit {name}", exact=True).click()
        page.get_by_label("Pairs", exact=True).fill("8")
        page.get_by_label("Keep prompts that the model answers wrongly").check()
        page.get_by_role("button", name=f"Done {name}", exact=True).click()
    page.get_by_label("Effect").select_option("direct")
    page.get_by_label("Top k heads").fill("2")
    page.get_by_label("Random controls").fill("2")
    no_serious_barrier(page)
    page.get_by_role("button", name="Run transfer").click()

    expect(page.get_by_role("heading", name="Transfer from 1 set to 2 sets of prompts")).to_be_visible()
    left = page.get_by_role("table", name="After the knock-out")
    expect(left.get_by_role("row")).to_have_count(3, timeout=LONG)
    expect(left).to_contain_text("control")
    expect(left).to_contain_text(re.compile(r"n = \d"))
    left.get_by_role("row").nth(2).get_by_role("cell").first.focus()
    expect(page.get_by_text(re.compile("Found on add, knocked out on add: "))).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(
        page.get_by_text(re.compile(r"Found on add, knocked out on facts: \S+ \(95 %: .*nothing removed"))
    ).to_be_visible()
    page.get_by_label("Intervals and random heads in the cells").check()
    expect(left).to_contain_text(re.compile(r"\d to \d.*random \d"))
    no_serious_barrier(page)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    waiting.value.save_as(tmp_path / "matrix.csv")
    with (tmp_path / "matrix.csv").open(newline="", encoding="utf-8") as stream:
        assert {(row["found_on"], row["evaluated_on"]) for row in csv.DictReader(stream)} == {
            ("add", "add"),
            ("add", "facts"),
        }
    page.get_by_role("button", name="Edit and run again").click()
    expect(page.get_by_label("Top k heads")).to_have_value("2")
    expect(sets).to_have_count(2)


def test_a_kind_that_the_page_does_not_know_breaks_nothing(watched, analysis):
    page = watched.page
    newer = httpx2.get(f"{watched.address}/api/experiments/{analysis}", timeout=60).json()
    newer |= {"id": "newer-kind", "kind": "steering", "spec": {"kind": "steering", "strength": 3}}
    page.route("**/api/experiments/newer-kind", lambda route: route.fulfill(json=newer))
    page.route("**/api/experiments/newer-kind/result", lambda route: route.fulfill(json={"kind": "steering"}))
    page.route("**/api/experiments?limit=*", lambda route: route.fulfill(json={"items": [newer], "next_cursor": None}))
    watched.open("/")
    page.get_by_role("link", name="Experiment of kind “steering”").click()
    expect(page.get_by_text("cannot show experiments of kind")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()


def test_a_set_offers_what_its_topic_has_and_shows_each_token_of_an_answer(watched):
    page = watched.open()
    page.get_by_text("A set of prompts", exact=True).click()
    expect(page.get_by_role("group", name="Operations").get_by_role("checkbox")).to_have_count(5)
    page.get_by_label("Answers of several tokens").select_option("each")
    page.get_by_label("Largest operand").fill("99")
    page.get_by_label("Smallest operand").fill("60")
    expect(page.locator("#preview").get_by_text("token 2 of the answer’s 3").first).to_be_visible()
    page.get_by_label("Topic").select_option("facts")
    expect(page.get_by_role("group", name="Operations")).to_have_count(0)
    expect(page.get_by_label("Largest operand")).to_have_count(0)
    page.get_by_label("Answers of several tokens").select_option("whole")
    expect(page.locator("#preview")).to_contain_text("distinct question")
