"""Tests of several tokens, single-use login links, throttling of wrong tokens, and the rate limit on writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from api_helpers import PROBLEM, Api, spec
from arithmoscope_api.app import create_app, routes_only
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.access_control import COOKIE, AccessControl
from arithmoscope_api.http.credentials import (
    FAILURE_WINDOW_S,
    LINK_LIFE_S,
    MAX_FAILURES,
    MAX_FAILURES_TOTAL,
    LoginThrottle,
    Tokens,
    cookie_value,
    one_time_link,
    token_name,
)
from arithmoscope_api.http.problems import RetryLater
from arithmoscope_api.http.rate_limit import WriteCounter
from arithmoscope_api.openapi import openapi_document
from sockets import exchange, head, served
from starlette.testclient import TestClient

from arithmoscope.store import Store
from arithmoscope.store.clock_watch import ClockWatch

ANNA, BEN = "anna's long token", "bens token, no: bén's"


@pytest.fixture
def guarded(config: ApiConfig, store: Store) -> Iterator[Api]:
    with Api(replace(config, tokens=(ANNA, BEN), host="0.0.0.0"), store, base_url="http://lab.example:8000") as api:
        yield api


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_each_of_several_tokens_grants_access_and_no_combination_of_them_does(guarded: Api) -> None:
    for token in (ANNA, BEN):
        assert guarded.get("/api/health", headers={"authorization": f"Bearer {token}".encode()}).status_code == 200  # pyright: ignore[reportArgumentType]
    for wrong in (f"{ANNA},{ANNA}", ANNA[:-1], ANNA.upper(), " "):
        assert guarded.get("/api/health", headers={"authorization": f"Bearer {wrong}"}).status_code == 401


def test_a_user_has_a_name_that_does_not_reveal_the_token() -> None:
    names = {token_name(token) for token in (ANNA, BEN)}
    assert len(names) == 2
    assert all(name not in ANNA + BEN and len(name) == 8 for name in names)


def test_an_authorized_request_carries_its_user() -> None:
    seen: list[str] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["asked_by"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    for tokens, expected in (
        ((), {}),
        ((ANNA, BEN), bearer(ANNA)),
        ((ANNA, BEN), {"cookie": f"{COOKIE}={cookie_value(BEN, '')}"}),
    ):
        TestClient(AccessControl(inside, host="testserver", tokens=tokens)).get("/", headers=expected)
    assert seen == ["", token_name(ANNA), token_name(BEN)]


def test_wrong_tokens_are_slowed_down_by_address_and_the_right_one_still_opens_from_elsewhere(
    config: ApiConfig, store: Store
) -> None:
    app = create_app(replace(config, tokens=(ANNA,), host="0.0.0.0"), store)
    guesser = TestClient(app, client=("10.0.0.1", 1), follow_redirects=False)
    friend = TestClient(app, client=("10.0.0.2", 1), follow_redirects=False)
    statuses = [
        guesser.get("/api/models", headers=bearer(f"guess {number}")).status_code for number in range(MAX_FAILURES)
    ]
    assert statuses == [401] * MAX_FAILURES
    for answer in (
        guesser.get("/api/models", headers=bearer("one more")),
        guesser.get("/api/models", headers=bearer(ANNA)),
        guesser.get("/", params={"token": ANNA}),
        guesser.get("/", params={"link": one_time_link(ANNA)}),
        guesser.get("/api/models", headers={"cookie": f"{COOKIE}=x"}),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (429, PROBLEM)
        assert 0 < int(answer.headers["retry-after"]) <= FAILURE_WINDOW_S
    assert guesser.get("/").status_code == 401  # the page that asks for the token is there
    assert friend.get("/api/models", headers=bearer(ANNA)).status_code == 200


def test_a_logged_in_user_stays_logged_in_while_another_at_the_same_address_guesses(
    config: ApiConfig, store: Store
) -> None:
    app = create_app(replace(config, tokens=(ANNA,), host="0.0.0.0"), store)
    friend = TestClient(app, client=("10.0.0.1", 1))
    guesser = TestClient(app, client=("10.0.0.1", 1))
    assert friend.get("/", params={"token": ANNA}).status_code == 200
    for number in range(MAX_FAILURES + 1):
        guesser.get("/api/models", headers=bearer(f"guess {number}"))
    assert guesser.get("/api/models", headers=bearer(ANNA)).status_code == 429
    assert friend.get("/api/models", params={"layer": 1}).status_code == 200
    # A guessed token cannot be tried as a cookie: cookies are made with a secret of the store.
    for value in (cookie_value(ANNA, ""), cookie_value(ANNA, "another store")):
        assert guesser.get("/api/models", headers={"cookie": f"{COOKIE}={value}"}).status_code == 429


def test_a_cookie_opens_after_a_restart_and_not_at_another_store(config: ApiConfig, store: Store) -> None:
    guarded = replace(config, tokens=(ANNA,))
    with Api(guarded, store) as first, Api(guarded, store) as second:
        cookie = first.get("/", params={"token": ANNA}).headers["set-cookie"].partition(";")[0]
        assert second.get("/api/models", headers={"cookie": cookie}).status_code == 200
    with (
        Store.open("sqlite:///" + config.database_url[10:] + ".other", config.artifacts_url + "-other") as other,
        Api(guarded, other) as third,
    ):
        assert third.get("/api/models", headers={"cookie": cookie}).status_code == 401


def test_guesses_from_many_addresses_are_slowed_down_and_known_addresses_are_not() -> None:
    now = [0.0]
    throttle = LoginThrottle(lambda: now[0])
    throttle.succeeded("known")
    for number in range(MAX_FAILURES_TOTAL):
        assert throttle.blocked_for(f"address {number}") is None
        throttle.failed(f"address {number}")
    assert throttle.blocked_for("new") == FAILURE_WINDOW_S
    assert throttle.blocked_for("known") is None
    now[0] += FAILURE_WINDOW_S
    assert throttle.blocked_for("new") is None


@pytest.mark.parametrize(("trusted", "last"), [((), 429), (("127.0.0.1",), 401)])
def test_a_client_cannot_choose_its_address_without_a_trusted_proxy(
    config: ApiConfig, store: Store, monkeypatch: pytest.MonkeyPatch, trusted: tuple[str, ...], last: int
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    statuses = []
    with served(replace(config, tokens=(ANNA,), trusted_proxies=trusted), store) as port:
        for number in range(MAX_FAILURES + 1):
            lines = ("Authorization: Bearer x", f"X-Forwarded-For: 10.0.0.{number}", "Connection: close")
            answer = exchange(port, head("GET", "/api/models", *lines))
            assert answer is not None
            statuses.append(answer.status)
    assert statuses == [401] * MAX_FAILURES + [last]


def test_the_form_opens_without_the_token_in_an_address(guarded: Api) -> None:
    page = guarded.get("/analyses?view=map").text
    assert '<form method="post">' in page
    response = guarded.post("/analyses?view=map", data={"token": BEN})
    assert (response.status_code, response.headers["location"]) == (303, "./analyses?view=map")
    assert guarded.get("/api/models").status_code == 200
    guarded.cookies.clear()
    for wrong in ({"token": "wrong"}, {"token": BEN * 500}, {"token": ""}):
        answer = guarded.post("/", data=wrong)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert answer.headers["content-type"].startswith("text/html")
    site = {"sec-fetch-site": "cross-site"}
    assert guarded.post("/", data={"token": BEN}, headers=site).status_code == 403
    assert guarded.post("/api/experiments", data={"token": BEN}).status_code == 401


def test_an_unauthorized_request_writes_nothing_to_the_log(
    config: ApiConfig, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with served(replace(config, tokens=(ANNA,), rate_limit="1/hour"), store) as port:
        before = len(caplog.records)
        answers = [
            exchange(port, head("POST", "/api/experiments/x/cancel", "Content-Length: 0", "Authorization: Bearer x")),
            exchange(port, head("POST", "/api/experiments/x/cancel", "Content-Length: 0", host="evil.example")),
            exchange(port, b"no http\r\n\r\n"),
            exchange(port, head("GET", "/api/live", "Connection: Upgrade", "Upgrade: websocket")),
        ]
        assert [answer.status for answer in answers if answer] == [401, 403, 400, 200]
        assert caplog.records[before:] == []
        request = head("POST", "/api/experiments/x/cancel", "Content-Length: 0", f"Authorization: Bearer {ANNA}")
        asked_twice = [exchange(port, request), exchange(port, request)]
        assert [answer.status for answer in asked_twice if answer] == [404, 429]
        assert [record.getMessage()[:4] for record in caplog.records[before:]] == ["POST"]


def test_guesses_are_forgiven_after_a_minute_and_addresses_are_counted_apart() -> None:
    now = [0.0]
    throttle = LoginThrottle(lambda: now[0])
    throttle.succeeded("a")  # other addresses are slowed down by the limit over all addresses
    throttle.succeeded("b")
    for number in range(20_000):
        throttle.failed(f"address {number}")
    for _ in range(MAX_FAILURES):
        assert throttle.blocked_for("a") is None
        throttle.failed("a")
    assert throttle.blocked_for("a") == FAILURE_WINDOW_S
    assert throttle.blocked_for("b") is None
    now[0] += FAILURE_WINDOW_S
    assert throttle.blocked_for("a") is None


def test_a_clock_that_is_put_back_does_not_extend_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    throttle = LoginThrottle()
    for _ in range(MAX_FAILURES):
        throttle.failed("a")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert 0 < (throttle.blocked_for("a") or 0) <= FAILURE_WINDOW_S


def test_a_page_left_open_with_an_old_cookie_locks_no_user_out() -> None:
    throttle = LoginThrottle()
    for _ in range(10 * MAX_FAILURES):
        throttle.failed("a", cookie="of yesterday")
    assert throttle.blocked_for("a") is None
    for number in range(MAX_FAILURES):
        throttle.failed("a", cookie=f"guess {number}")
    assert throttle.blocked_for("a") is not None


def test_a_login_link_works_once_and_its_second_use_is_refused_even_after_a_restart(
    config: ApiConfig, store: Store
) -> None:
    answer = replace(config, tokens=(ANNA, BEN), host="0.0.0.0")
    link = one_time_link(BEN)
    with Api(answer, store) as first:
        assert first.head("/", params={"link": link}).status_code == 401  # a HEAD request does not use it up
        opened = first.get("/analyses", params={"link": link, "view": "map"})
        assert (opened.status_code, opened.headers["location"]) == (303, "./analyses?view=map")
        assert opened.headers["cache-control"] == "no-store"
        cookie = opened.headers["set-cookie"]
        assert all(word in cookie.lower() for word in ("httponly", "samesite=lax", "path=/"))
        assert "secure" not in cookie.lower()
        assert BEN not in cookie
        assert first.get("/api/health").status_code == 200
        # A logged-in user does not use up the link, and the address keeps no secret.
        other = one_time_link(ANNA)
        assert first.get("/", params={"link": other}).headers["location"] == "./"
    with Api(answer, store) as second:
        again = second.get("/", params={"link": link})
        assert (again.status_code, "set-cookie" in again.headers) == (401, False)
        assert "was used before" in again.text
        assert second.get("/", params={"link": other}).status_code == 303


def test_a_cookie_over_https_is_for_https_alone(config: ApiConfig, store: Store) -> None:
    guarded_config = replace(config, tokens=(ANNA,), host="0.0.0.0")
    with Api(guarded_config, store, base_url="https://lab.example") as api:
        assert "secure" in api.get("/", params={"link": one_time_link(ANNA)}).headers["set-cookie"].lower()


def test_a_link_that_is_old_or_forged_opens_nothing() -> None:
    tokens, now = Tokens((ANNA,)), 1_800_000_000.0
    link = one_time_link(ANNA, now)
    assert tokens.match_link(link, now + LINK_LIFE_S - 1) == token_name(ANNA)
    assert tokens.match_link(link, now + LINK_LIFE_S) is None
    expires, nonce, seal = link.split(".")
    for forged in (
        f"{int(expires) + 1}.{nonce}.{seal}",
        f"{expires}.{nonce}x.{seal}",
        f"{expires}.{nonce}.{seal[:-1]}",
        one_time_link("another token", now),
        "",
        "..",
        "\ud800.é.٣",
        "9" * 5000,
    ):
        assert tokens.match_link(forged, now) is None


def test_every_write_of_every_route_is_counted_and_reading_goes_on(config: ApiConfig, store: Store) -> None:
    paths = openapi_document(routes_only())["paths"]
    writes = [(method, path) for path, operations in paths.items() for method in operations if method != "get"]
    assert len(writes) >= 8
    for method, path in writes:
        with Api(replace(config, rate_limit="2/hour"), store) as api:
            address = path.replace("{experiment_id}", "x")
            headers = {"content-type": "text/csv" if path.endswith("upload") else "application/json"}
            answers = [api.request(method, address, content=b"{}", headers=headers) for _ in range(3)]
            assert [answer.status_code == 429 for answer in answers] == [False, False, True], (method, path)
            assert answers[2].headers["content-type"] == PROBLEM
            assert 0 < int(answers[2].headers["retry-after"]) <= 3600
            assert {api.get("/api/models").status_code for _ in range(5)} == {200}


def test_a_write_that_is_refused_before_it_is_read_counts_as_well(config: ApiConfig, store: Store) -> None:
    for kind, body in (("application/json", b"{"), ("application/json", b'{"a":1,"a":2}'), ("text/plain", b"x")):
        with Api(replace(config, rate_limit="2/hour"), store) as api:
            headers = {"content-type": kind}
            statuses = [api.post("/api/experiments", content=body, headers=headers).status_code for _ in range(3)]
        assert [status == 429 for status in statuses] == [False, False, True], (kind, body)


def test_a_write_is_accepted_again_after_retry_after() -> None:
    rate = WriteCounter("2/second")
    rate.count("a")
    rate.count("a")
    with pytest.raises(RetryLater) as refused:
        rate.count("a")
    rate.count("b")
    time.sleep(refused.value.after_s)
    rate.count("a")


def test_a_clock_that_is_put_back_does_not_extend_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    real, put_back = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() - put_back[0])
    rate = WriteCounter("2/minute", ClockWatch(wall=lambda: time.time(), settles_s=1e-6))
    for _ in range(2):
        rate.count("a")
    put_back[0] = 3600.0
    for _ in range(2):
        rate.count("a")
    with pytest.raises(RetryLater) as refused:
        rate.count("a")
    assert refused.value.after_s <= 60


def test_with_the_settings_as_they_come_many_at_once_and_many_in_a_row_pass(live: Api) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: live.post("/api/experiments", json=spec()), range(50)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
    codes = {live.post("/api/experiments", json=spec("4 + 4 =")).status_code for _ in range(1_000)}
    assert codes <= {200, 202}
