"""Ctrl-C in a command that has something worth keeping."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C is only told, so that what was computed is kept; a second one ends at once.

    Where whoever started the command had it ignore Ctrl-C (a script's background job), it goes on ignoring it.
    """
    told = threading.Event()
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    in_main = threading.current_thread() is threading.main_thread()  # signals arrive nowhere else
    if not in_main or before is signal.SIG_IGN:
        yield told.is_set
        return

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, tell)
    try:
        yield told.is_set
    finally:
        signal.signal(signal.SIGINT, before)
