"""How far a command is, for somebody who waits at a terminal."""

from __future__ import annotations

from typing import IO

from arithmoscope.contracts.experiments import Progress

_BAR = 24
_STAGES = {
    "pairs": "computing",
    "saving": "checking",
    "before": "looking before",
    "steps": "training",
    "after": "asking before and after",
}


class Bar:
    """Progress on a terminal as a bar that redraws itself; elsewhere as one plain line a stage."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._redraws = stream.isatty()
        self._stage = ""

    def say(self, stage: str) -> None:
        if self._redraws:
            self._stream.write(f"\r\033[K{stage} ...")
        elif stage != self._stage:
            self._stream.write(f"{stage} ...\n")
        self._stage = stage
        self._stream.flush()

    def note(self, said: str) -> None:
        """A line that stays."""
        self.end()
        self._stream.write(f"{said}\n")
        self._stream.flush()

    def show(self, progress: Progress, seen: str = "") -> None:
        """``seen``: what there is to say besides, such as a loss."""
        if not self._redraws or not progress.total:
            self.say(_STAGES.get(progress.stage, progress.stage))
            return
        inside = (progress.layer or 0) / progress.layers if progress.layers else 0.0
        done = min(1.0, (progress.done + inside) / progress.total)
        bar = "#" * round(done * _BAR)
        self._stream.write(f"\r\033[K[{bar:<{_BAR}}] {done:4.0%}  {progress.stage}{seen and f'  {seen}'}")
        self._stream.flush()

    def end(self) -> None:
        if self._redraws:
            self._stream.write("\r\033[K")
            self._stream.flush()
