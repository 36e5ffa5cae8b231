"""Progress of a command on the terminal."""

from __future__ import annotations

from typing import IO

from arithmoscope.contracts.experiments import Progress

_WIDTH = 24
_STAGES = {
    "pairs": "computing",
    "saving": "checking",
    "before": "evaluating before training",
    "steps": "training",
    "after": "evaluating after training",
}


class Bar:
    """Progress on a stream: a bar that redraws itself on a terminal, elsewhere one plain line per stage."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._redraws = stream.isatty()
        self._stage = ""

    def stage(self, name: str) -> None:
        """Shows the stage that begins."""
        if self._redraws:
            self._stream.write(f"\r\033[K{name} ...")
        elif name != self._stage:
            self._stream.write(f"{name} ...\n")
        self._stage = name
        self._stream.flush()

    def note(self, text: str) -> None:
        """Writes a line that stays."""
        self.end()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def show(self, progress: Progress, detail: str = "") -> None:
        """Draws the bar. ``detail`` follows it, such as the current loss."""
        if not self._redraws or not progress.total:
            self.stage(_STAGES.get(progress.stage, progress.stage))
            return
        within = (progress.layer or 0) / progress.layers if progress.layers else 0.0
        done = min(1.0, (progress.done + within) / progress.total)
        bar = "#" * round(done * _WIDTH)
        self._stream.write(f"\r\033[K[{bar:<{_WIDTH}}] {done:4.0%}  {progress.stage}{detail and f'  {detail}'}")
        self._stream.flush()

    def end(self) -> None:
        """Clears the bar."""
        if self._redraws:
            self._stream.write("\r\033[K")
            self._stream.flush()
