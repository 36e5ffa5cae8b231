"""The logs: one JSON object a line, from the API, the worker, its child and the supervisor.

``{"time", "level", "part", "pid", "logger", "message"}``, and where there is one ``experiment_id`` and ``exception``.
An experiment is followed through all processes by its id: ``grep ID DATA_DIR/log/*.log``. Nothing that somebody
sends can begin a line of its own, and no secret that a setting holds is ever written.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from arithmoscope.contracts import log_context as trace

MAX_FILE_BYTES = 5_000_000
HIDDEN = "***"
# Of one message or traceback: a line stays readable whatever is thrown at it.
_MAX_CHARACTERS = 20_000
# Libraries that say much at every start, or something at every step.
_CHATTY = ("alembic", "sse_starlette", "botocore", "aiobotocore", "s3fs", "fsspec", "httpx", "urllib3")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"([?&](?:token|link)=)[^\s&\"'<>]+")


class JsonLines(logging.Formatter):
    """``part``: which process of the tree this is. What it forks is its child and says so."""

    def __init__(self, part: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._part = part
        self._pid = os.getpid()
        # The longest first: one may be a part of another. As they are typed, and as an address spells them.
        spelled = {spelling for secret in secrets if secret for spelling in (secret, quote(secret, safe=""))}
        self._secrets = sorted(spelled, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        pid = os.getpid()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part if pid == self._pid else f"{self._part} child",
            "pid": pid,
            "logger": record.name,
            "message": self._shown(_message(record)),
        }
        about = getattr(record, "experiment_id", None) or trace.experiment_id.get()
        if about is not None:
            line["experiment_id"] = self._shown(str(about))
        if record.exc_info:
            line["exception"] = self._shown(self.formatException(record.exc_info))
        # ASCII: a control character, a line separator or half a surrogate is written as an escape.
        return json.dumps(line, ensure_ascii=True)

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _IN_ADDRESS.sub(rf"\1{HIDDEN}", text)
        # The end of a traceback says what happened.
        return text if len(text) <= _MAX_CHARACTERS else f"... {text[-_MAX_CHARACTERS:]}"


def log_to_stderr(part: str, secrets: Iterable[str] = ()) -> None:
    """From now on whatever this process logs, warns of or dies of is a line on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(part, secrets))
    _install(handler)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda died: _uncaught(died.exc_type, died.exc_value, died.exc_traceback)


@contextmanager
def log_to_file(path: Path, part: str, secrets: Iterable[str] = ()) -> Iterator[None]:
    """What this process logs in the block goes to a file: the terminal is for people."""
    handler = _File(path, maxBytes=MAX_FILE_BYTES, backupCount=1, encoding="ascii", delay=True)
    handler.namer = lambda _: str(older(path))
    handler.setFormatter(JsonLines(part, secrets))
    _install(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def rotate_in_place(path: Path) -> None:
    """Keep the newest of a log that has grown too large, and what was before in a second file.

    Whoever writes it goes on: the file is emptied where it is, so a line of that moment may be lost. Writers must
    append. Where the disk is full what was before is given up.
    """
    try:
        if path.stat().st_size <= MAX_FILE_BYTES:
            return
    except OSError:  # not there yet
        return
    with suppress(OSError):
        try:
            _copy_end(path, older(path))
        except OSError:
            older(path).unlink(missing_ok=True)
        os.truncate(path, 0)


def _copy_end(path: Path, to: Path) -> None:
    # Between two looks it may have grown to any size; the copy must not.
    with path.open("rb") as log, to.open("wb") as copy:
        log.seek(max(0, path.stat().st_size - MAX_FILE_BYTES))
        copy.write(log.read(MAX_FILE_BYTES))


def older(path: Path) -> Path:
    """Where the lines are that no longer fit into a log: ``api.old.log``."""
    return path.with_suffix(".old.log")


def secrets_in(told: Any) -> set[str]:
    """The secrets of a configuration: its tokens, and the passwords in its addresses."""
    found: set[str] = set()
    for name, value in told.items():
        if name in ("token", "tokens"):
            listed = value.split(",") if isinstance(value, str) else value or ()
            found.update(token.strip() for token in listed)
        elif name.endswith("_url") and isinstance(value, str):
            found.update(_passwords(value))
    return found


def last_message(line: str) -> str:
    """What a line of a log says, for people: of another program's it is the line."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: a log that cannot be written, such as on a full disk, must not cost the rest."""


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's mistake: its words are worth more than its arguments
        return str(record.msg)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace_back: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit) or error is None:
        return
    logging.getLogger(__name__).critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace_back))


def _passwords(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return set()
    # Also as drivers take them: ?password=...
    told = [value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name)]
    return {spelled for each in (password, *told) if each for spelled in (each, unquote(each))}
