"""Slow, silent, numerous and non-HTTP clients over real sockets: answered, disconnected, harmless to others."""

from __future__ import annotations

import json
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from api_helpers import PROBLEM, spec
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http import body_limit as limits
from arithmoscope_api.http.access_control import HEADERS, MAX_HEAD_BYTES
from arithmoscope_api.http.body_limit import BODY_WITHIN_S, MAX_BODY_BYTES
from arithmoscope_api.http.concurrency_limit import MAX_REQUESTS, MAX_STREAMS, ConcurrencyLimit
from arithmoscope_api.http.connections import HEAD_WITHIN_S, READ_WITHIN_S, Connection, connection_limit
from sockets import connected, exchange, head, read_answer, served

from arithmoscope.store import EventLog, Store
from benchmarks.patience import patience


class ShortTimeouts(Connection):
    """Connections with shorter time limits."""

    head_within_s = 0.6
    read_within_s = 0.6


class LongTimeouts(Connection):
    """Connections with a time limit longer than any reader needs between two reads, even on a busy machine."""

    read_within_s = 3.0


@pytest.fixture
def port(config: ApiConfig, store: Store) -> Iterator[int]:
    with served(config, store) as port:
        yield port


@pytest.fixture
def short_timeout_port(config: ApiConfig, store: Store) -> Iterator[int]:
    with served(config, store, ShortTimeouts) as port:
        yield port


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        (b"this is not http\r\n\r\n", 400, "bad_http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40 + b"\r\n\r\n", 400, "bad_http"),
        (b"GET /api/health HTTP/1.1\r\n\r\n", 400, "bad_http"),
        (b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400, "bad_http"),
        (b"GET http://evil.example/api/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_http"),
        (b"GET http://localhost/api/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_http"),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_http"),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "forbidden"),
        (b"GET / HTTP/1.0\r\n\r\n", 403, "forbidden"),
        (b"GET /a\0b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_http"),
        (b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400, "bad_http"),
        (b"GET /?a=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_http"),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n",
            431,
            "headers_too_large",
        ),
        (b"GET /" + b"a" * 2 * MAX_HEAD_BYTES, 431, "headers_too_large"),
        (
            b"POST /api/experiments HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            400,
            "bad_http",
        ),
        (b"POST /api/experiments HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400, "bad_http"),
        (
            b"POST /api/experiments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
            "bad_http",
        ),
        (
            b"POST /api/experiments HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
            "bad_http",
        ),
    ],
)
def test_what_is_no_proper_request_is_answered_with_problem_json(
    port: int, request_line: bytes, status: int, code: str
) -> None:
    answer = exchange(port, request_line)
    assert answer is not None
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["type"].endswith(code)
    assert answer.status == problem["status"] == (400 if status == 501 else status)
    assert {name: answer.headers.get(name.lower()) for name in HEADERS} == HEADERS
    assert "traceback" not in answer.body.decode().lower()


def test_an_oversized_content_length_is_refused_before_the_body_is_read(port: int) -> None:
    lies = head("POST", "/api/experiments", "Content-Type: application/json", f"Content-Length: {10**15}")
    answer = exchange(port, lies + b"{}")
    assert answer is not None
    assert (answer.status, answer.headers["content-type"]) == (413, PROBLEM)


