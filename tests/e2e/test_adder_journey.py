"""The bundled model in a real browser: Home offers it, its preview says which token counts, and it is analysed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

OFFER = "Try 12 + 35 = with a tiny model that can add"


def test_home_offers_the_tiny_model_and_one_click_more_runs_its_analysis(watched):
    page = watched.open()
    expect(page.get_by_label("Model", exact=True)).to_have_value("smollm2-135m")
    page.get_by_role("button", name=OFFER).click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("12 + 35 =")
    expect(page.get_by_label("Model", exact=True)).to_have_value("adder")
    expect(page.get_by_label("Worked examples")).to_have_value("0")
    expect(page.get_by_text("A tiny model that we trained to add")).to_be_visible()
    expect(page.get_by_role("button", name=OFFER)).to_have_count(0)
    expect(page.get_by_text("token 1 of the answer’s 2")).to_be_visible()

    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    expect(page.get_by_text("rank 1/36")).to_be_visible()
    expect(page.get_by_text("adder").first).to_be_visible()


def test_the_default_of_longer_answers_follows_the_model_until_it_is_chosen(watched):
    page = watched.open()
    page.get_by_label("Prompt", exact=True).fill("12 + 35 =")
    page.get_by_text("Set the answer and the counterfactual yourself").click()
    answers = page.get_by_label("Answers longer than one token")
    expect(answers).to_have_value("whole")
    page.get_by_label("Model", exact=True).select_option("adder")
    expect(answers).to_have_value("first")
    answers.select_option("each")
    page.get_by_label("Model", exact=True).select_option("smollm2-135m")
    expect(answers).to_have_value("each")
