"""Options of the first page (effect, positions, source): named on the result, kept in the address."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import httpx2
from playwright.sync_api import expect


def test_a_total_effect_at_all_positions_is_chosen_run_and_named(watched, tmp_path: Path):
    page = watched.open()
    page.get_by_label("Prompt", exact=True).fill("4 + 2 =")
    page.get_by_text("Advanced").click()
    positions = page.get_by_label("Patch at")
    expect(positions.locator("option[value=all]")).to_be_disabled()
    expect(positions.locator("option[value=all]")).to_contain_text("needs the total effect")

    # By keyboard: the arrows of a group of radio buttons.
    page.get_by_role("radio", name="through later MLPs").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="total")).to_be_checked()
    positions.select_option("all")
    page.get_by_label("Patch with").select_option("zero")
    expect(page.get_by_label("Direction").locator("option[value=denoising]")).to_be_disabled()
    expect(page).to_have_url(re.compile(r"\?effect=total&positions=all&source=zero$"))

    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    identity = page.url.split("/analyses/")[1].split("?")[0]
    expect(page.get_by_test_id("done")).to_have_text("total effect, patched at all positions with zero")
    expect(page.get_by_role("link", name="Download CSV")).to_be_visible(timeout=240_000)
    expect(page.get_by_text("noise floor")).to_be_visible()
    page.get_by_text("How these numbers were checked").click()
    expect(
        page.get_by_text(re.compile(r"by brute force on 1 pair: the largest difference is \S+ logits"))
    ).to_be_visible()

    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download CSV").click()
    waiting.value.save_as(tmp_path / "components.csv")
    with (tmp_path / "components.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["effect"] for row in csv.DictReader(stream)} == {"total"}
    ranking = httpx2.get(f"{watched.address}/api/experiments/{identity}/components.csv")
    described = httpx2.get(ranking.url.join(ranking.links["describedby"]["url"])).json()
    notes = {note["schema:name"]: note["schema:value"] for note in described["notes"]}
    assert [notes[f"question.{name}"] for name in ("effect", "positions", "source")] == ["total", "all", "zero"]
    assert notes["checks.spot_check_error"] < 1e-3

    # Back: the first page shows the chosen options.
    page.go_back()
    expect(page.get_by_role("radio", name="total")).to_be_checked()
    expect(page.get_by_label("Patch with")).to_have_value("zero")


def test_a_denoising_result_is_explained_with_the_reverse_sign(watched):
    page = watched.open("/?direction=denoising&effect=direct")
    page.get_by_label("Prompt", exact=True).fill("4 + 2 =")
    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    expect(page.get_by_role("link", name="Download CSV")).to_be_visible(timeout=240_000)
    expect(page.get_by_test_id("done")).to_have_text(
        "direct effect, restored at the last position in the counterfactual run"
    )
    expect(page.get_by_role("img", name=re.compile("blue restores the answer, above 0"))).to_be_visible()
    # The component that restores most comes first, with its rank in the file: the last.
    expect(page.get_by_test_id("component")).to_contain_text("restores the answer")
    identity = page.url.split("/analyses/")[1].split("?")[0]
    ranking = httpx2.get(f"{watched.address}/api/experiments/{identity}/components.csv").text
    expect(page.get_by_role("heading", name=ranking.splitlines()[-1].split(",")[1], exact=True)).to_be_visible()
    expect(page.get_by_text("rank 300/300")).to_be_visible()


def test_options_that_an_address_makes_up_become_the_usual_ones_with_a_notice(watched):
    page = watched.open("/?effect=sideways&source=zero")
    expect(page.get_by_text("Unknown effect “sideways”")).to_be_visible()
    expect(page.get_by_role("radio", name="through later MLPs")).to_be_checked()
    expect(page.get_by_label("Patch with")).to_have_value("zero")


def test_prompts_of_unequal_lengths_say_so_before_they_are_sent(watched):
    page = watched.open("/?effect=total&positions=all")
    page.get_by_text("Set the answer and the counterfactual yourself").click()
    page.get_by_label("Counterfactual", exact=True).fill("3 @ @ 5 =")
    expect(page.get_by_text(re.compile("patched at all positions they must be of equal length"))).to_be_visible()
    page.get_by_label("Patch at").select_option("end")
    expect(page.get_by_text(re.compile("they must be of equal length"))).not_to_be_visible()
