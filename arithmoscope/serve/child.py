"""One process of the tree: ``python -m arithmoscope.serve.child api|worker|broker``, told what to do on its stdin.

The first line of stdin is what to do, as JSON. Stdin then stays open as a lifeline: it ends when the parent
does, however it died, and this process ends with it, and everything it started.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.logs import log_to_stderr, secrets_in
from arithmoscope.serve.wiring import run_worker
from arithmoscope.system_errors import refused

logger = logging.getLogger("arithmoscope.serve.child")

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read what to do, hold the lifeline, do it."""
    part = sys.argv[1]
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    told = _first_line(lifeline)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    parent = told.pop("parent")
    if part == "broker" and sys.platform == "linux":
        _become(told["argv"], parent)
    threading.Thread(target=_die_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    log_to_stderr(part, secrets_in(told))
    try:
        with refused():
            sys.exit(_PARTS[part](told))
    except Refusal as refusal:
        # The parent shows the last line of this log to whoever started it.
        logger.critical("%s", refusal)
        sys.exit(2)


def _first_line(stdin: int) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(stdin, 1)
        if byte == b"":
            sys.exit(1)
        line += byte
    return json.loads(line)


def _die_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 64):
        pass
    # The group is this process and what it started: a pool of a worker must not compute on for nobody.
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _become(argv: list[str], parent: int) -> NoReturn:
    """Replace this process by a program that Linux kills when the parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before the kernel was told
    os.execv(argv[0], argv)


def _broker(told: dict[str, Any]) -> None:
    import subprocess

    sys.exit(subprocess.call(told["argv"]))


def _api(told: dict[str, Any]) -> None:
    from arithmoscope_api.config import ApiConfig
    from arithmoscope_api.serve import run

    page = told.pop("page_dir")
    lists: dict[str, Any] = {name: tuple(told.pop(name)) for name in ("allowed_hosts", "tokens", "trusted_proxies")}
    listening = socket.socket(fileno=told.pop("listening"))
    run(ApiConfig(**told, **lists, page_dir=page and Path(page)), listening)


_PARTS: dict[str, Callable[[dict[str, Any]], int | None]] = {"api": _api, "worker": run_worker, "broker": _broker}

if __name__ == "__main__":
    main()
