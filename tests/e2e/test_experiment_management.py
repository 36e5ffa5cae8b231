"""Management of analyses in a browser: rename, move up in the queue, delete and restore; prompts from a file; the
System page."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from accessibility import no_serious_barrier
from playwright.sync_api import Page, Route, expect


def submit(address: str, reference: str, **more: object) -> str:
    prompts = {"source": "custom", "pairs": [{"reference": reference}], "shots": 2, **more}
    body = {"kind": "path_patching", "model": "smollm2-135m", "effect": "direct", "prompts": prompts}
    answer = httpx2.post(f"{address}/api/experiments", json=body)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()["id"]


def done(address: str, experiment_id: str) -> None:
    with httpx2.stream("GET", f"{address}/api/experiments/{experiment_id}/events", timeout=240) as events:
        assert '"succeeded"' in "".join(events.iter_text())


def finished(watched, reference: str) -> tuple[Page, str]:
    experiment_id = submit(watched.address, reference)
    done(watched.address, experiment_id)
    page = watched.open(f"/analyses/{experiment_id}")
    expect(page.get_by_text("rank 1/300")).to_be_visible()
    return page, experiment_id


@pytest.fixture
def busy(address: str) -> Iterator[None]:
    """Keeps the only worker busy for a long time."""
    body = {
        "kind": "path_patching",
        "model": "smollm2-135m",
        "effect": "total",
        "prompts": {"source": "template", "pairs": 500, "shots": 2, "operands": [0, 99], "keep_wrong": True},
    }
    experiment_id = httpx2.post(f"{address}/api/experiments", json=body).json()["id"]
    where = f"{address}/api/experiments/{experiment_id}"
    until = time.monotonic() + 60
    while httpx2.get(where).json()["state"] == "queued":
        assert time.monotonic() < until, "the worker took nothing"
        time.sleep(0.1)
    yield
    httpx2.post(f"{where}/cancel")
    with httpx2.stream("GET", f"{where}/events", timeout=240) as events:
        assert "cancelled" in "".join(events.iter_text())
    httpx2.delete(where)


def test_a_name_and_notes_are_kept_and_what_could_not_be_saved_stays_in_the_fields(watched):
    page, _ = finished(watched, "2 + 2 =")
    page.get_by_text("Add a name or notes").click()
    page.get_by_label("Name", exact=True).fill("Two <b>and</b> two")
    page.get_by_label("Notes").fill("Line one\nline two")
    expect(page.get_by_test_id("saved")).to_have_text("Not saved yet")

    def refuse(route: Route) -> None:
        route.abort() if route.request.method == "PATCH" else route.continue_()

    page.route("**/api/experiments/*", refuse)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Server unreachable")
    expect(page.get_by_label("Notes")).to_have_value("Line one\nline two")
    watched.provoked = ["net::ERR_FAILED"]
    page.unroute("**/api/experiments/*")

    page.get_by_role("button", name="Save").click()
    expect(page.get_by_test_id("saved")).to_have_text("Saved")
    expect(page.get_by_role("heading", level=1)).to_have_text("Two <b>and</b> two")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two <b>and</b> two")
    page.get_by_text("Name and notes").click()
    expect(page.get_by_label("Notes")).to_have_value("Line one\nline two")
    page = watched.open("/")
    expect(page.get_by_role("link", name="Two <b>and</b> two")).to_be_visible()


def test_notes_half_written_outlive_a_look_at_another_page_and_leave_what_others_wrote(watched):
    page, experiment_id = finished(watched, "2 + 4 =")
    page.get_by_text("Add a name or notes").click()
    page.get_by_label("Name", exact=True).fill("Half a name")
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", name="System")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Half a name")
    # A colleague writes the notes meanwhile.
    where = f"{watched.address}/api/experiments/{experiment_id}"
    assert httpx2.patch(where, json={"notes": "by a colleague"}).status_code == 200
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_test_id("saved")).to_have_text("Saved")
    kept = httpx2.get(where).json()
    assert (kept["name"], kept["notes"]) == ("Half a name", "by a colleague")


def test_a_deletion_is_undone_from_the_keyboard(watched):
    page, experiment_id = finished(watched, "2 + 3 =")
    page.get_by_role("button", name="Delete").press("Enter")
    page.wait_for_url(watched.address + "/")
    toast = page.get_by_role("status").filter(has_text="Deleted")
    expect(toast).to_contain_text("2 + 3 =")
    assert httpx2.get(f"{watched.address}/api/experiments/{experiment_id}").status_code == 404
    no_serious_barrier(page)
    # The notice disappears.
    page.set_viewport_size({"width": 480, "height": 450})
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    toast_box, foot = page.locator(".toast").bounding_box(), page.locator("footer").bounding_box()
    assert toast_box is not None
    assert foot is not None
    assert foot["y"] + foot["height"] <= toast_box["y"]
    # It is still there on another page.
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", name="System")).to_be_focused()
    undo = page.get_by_role("button", name="Undo")
    for _ in range(10):
        page.keyboard.press("Shift+Tab")
        if undo.evaluate("it => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"/analyses/{experiment_id}"))
    expect(page.get_by_text("Restored.")).to_be_visible()
    expect(page.get_by_text("rank 1/300")).to_be_visible()
    expect(toast).to_have_count(0)


def test_what_was_deleted_lately_is_brought_back_from_the_list(watched):
    page, experiment_id = finished(watched, "3 + 3 =")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("link", name="3 + 3 =", exact=True)).to_have_count(0)
    page.reload()
    page.get_by_text("Recently deleted").click()
    page.get_by_role("button", name="Restore 3 + 3 =", exact=True).click()
    expect(page.get_by_role("link", name="3 + 3 =", exact=True)).to_be_visible()
    assert httpx2.get(f"{watched.address}/api/experiments/{experiment_id}").status_code == 200


def test_a_queued_one_shows_its_place_can_be_moved_up_and_shows_its_deletion(watched, busy):
    first, second = submit(watched.address, "5 + 1 ="), submit(watched.address, "5 + 2 =")
    page = watched.open(f"/analyses/{second}")
    line = page.get_by_test_id("progress-line")
    expect(line).to_contain_text("1 ahead")
    page.get_by_label("Priority").select_option("high")
    expect(line).to_contain_text("next")
    page.reload()
    expect(page.get_by_label("Priority")).to_have_value("high")
    no_serious_barrier(page)
    # Another user deletes it meanwhile.
    assert httpx2.delete(f"{watched.address}/api/experiments/{second}").status_code == 204
    expect(page.get_by_text("This analysis was deleted")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(line).to_contain_text("queued")
    watched.provoked = ["status of 404"]
    for each in (first, second):
        httpx2.post(f"{watched.address}/api/experiments/{each}/cancel")


def test_the_prompts_of_a_file_are_used_and_its_bad_rows_are_named(watched, tmp_path: Path):
    page = watched.open("/")
    page.get_by_text("Prompts from a file").click()
    expect(page.get_by_role("button", name="Run analysis")).to_be_disabled()
    table = tmp_path / "sums.csv"
    table.write_text('reference,answer\n4 + 1 =,5\n,7\n"4 + 2 =",\n')
    page.get_by_label("File of prompts").set_input_files(table)
    expect(page.get_by_test_id("file")).to_have_text("sums.csv: 2 prompts, 1 row left out.")
    expect(page.get_by_text("row 3:")).to_be_visible()
    expect(page.locator("#preview")).to_have_attribute("aria-busy", "false")  # it is pale while it waits
    expect(page.get_by_text("first operand").first).to_be_visible()
    no_serious_barrier(page)

    (tmp_path / "bomb.csv").write_bytes(b"PK\x03\x04" + bytes(100))
    page.get_by_label("File of prompts").set_input_files(tmp_path / "bomb.csv")
    expect(page.get_by_role("alert")).to_contain_text("Unpack it first")
    watched.provoked = ["status of 422"]

    page.get_by_label("File of prompts").set_input_files(table)
    page.get_by_role("button", name="Run analysis").click()
    page.wait_for_url(re.compile(r"/analyses/[\w-]{12,}"))
    expect(page.get_by_role("heading", level=1)).to_have_text("4 + 1 = and 1 more")


@pytest.mark.parametrize("watched", ["light-1280", "dark-480"], indirect=True)
def test_the_system_page_shows_the_whole_server_and_says_when_it_cannot(watched):
    page = watched.open("/system")
    workers = page.get_by_role("region", name="Workers")
    expect(workers.get_by_role("row")).to_have_count(2)
    expect(workers).to_contain_text("cpu")
    expect(page.get_by_role("region", name="Store")).to_contain_text("Free disk space")
    expect(page.get_by_role("region", name="Models")).to_contain_text("SmolLM2")
    expect(page.get_by_role("region", name="Queue")).to_contain_text("Waiting")
    no_serious_barrier(page)

    problem = {
        "type": "x",
        "title": "The store cannot be written",
        "status": 503,
        "detail": "Down.",
        "way_out": "Wait.",
    }
    page.route("**/api/system", lambda route: route.fulfill(status=503, json=problem))
    expect(page.get_by_role("alert")).to_contain_text("The store cannot be written")
    expect(workers).to_be_visible()
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The store cannot be written")
    no_serious_barrier(page)
    watched.provoked = ["status of 503"]
