"""The main journeys in a real browser, with a real worker and a real model."""

from __future__ import annotations

import csv
import re

import httpx2
import pytest
from accessibility import no_serious_barrier
from playwright.sync_api import Page, expect

GRID = "Effect of every component"


def cell(page: Page, component: str):
    return page.get_by_role("grid", name=GRID).locator(f'[data-component="{component}"]')


def run_prompt(page: Page, text: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(text)
    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))


def test_a_typed_sum_becomes_a_map_an_attention_pattern_and_a_csv(watched, tmp_path):
    page = watched.open()
    page.get_by_label("Prompt", exact=True).fill("4 + 3 =")
    expect(page.get_by_text("counterfactual", exact=True)).to_be_visible()
    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    identity = page.url.split("/analyses/")[1].split("?")[0]

    # Progress on the page itself, then the finished map: rank 1 is chosen already.
    expect(page.get_by_role("grid", name=GRID)).to_be_visible()
    expect(page.get_by_role("link", name="Download CSV")).to_be_visible()
    expect(page.get_by_text("rank 1/300")).to_be_visible()

    # A click on a cell: the component panel, its attention map, the bars by role; the address follows.
    cell(page, "L14H2").click()
    expect(page).to_have_url(re.compile(r"sel=L14H2"))
    expect(page.get_by_role("heading", name="L14H2")).to_be_visible()
    expect(page.get_by_text("second operand").first).to_be_visible()
    expect(page.get_by_text("What END")).to_be_visible()
    page.wait_for_selector(".plot-container, .js-plotly-plot", state="attached")

    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    waiting.value.save_as(tmp_path / "components.csv")
    with (tmp_path / "components.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 300
    assert {row["experiment_id"] for row in rows} == {identity}
    assert [int(row["rank"]) for row in rows] == list(range(1, 301))

    # The address is the state: a new page at it shows the same; Back leads home.
    page.reload()
    expect(page.get_by_role("heading", name="L14H2")).to_be_visible()


def test_the_same_sum_again_opens_the_finished_result_and_says_so(watched):
    page = watched.open()
    run_prompt(page, "1 + 8 =")
    expect(page.get_by_text("rank 1/300")).to_be_visible()
    first = page.url
    page = watched.open()
    run_prompt(page, "1 + 8 =")
    expect(page.get_by_text("rank 1/300")).to_be_visible()
    assert page.url.split("?")[0] == first.split("?")[0]


def test_a_set_shows_its_running_mean_and_sharpens(watched):
    page = watched.open()
    page.get_by_label("A set of prompts").check(force=True)
    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    expect(page.get_by_text(re.compile(r"mean over \d+ of \d+ pairs"))).to_be_visible(timeout=60_000)
    expect(page.get_by_role("link", name="Download CSV")).to_be_visible(timeout=240_000)
    expect(page.get_by_text("answered correctly")).to_be_visible()


def test_the_example_is_there_before_anything_was_run(watched):
    page = watched.open()
    expect(page.get_by_text("A finished example")).to_be_visible()
    cell(page, "MLP19").click()
    page.wait_for_url(re.compile(r"/analyses/example\?.*sel=MLP19"))
    expect(page.get_by_role("heading", name="MLP19")).to_be_visible()


def test_the_map_works_from_the_keyboard_alone(watched):
    page = watched.open("/analyses/example?sel=L14H2")
    expect(page.get_by_role("heading", name="L14H2")).to_be_visible()
    cell(page, "L14H2").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("map-live")).to_contain_text("layer 15 head 3, effect")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="L15H3")).to_be_visible()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="MLP15")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="L15H3")).to_be_visible()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("hello <img src=x onerror=alert(1)>", "can be read|readable"),
        ("8 + 9 =", "tokens"),
    ],
)
def test_a_prompt_that_cannot_run_says_why_before_it_is_sent(watched, prompt, words):
    page = watched.open()
    page.get_by_label("Prompt", exact=True).fill(prompt)
    expect(page.locator("#preview").get_by_text(re.compile(words, re.IGNORECASE)).first).to_be_visible()
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0


def test_hostile_text_is_shown_as_text(watched):
    reference = "<b>3</b> </script>\u202e\U0001f600 = 1\n2 + 2 ="
    created = httpx2.post(
        f"{watched.address}/api/experiments",
        json={
            "kind": "path_patching",
            "model": "smollm2-135m",
            "prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": reference}]},
        },
    )
    assert created.status_code in (200, 202), created.text
    page = watched.open(f"/analyses/{created.json()['id']}?sel=L14H2")
    expect(page.get_by_text("What END")).to_be_visible()
    assert page.evaluate("document.querySelectorAll('main b b, main script').length") == 0


def test_an_unknown_address_and_an_unknown_analysis_say_so(watched):
    page = watched.open("/analyses/does-not-exist")
    expect(page.get_by_text(re.compile("no experiment|unknown", re.IGNORECASE)).first).to_be_visible()
    watched.provoked = ["status of 404"]


@pytest.mark.parametrize(
    "watched", ["light-1280", "dark-1280", "light-480", "dark-480"], indirect=True
)  # fmt: skip
def test_no_page_scrolls_sideways_or_has_a_serious_barrier(watched):
    for path in (
        "/",
        "/?effect=total&positions=all&source=zero",
        "/analyses/example?sel=L14H2",
        "/analyses/example?sel=MLP19&view=ranking",
    ):
        page = watched.open(path)
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("grid", name=GRID).or_(page.get_by_role("table")).first).to_be_visible()
        no_serious_barrier(page)


def test_attention_that_was_not_stored_is_computed_on_request(watched):
    # The bundled example keeps the patterns of its first prompts only.
    page = watched.open("/analyses/example?sel=L14H2&prompt=52")
    expect(page.get_by_text("A worker is computing it")).to_be_visible()
    expect(page.get_by_text("What END")).to_be_visible(timeout=60_000)
