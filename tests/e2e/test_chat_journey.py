"""A sum asked through the model's chat template, in a real browser, with a real worker and a real model."""

from __future__ import annotations

import re

from playwright.sync_api import expect


def test_a_sum_asked_as_a_chat_is_shown_and_named_as_one(watched):
    page = watched.open()
    page.get_by_label("Prompt", exact=True).fill("2 + 4 =")
    prompt = page.locator("#preview")
    expect(prompt.get_by_text("counterfactual", exact=True)).to_be_visible()
    expect(prompt.get_by_text("<|im_start|>")).to_have_count(0)
    # By its label and from the keyboard.
    page.get_by_label("Chat template").focus()
    page.keyboard.press("Space")
    expect(prompt.get_by_text("<|im_start|>").first).to_be_visible()
    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    expect(page.get_by_role("heading", name="2 + 4 = (chat)")).to_be_visible()
    expect(page.get_by_text("rank 1/300")).to_be_visible(timeout=60_000)
