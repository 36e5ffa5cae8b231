"""Accessibility checks of a page: axe's rules, and no content wider than the window."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

AXE = Path(__file__).parent.parent.parent / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


def no_serious_barrier(page: Page) -> None:
    """Checks the page as it is at rest: a preview that waits for its answer is dimmed, and fades."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.evaluate("Promise.allSettled(document.getAnimations().map(each => each.finished))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [
        (each["id"], each["help"], [node["target"] for node in each["nodes"]][:3])
        for each in report["violations"]
        if each["impact"] in ("serious", "critical")
    ] == []
