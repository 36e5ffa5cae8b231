"""Fine-tuning in a browser: the form with its preview, a real training that is cancelled, and every state of its page
on fixed results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import tuned_results as fixed
from accessibility import no_serious_barrier
from playwright.sync_api import Page, Route, expect

from arithmoscope.contracts.experiments import Progress

LONG = 240_000


def serve(page: Page, rows: dict[str, dict[str, Any]], results: dict[str, dict[str, Any]]) -> list[Any]:
    """Serves these experiments, and records new submissions."""
    requests: list[Any] = []

    def answer(body: dict[str, Any]) -> Callable[[Route], None]:
        return lambda route: route.fulfill(json=body)

    def create(route: Route) -> None:
        if route.request.method != "POST":
            return route.continue_()
        requests.append(route.request.post_data_json)
        return route.fulfill(status=202, json=rows["tuned1"])

    page.route("**/api/experiments?kind=fine_tune&*", answer({"items": list(rows.values()), "next_cursor": None}))
    page.route("**/api/experiments", create)
    for name, row in rows.items():
        page.route(f"**/api/experiments/{name}", answer(row))
    for name, result in results.items():
        page.route(f"**/api/experiments/{name}/result", answer(result))
    return requests


def finished(page: Page) -> list[Any]:
    specs = {"tuned1": fixed.spec(), "random1": fixed.spec("random"), "lora1": fixed.spec("lora")}
    rows = {name: fixed.row(name, spec) for name, spec in specs.items()}
    return serve(page, rows, {name: fixed.result(name, spec) for name, spec in specs.items()})


@pytest.mark.parametrize("watched", ["light-1280", "dark-400"], indirect=True)
def test_a_result_tells_what_became_better_what_was_lost_and_what_choosing_was_worth(watched):
    page = watched.page
    finished(page)
    watched.open("/analyses/tuned1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fine-tuning of L14H2, L17H5, L19H1 and 2 more")
    expect(page.get_by_test_id("held-out")).to_contain_text("12.0 % (7.0 to 17.0 %) before, 76.0 % (71.0 to 81.0 %)")
    trained = page.get_by_role("region", name="What was trained")
    expect(trained).to_contain_text("5.6 M of 134.5 M parameters were trained (4.2 %)")
    expect(trained).to_contain_text("train 1,600, validation 200, test 200: no operands shared")
    expect(trained).to_contain_text("6 heads that were not chosen also change: L14H0")

    sets = page.get_by_role("group", name="Before and after, set by set")
    expect(sets.get_by_role("row", name=re.compile("^one-digit multiplication"))).to_contain_text("worse by")
    expect(sets.get_by_role("row", name=re.compile("^grammar"))).to_have_class("uncertain")
    expect(page.get_by_role("region", name="Plain text")).to_contain_text("Its perplexity rose by 5.1 %")

    others = page.get_by_role("group", name="Comparison of tuners").get_by_role("row")
    expect(others).to_have_count(4)
    expect(others.nth(1)).to_contain_text("12.0 % → 76.0 %")
    expect(others.nth(2)).to_contain_text("random components")
    expect(others.nth(2)).to_contain_text("12.0 % → 53.0 %")
    no_serious_barrier(page)


def test_questions_are_told_apart_and_hostile_ones_stay_text(watched):
    page = watched.page
    finished(page)
    watched.open("/analyses/tuned1")
    panel = page.get_by_role("region", name="Question by question")
    rows = panel.get_by_role("row")
    expect(rows).to_have_count(1 + 10 + len(fixed.HOSTILE))
    for text in ("<img src=x onerror=alert(1)>", "</script>", "=1+1", "‹202e›51", "🧮"):
        expect(panel.get_by_role("cell", name=text, exact=True).first).to_be_visible()
    assert page.locator("main img").count() == 0
    panel.get_by_role("button", name=re.compile("^broken")).press("Enter")
    expect(rows).to_have_count(11)
    expect(rows.nth(1)).to_contain_text("24")
    panel.get_by_role("button", name=re.compile("^all 200")).click()
    expect(rows).to_have_count(26)
    panel.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(1 + 30 + len(fixed.HOSTILE))


def test_effects_before_and_after_share_a_scale_and_are_walked_from_the_keyboard(watched):
    page = watched.page
    finished(page)
    watched.open("/analyses/tuned1?sel=L14H2")
    panel = page.get_by_role("region", name="Path patching again")
    expect(panel.get_by_role("grid")).to_have_count(3)
    expect(panel.get_by_test_id("chosen")).to_contain_text(re.compile(r"L14H2 \(trained\): before −0.\d+ \("))
    ends = panel.locator(".scale .high").all_inner_texts()
    assert len(ends) == 3
    assert len(set(ends)) == 1
    grid = panel.get_by_role("grid", name="Effects, difference")
    grid.locator('[data-component="L14H2"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("sel=L14H3"))
    expect(panel.get_by_test_id("chosen")).to_contain_text("L14H3:")
    page.go_back()
    expect(panel.get_by_test_id("chosen")).to_contain_text("L14H2")
    largest = panel.get_by_role("group", name="Largest differences").get_by_role("row").nth(1)
    largest.get_by_role("button").click()
    expect(page).to_have_url(re.compile("sel=MLP"))


def test_missing_controls_are_submitted_with_a_click(watched):
    page = watched.page
    created = finished(page)
    watched.open("/analyses/tuned1")
    page.get_by_role("button", name="Run full").click()
    expect(page.get_by_role("button", name="Run full")).to_be_enabled()
    [spec] = created
    assert spec == fixed.spec("full").model_dump(mode="json")


def test_every_file_can_be_downloaded_and_a_missing_adapter_is_explained(watched):
    page = watched.page
    finished(page)
    without = fixed.result("tuned2", fixed.spec(seed=4))
    without["notes"] = ["No adapter for PEFT: What changed in MLP19 has no low rank."]
    serve(page, {"tuned2": fixed.row("tuned2", fixed.spec(seed=4))}, {"tuned2": without})
    watched.open("/analyses/tuned1")
    expect(page.get_by_role("link", name="Download weights")).to_have_attribute(
        "href", re.compile("/api/experiments/tuned1/deltas.safetensors$")
    )
    page.get_by_text("Export", exact=True).click()
    for name, file in (
        ("Adapter for PEFT", "adapter.zip"),
        ("Every step as CSV", "history.csv"),
        ("Every test question as CSV", "judged.csv"),
        ("Effects before and after as CSV", "repatched.csv"),
        ("Result as JSON", "result"),
    ):
        expect(page.get_by_role("link", name=name)).to_have_attribute("href", re.compile(f"/tuned1/{file}$"))
    page.get_by_text("Reproduce in Python").click()
    expect(page.get_by_label("Python", exact=True)).to_contain_text('Deltas.load("tuned1.deltas.safetensors")')
    expect(page.get_by_label("Command", exact=True)).to_contain_text("--components L14H2,L17H5,L19H1,MLP17,MLP19")
    no_serious_barrier(page)
    watched.open("/analyses/tuned2")
    page.get_by_text("Export", exact=True).click()
    expect(page.get_by_role("link", name="Adapter for PEFT")).to_have_count(0)
    expect(page.locator(".menu-body")).to_contain_text("No adapter for PEFT: What changed in MLP19 has no low rank.")


@pytest.mark.parametrize("watched", ["dark-1280"], indirect=True)
def test_a_training_that_broke_says_so_and_offers_the_last_good_weights(watched):
    page = watched.page
    spec = fixed.spec(learning_rate=1.0)
    went = Progress(stage="steps", done=12, total=80)
    row = fixed.row("broke1", spec, "failed", error=fixed.broken(), progress=went)
    serve(page, {"broke1": row}, {"broke1": fixed.result("broke1", spec, kept=11, ended="not_finite")})
    watched.open("/analyses/broke1")
    expect(page.get_by_role("alert")).to_contain_text("After step 12 the loss was no number.")
    expect(page.get_by_text("The weights of step 11 of 80 are kept")).to_be_visible()
    expect(page.get_by_role("link", name="Download weights")).to_be_visible()
    expect(page.get_by_test_id("tuned")).to_have_text(fixed.TUNED)
    expect(page.get_by_role("button", name="Analyse it")).to_be_visible()
    no_serious_barrier(page)


def test_a_page_opened_late_in_a_training_shows_the_whole_curve(watched):
    page = watched.page
    went = Progress(stage="steps", done=34, total=80, eta_s=113.0)
    serve(page, {"run1": fixed.row("run1", fixed.spec(), "running", progress=went)}, {})
    stream = f"event: progress\ndata: {went.model_dump_json()}\n\n"
    stream += f"event: training\ndata: {fixed.curve(34).model_dump_json()}\n\n"
    page.route(
        "**/api/experiments/run1/events",
        lambda route: route.fulfill(headers={"Content-Type": "text/event-stream"}, body=stream),
    )
    watched.open("/analyses/run1")
    expect(page.get_by_test_id("progress-line")).to_have_text("training: steps 34/80")
    expect(page.get_by_test_id("training")).to_contain_text(
        re.compile(r"Step 34: loss \S+; validation after step 34: 6\d.\d %")
    )
    page.get_by_text("Validation as a table").click()
    expect(page.get_by_role("group", name="Validations").get_by_role("row")).to_have_count(6)
    expect(page.get_by_role("navigation", name="Lineage")).to_contain_text("a tuned model, once it is done")
    no_serious_barrier(page)


@pytest.mark.parametrize("watched", ["light-1280", "dark-400"], indirect=True)
def test_the_form_previews_the_trained_parameters_and_keeps_its_state_in_the_address(watched):
    page = watched.open(f"/tune?model={fixed.MODEL}&components=L14H2,MLP19")
    foreseen = page.get_by_role("region", name="What would be trained")
    expect(foreseen).to_contain_text(re.compile(r"[\d.]+ M of 134.5 M parameters train \(\d+\.\d %\)"), timeout=LONG)
    expect(foreseen).to_contain_text(re.compile(r"train 1,\d\d\d, validation \d+, test \d+: no operands shared"))
    expect(foreseen.get_by_text("test", exact=True)).to_be_visible()
    page.get_by_label("Steps", exact=True).fill("7")
    page.get_by_role("checkbox", name="full every parameter").uncheck()
    expect(
        page.get_by_text("3 training runs, one after another: this one, then random components, LoRA")
    ).to_be_visible()
    page.get_by_text("Advanced").click()
    page.get_by_label("key", exact=True).check()
    expect(foreseen).to_contain_text("not chosen also change: L14H")
    expect(page).to_have_url(re.compile("steps=7&components=L14H2,MLP19&controls=random,lora&tune=q,k,o"))
    page.reload()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("7")
    expect(page.get_by_label("key", exact=True)).to_be_checked()
    expect(page.get_by_role("textbox", name="Components")).to_have_value("L14H2,MLP19")
    expect(foreseen.get_by_text("test", exact=True)).to_be_visible()
    expect(foreseen).to_have_css("opacity", "1")  # dimmed while it is recomputed
    no_serious_barrier(page)


def test_what_cannot_be_trained_is_refused_in_words_before_it_is_asked(watched):
    page = watched.open("/tune")
    expect(page.get_by_text("Name at least one component")).to_be_visible()
    go = page.get_by_role("button", name="Fine-tune", exact=True)
    expect(go).to_be_disabled()
    page.get_by_role("textbox", name="Components").fill("L14H2, L99H0")
    expect(page.get_by_role("alert")).to_contain_text("L99H0")
    watched.provoked = ["status of 422"]
    page.get_by_role("textbox", name="Components").fill("L14H2")
    page.get_by_label("Learning rate", exact=True).fill("fast")
    expect(page.get_by_text("Learning rate must be a number greater than 0")).to_be_visible()
    expect(go).to_be_disabled()


def test_a_real_training_of_pinned_components_is_cancelled_and_its_weights_are_a_model(watched):
    """From the pins of an analysis to a model that can be tuned again: without the evaluation, which takes minutes."""
    address = watched.address
    prompts = {"source": "custom", "pairs": [{"reference": "3 + 5 ="}], "shots": 2}
    body = {"kind": "path_patching", "model": fixed.MODEL, "effect": "direct", "prompts": prompts}
    analysis = httpx2.post(f"{address}/api/experiments", json=body, timeout=60).json()["id"]
    with httpx2.stream("GET", f"{address}/api/experiments/{analysis}/events", timeout=240) as events:
        assert '"succeeded"' in "".join(events.iter_text())

    page = watched.open(f"/analyses/{analysis}?pins=L28H2,MLP29")
    page.get_by_role("region", name="Pins").get_by_role("link", name="Fine-tune").click()
    form = page.get_by_role("form", name="New fine-tuning")
    expect(form.get_by_role("textbox", name="Components")).to_have_value("L28H2,MLP29")
    form.get_by_label("Questions", exact=True).fill("60")
    form.get_by_label("Steps", exact=True).fill("2000")
    form.get_by_label("Batch size").fill("4")
    for name in ("random components as many", "LoRA low-rank", "full every parameter"):
        form.get_by_role("checkbox", name=name).uncheck()
    expect(form.get_by_text("one training run")).to_be_visible()
    form.get_by_role("button", name="Fine-tune", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Fine-tuning of L28H2, MLP29")
    expect(page.get_by_test_id("training")).to_contain_text("Step ", timeout=LONG)
    page.get_by_role("button", name="Cancel").click()
    expect(
        page.get_by_text(re.compile(r"Cancelled after \d+ of 2,000 steps: the weights of step \d+ are"))
    ).to_be_visible(timeout=LONG)
    expect(page.get_by_test_id("tuned")).to_contain_text("tuned")
    experiment = page.url.split("/analyses/")[1].split("?")[0]
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download weights").click()
    assert Path(waiting.value.path()).stat().st_size > 1_000
    page.get_by_role("button", name="Fine-tune it again").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value(re.compile(f"^{fixed.MODEL}-tuned-"))
    expect(page.get_by_role("textbox", name="Components")).to_have_value("L28H2,MLP29")

    # The System page names its origin, and the analysis lists the models tuned from it.
    watched.open("/system")
    times = page.get_by_role("region", name="Run times")
    expect(times.get_by_role("row").filter(has_text="analysis").filter(has_text="smollm2")).to_have_count(1)
    tuned_model = page.get_by_role("region", name="Models").get_by_role("row").filter(has_text="fine-tuning")
    expect(tuned_model.get_by_role("link", name="fine-tuning")).to_have_attribute("href", re.compile(f"{experiment}$"))
    watched.open(f"/analyses/{analysis}?open=tunings")
    listed = page.get_by_role("group", name="Fine-tunings of this analysis")
    expect(listed.get_by_role("link", name="Fine-tuning of L28H2, MLP29")).to_be_visible()
    assert json.loads(httpx2.get(f"{address}/api/experiments/{experiment}").text)["state"] == "cancelled"
