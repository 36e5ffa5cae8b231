"""Loaded by every Python process of a tree under test: a clock that a file can shift, as an operator or NTP does."""

import os
import time

_FILE = os.environ.get("SOAK_CLOCK", "")


def _install() -> None:
    real, real_ns, monotonic = time.time, time.time_ns, time.monotonic
    state = [0.0, 0.0]  # next time to read the file, and the current shift of the clock

    def shift() -> float:
        now = monotonic()
        if now >= state[0]:
            state[0] = now + 0.05
            try:
                with open(_FILE) as file:
                    state[1] = float(file.read())
            except (OSError, ValueError):
                pass
        return state[1]

    time.time = lambda: real() + shift()
    time.time_ns = lambda: real_ns() + int(shift() * 1e9)


if _FILE:
    _install()