def test_a_body_that_is_too_large_is_answered_while_it_is_still_coming(port: int) -> None:
    with connected(port) as client:
        client.sendall(head("POST", "/api/experiments", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        block = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        for _ in range(MAX_BODY_BYTES // 2**20 + 2):
            client.sendall(block)
        answer = read_answer(client)
        assert answer is not None
        assert (answer.status, answer.headers["content-type"]) == (413, PROBLEM)


def test_an_endless_head_is_answered_and_a_silent_connection_is_closed(short_timeout_port: int) -> None:
    with (
        connected(short_timeout_port) as silent,
        connected(short_timeout_port) as slow,
        connected(short_timeout_port) as trickling,
    ):
        slow.sendall(b"GET /api/health HTTP/1.1\r\nHo")
        answer = None
        for byte in b"GET /api/health HTTP/1.1\r\nX: " + b"a" * 40:
            with suppress(OSError):
                trickling.sendall(bytes([byte]))
            time.sleep(0.03)
        for client in (slow, trickling):
            answer = read_answer(client)
            assert answer is not None
            assert (answer.status, answer.headers["content-type"]) == (408, PROBLEM)
            assert answer.headers["connection"] == "close"
        assert silent.recv(1) == b""


def test_a_body_that_trickles_in_after_the_answer_does_not_keep_the_connection_open(short_timeout_port: int) -> None:
    with connected(short_timeout_port) as client:
        client.sendall(head("GET", "/api/models", "Content-Length: 1000000"))
        answer = read_answer(client)
        assert answer is not None
        assert answer.status == 200
        ended = False
        until = time.monotonic() + 5
        while not ended and time.monotonic() < until:
            time.sleep(0.1)
            try:
                client.sendall(b"x")
            except OSError:
                ended = True
        assert ended


def test_a_body_that_trickles_gets_an_error(config: ApiConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.BodyLimit, "within_s", 0.6)
    with served(config, store) as port, connected(port) as client:
        client.sendall(head("POST", "/api/experiments", "Content-Type: application/json", "Content-Length: 1000"))
        for _ in range(6):
            client.sendall(b" ")
            time.sleep(0.1)
        answer = read_answer(client)
        assert answer is not None
        assert (answer.status, answer.headers["content-type"]) == (408, PROBLEM)


def test_a_reader_that_does_not_read_is_disconnected(config: ApiConfig, store: Store) -> None:
    folder = config.page_dir
    assert folder is not None
    (folder / "assets" / "large.bin").write_bytes(b"x" * 30_000_000)
    with served(config, store, ShortTimeouts) as port, connected(port) as client:
        client.sendall(head("GET", "/assets/large.bin"))
        time.sleep(5)
        taken = 0
        with suppress(ConnectionResetError):
            while part := client.recv(2**20):
                taken += len(part)
        assert 0 < taken < 30_000_000


def test_a_reader_of_events_that_does_not_read_is_disconnected(config: ApiConfig, store: Store, redis_url: str) -> None:
    with served(replace(config, redis_url=redis_url), store, ShortTimeouts) as port:
        created = exchange(port, _post(spec()))
        assert created is not None
        experiment_id = created.json()["id"]
        log = EventLog(redis_url)
        for done in range(16):
            log.publish(experiment_id, "progress", {"done": done, "stage": "x" * 500_000})
        log.close()
        with connected(port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.sendall(head("GET", f"/api/experiments/{experiment_id}/events"))
            readers, until = set[bytes](), time.monotonic() + 20
            while readers != {b"0.0", b"1.0"} and time.monotonic() < until:
                metrics = exchange(port, head("GET", "/metrics"))
                assert metrics is not None
                readers.add(metrics.body.partition(b"\narithmoscope_live_readers ")[2].split(b"\n")[0])
                if b"1.0" not in readers:
                    readers.clear()
            assert readers == {b"0.0", b"1.0"}
            taken = 0
            with suppress(ConnectionResetError):
                while part := client.recv(2**20):
                    taken += len(part)
        assert 0 < taken < 8_000_000


def test_a_slow_reader_that_reads_gets_everything(config: ApiConfig, store: Store) -> None:
    folder = config.page_dir
    assert folder is not None
    (folder / "assets" / "large.bin").write_bytes(b"x" * 8_000_000)
    with served(config, store, LongTimeouts) as port, connected(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(head("GET", "/assets/large.bin", "Connection: close"))
        taken, begun = 0, time.monotonic()
        while part := client.recv(2**17):
            taken += len(part)
            time.sleep(0.1)
        assert taken > 8_000_000
        assert time.monotonic() - begun > LongTimeouts.read_within_s


def test_beyond_the_limit_of_connections_the_next_is_refused_with_retry_after(config: ApiConfig, store: Store) -> None:
    class FewConnections(Connection):
        max_connections = 5

    with served(config, store, FewConnections) as port, ExitStack() as stack:
        first = [stack.enter_context(connected(port)) for _ in range(5)]
        for client in first:
            client.sendall(head("GET", "/api/health"))
            answer = read_answer(client)
            assert answer is not None
            assert answer.status == 200
        with connected(port) as client:
            answer = read_answer(client)
        assert answer is not None
        assert (answer.status, answer.headers["content-type"], answer.headers["retry-after"]) == (503, PROBLEM, "5")


def test_the_bounds_lie_far_above_two_hundred_readers() -> None:
    assert min(MAX_STREAMS, MAX_REQUESTS - MAX_STREAMS, connection_limit()) >= 400


def test_beyond_as_many_streams_as_there_may_be_other_requests_are_still_answered(
    config: ApiConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConcurrencyLimit, "max_requests", 4)
    monkeypatch.setattr(ConcurrencyLimit, "max_streams", 2)
    with served(config, store) as port, ExitStack() as stack:
        created = exchange(port, _post(spec()))
        assert created is not None
        events = head("GET", f"/api/experiments/{created.json()['id']}/events")
        for _ in range(2):
            client = stack.enter_context(connected(port))
            client.sendall(events)
            assert client.recv(12) == b"HTTP/1.1 200"
        refused, served_still = exchange(port, events), exchange(port, head("GET", "/api/health"))
        assert refused is not None
        assert served_still is not None
        assert (refused.status, refused.headers["content-type"]) == (503, PROBLEM)
        assert served_still.status == 200


@pytest.mark.slow
def test_hundreds_of_slow_clients_end_in_time_and_delay_no_other(
    config: ApiConfig, store: Store, tmp_path: Path
) -> None:
    """With the real limits: trickling heads and bodies, readers that do not read, silent connections."""
    assert config.page_dir is not None
    (config.page_dir / "assets" / "large.bin").write_bytes(b"x" * 20_000_000)
    body = head("POST", "/api/experiments", "Content-Type: application/json", "Content-Length: 100000")
    begun = time.monotonic()
    with served(replace(config), store) as port, ExitStack() as stack:
        kinds = {
            "silent": b"",
            "head": b"GET /api/health HTTP/1.1\r\nX-Slow: ",
            "body": body,
            "reader": head("GET", "/assets/large.bin"),
        }
        slow = {kind: [stack.enter_context(connected(port, 60)) for _ in range(60)] for kind in kinds}
        for kind, message in kinds.items():
            for client in slow[kind]:
                client.sendall(message)
        took: list[float] = []
        while time.monotonic() < begun + max(BODY_WITHIN_S, READ_WITHIN_S) + 4:
            for client in (*slow["head"], *slow["body"]):
                with suppress(OSError):
                    client.sendall(b"a")
            began = time.monotonic()
            answer = exchange(port, head("GET", "/api/models"))
            assert answer is not None
            assert answer.status == 200
            took.append(time.monotonic() - began)
            time.sleep(1)
        # A busy machine may be late once; blocking by slow clients would make it late every time.
        assert statistics.median(took) < 2, took
        assert begun + HEAD_WITHIN_S < time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(_status, (*slow["head"], *slow["body"])))
            ended = list(pool.map(_drained, (*slow["silent"], *slow["reader"])))
    assert set(statuses) <= {408, None}
    assert statuses.count(408) >= 60, statuses
    assert all(ended)


def _status(client: socket.socket) -> int | None:
    with suppress(OSError):
        answer = read_answer(client)
        return None if answer is None else answer.status
    return None


def _drained(client: socket.socket) -> bool:
    """Whether the server closed the connection before the whole answer was read."""
    taken = 0
    client.settimeout(5)
    with suppress(ConnectionResetError):
        while part := client.recv(2**20):
            taken += len(part)
    return taken < 20_000_000


def _post(body: object) -> bytes:
    data = json.dumps(body).encode()
    headers = ("Content-Type: application/json", f"Content-Length: {len(data)}")
    return head("POST", "/api/experiments", *headers) + data


def test_bodies_that_are_read_at_once_are_bounded_together(
    config: ApiConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.BodyLimit, "max_held", 1_500)
    with served(config, store) as port, connected(port) as slow:
        slow.sendall(head("POST", "/api/experiments", "Content-Type: application/json", "Content-Length: 2000"))
        slow.sendall(b" " * 1_000)
        until = time.monotonic() + 10 * patience()
        statuses: list[int] = []
        while 503 not in statuses and time.monotonic() < until:
            answer = exchange(port, _post(spec()))
            large = exchange(port, _post({**spec(), "metrics": [" " * 1_000]}))
            assert answer is not None
            assert large is not None
            assert answer.status in (200, 202)
            statuses.append(large.status)
        assert statuses[-1] == 503
        slow.close()
        while time.monotonic() < until:
            large = exchange(port, _post({**spec(), "metrics": [" " * 1_000]}))
            if large is not None and large.status == 422:
                return
        raise AssertionError("what a client held was not given back")
