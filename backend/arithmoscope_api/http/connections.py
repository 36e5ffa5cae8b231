"""Connections as this server keeps them: nobody holds one for nothing, and every refusal is problem JSON.

On top of uvicorn's own protocol: the head of a request comes within seconds, whoever asked reads the answer, there
are not more connections than files that may be open, and what is no HTTP is told so in words.
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
from arithmoscope_api.http.concurrency_limit import RETRY_AFTER
from arithmoscope_api.http.problems import MEDIA_TYPE, problem_bytes
from arithmoscope_api.http.security import HEADERS, MAX_HEAD_BYTES

# uvicorn warns of everything that is no proper request: whoever sends it could fill the log.
_logger = logging.getLogger("uvicorn.error.connection")
_logger.setLevel(logging.ERROR)
HEAD_WITHIN_S = 10.0
# So long what still comes is thrown away after a refusal, before the connection is closed.
LINGER_S = 2.0
# A reader must take so many bytes in so many seconds.
READ_WITHIN_S = 30.0
READ_BYTES = 32 * 1024
MAX_CONNECTIONS = 2_000
# Beyond those, so many are told to wait; the next are hung up on without a word.
TOLD_TO_WAIT = 200
# Of the files that a process may have open, those that are no connections: the store, the broker, downloads.
_OTHER_FILES = 400


class Connection(H11Protocol):
    """One connection. It is the client's turn from its beginning, and from its first byte after an answer, until
    the head of a request is whole."""

    head_within_s = HEAD_WITHIN_S
    read_within_s = READ_WITHIN_S
    max_connections = MAX_CONNECTIONS

    def __init__(self, *told: Any, **named: Any) -> None:
        super().__init__(*told, **named)
        self._turn: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._ended = False
        self.logger = _logger

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        # Told of every byte that waits to be taken, not only of many: a reader that takes nothing is noticed.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.max_connections + TOLD_TO_WAIT:
            transport.abort()
        elif len(self.connections) > self.max_connections:
            self._refuse(Refusal("too_busy", f"{self.max_connections} connections are open already."), RETRY_AFTER)
        else:
            self._turn = self.loop.call_later(self.head_within_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_turn()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended or self.transport.is_closing():
            return
        super().data_received(data)
        if self._answering():
            self._end_turn()
        elif self._turn is None and not self._ended and not self.transport.is_closing():
            self._turn = self.loop.call_later(self.head_within_s, self._too_slow)

    def send_400_response(self, msg: str) -> None:
        # uvicorn calls this while it handles h11's error, which knows better what was wrong.
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", 400) == 431:
            said = f"The head of the request is longer than {MAX_HEAD_BYTES // 1024} KiB."
            self._refuse(Refusal("headers_too_large", said))
        else:
            self._refuse(Refusal("bad_http", f"{_sentence(str(error or msg))}"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _too_slow(self) -> None:
        self._turn = None
        if self._ended or self.transport.is_closing():
            return
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun:
            said = f"The head of the request was not there after {self.head_within_s:g} seconds."
            self._refuse(Refusal("too_slow", said))
        else:
            self.transport.abort()

    def _wait_for_reader(self) -> None:
        self._is_read()
        self._reading = self.loop.call_later(self.read_within_s, self._look_at_reader, self._untaken())

    def _look_at_reader(self, waited: int) -> None:
        self._reading = None
        if waited - self._untaken() < READ_BYTES:
            self.transport.abort()
        else:
            self._wait_for_reader()

    def _untaken(self) -> int:
        """Bytes that wait for the reader, here and in the system, which says late that it has room again."""
        in_system = bytearray(4)
        with suppress(OSError, AttributeError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_system)
        return self.transport.get_write_buffer_size() + int.from_bytes(in_system, sys.byteorder)

    def _is_read(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _refuse(self, refusal: Refusal, more: dict[str, str] | None = None) -> None:
        """Answer what never became a request, and end the connection."""
        if self._answering() and self.cycle.response_started:
            self.transport.abort()  # in the middle of another answer there is no way to say anything
            return
        if self._answering():
            self.cycle.disconnected = True  # whoever works on the request need not answer it
            self.cycle.message_event.set()
        details = refusal.details()
        body = problem_bytes(details)
        headers = {
            **HEADERS,
            **(more or {}),
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        reason = STATUS_PHRASES[details.status]
        response = h11.Response(status_code=details.status, headers=list(headers.items()), reason=reason)
        try:
            told = [self.conn.send(event) for event in (response, h11.Data(data=body), h11.EndOfMessage())]
        except h11.LocalProtocolError:
            self.transport.abort()
            return
        self.transport.write(b"".join(part or b"" for part in told))
        # Closed at once, with more of the request on its way, the system would throw this answer away.
        self._ended = True
        self._end_turn()
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)


def connections_that_fit() -> int:
    """How many connections may be open, after asking the system for enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, soft - min(_OTHER_FILES, soft // 2)))


def _sentence(said: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in said)[:200]
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
