"""Connections with time limits: idle, slow or excess clients are dropped, and every rejection is problem JSON.

An extension of uvicorn's HTTP/1.1 protocol: the head of a request must arrive within seconds, the client must read the
response, the number of connections is limited by the files that may be open, and bytes that are not HTTP get a
readable error.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import resource
import sys
import termios
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from arithmoscope.contracts.errors import Refusal
from arithmoscope_api.http.access_control import HEADERS, MAX_HEAD_BYTES
from arithmoscope_api.http.concurrency_limit import RETRY_AFTER
from arithmoscope_api.http.problems import MEDIA_TYPE, problem_bytes

# uvicorn warns of every invalid request, so that a client could fill the log.
_logger = logging.getLogger("uvicorn.error.connection")
_logger.setLevel(logging.ERROR)
HEAD_WITHIN_S = 10.0
# After a rejection, incoming bytes are discarded for this long before the connection is closed.
LINGER_S = 2.0
# A client must read at least READ_BYTES of a response in every READ_WITHIN_S seconds.
READ_WITHIN_S = 30.0
READ_BYTES = 32 * 1024
MAX_CONNECTIONS = 2_000
# This many more connections get a 503; any beyond them are dropped without a response.
REJECTED_CONNECTIONS = 200
# Open files of the process that are not connections: the store, the broker, downloads.
_OTHER_FILES = 400


class Connection(H11Protocol):
    """One connection.

    The head timer runs from the start of the connection, and again from the first byte after a response, until the
    head of a request is complete. The read timer runs while the client has not taken all bytes of a response.
    """

    head_within_s = HEAD_WITHIN_S
    read_within_s = READ_WITHIN_S
    max_connections = MAX_CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.logger = _logger

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        # pause_writing is called for every unsent byte, not only for many, so that a stalled client is noticed.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.max_connections + REJECTED_CONNECTIONS:
            transport.abort()
        elif len(self.connections) > self.max_connections:
            self._reject(Refusal("too_busy", f"{self.max_connections} connections are already open."), RETRY_AFTER)
        else:
            self._head_timer = self.loop.call_later(self.head_within_s, self._head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended or self.transport.is_closing():
            return
        super().data_received(data)
        if self._responding():
            self._stop_head_timer()
        elif self._head_timer is None and not self._ended and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_within_s, self._head_timeout)

    def send_400_response(self, msg: str) -> None:
        # uvicorn calls this while handling h11's error, whose text is more precise.
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", 400) == 431:
            detail = f"The head of the request exceeds {MAX_HEAD_BYTES // 1024} KiB."
            self._reject(Refusal("headers_too_large", detail))
        else:
            self._reject(Refusal("bad_http", _sentence(str(error or msg))))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_read_timer()

    def resume_writing(self) -> None:
        self._stop_read_timer()
        super().resume_writing()

    def _responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timeout(self) -> None:
        self._head_timer = None
        if self._ended or self.transport.is_closing():
            return
        has_begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if has_begun:
            detail = f"The head of the request did not arrive within {self.head_within_s:g} seconds."
            self._reject(Refusal("too_slow", detail))
        else:
            self.transport.abort()

    def _start_read_timer(self) -> None:
        self._stop_read_timer()
        self._read_timer = self.loop.call_later(self.read_within_s, self._check_reader, self._unread_bytes())

    def _check_reader(self, unread_before: int) -> None:
        self._read_timer = None
        if unread_before - self._unread_bytes() < READ_BYTES:
            self.transport.abort()
        else:
            self._start_read_timer()

    def _unread_bytes(self) -> int:
        """Bytes that the client has not read, here and in the socket buffer, whose free space is reported late."""
        in_system = bytearray(4)
        with suppress(OSError, AttributeError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_system)
        return self.transport.get_write_buffer_size() + int.from_bytes(in_system, sys.byteorder)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _reject(self, refusal: Refusal, extra_headers: dict[str, str] | None = None) -> None:
        """Sends a problem outside any request and closes the connection."""
        if self._responding() and self.cycle.response_started:
            self.transport.abort()  # a response is under way: nothing else can be sent
            return
        if self._responding():
            self.cycle.disconnected = True  # the route need not respond any more
            self.cycle.message_event.set()
        details = refusal.details()
        body = problem_bytes(details)
        headers = {
            **HEADERS,
            **(extra_headers or {}),
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        reason = STATUS_PHRASES[details.status]
        response = h11.Response(status_code=details.status, headers=list(headers.items()), reason=reason)
        try:
            chunks = [self.conn.send(event) for event in (response, h11.Data(data=body), h11.EndOfMessage())]
        except h11.LocalProtocolError:
            self.transport.abort()
            return
        self.transport.write(b"".join(part or b"" for part in chunks))
        # If it were closed now, while more of the request arrives, the system would discard this response.
        self._ended = True
        self._stop_head_timer()
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)


def connection_limit() -> int:
    """The number of connections that may be open, after raising the process's limit of open files if possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, soft - min(_OTHER_FILES, soft // 2)))


def _sentence(message: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in message)[:200]
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
