"""``arithmoscope replicate``: the paper's story told on one model, written as a page with figures and a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from arithmoscope.cli.local_run import loaded, runnable
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.errors import Refusal
from arithmoscope.settings import Settings


def replicate(settings: Settings, model_id: str, folder: str, *, quick: bool, out: IO[str], progress: IO[str]) -> None:
    """Measure, write, and print where. Refuses a folder that cannot be written before minutes are spent."""
    bar = Bar(progress)
    runnable(settings, model_id, bar)
    target = _writable(folder)
    model = loaded(settings, model_id, bar)
    from arithmoscope.replication.measure import FULL, QUICK, measure_all, write_report

    numbers = measure_all(model, QUICK if quick else FULL, bar.say, quick=quick)
    page = write_report(numbers, target)
    bar.end()
    agreed = [claim["agrees"] for claim in numbers["claims"]]
    out.write(
        f"{page}: {agreed.count('yes')} of the paper's claims agree, {agreed.count('no')} do not, "
        f"{agreed.count('not tested')} could not be tested; {numbers['run']['seconds']:.0f} s\n"
    )


def _writable(folder: str) -> Path:
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        raise Refusal(
            "bad_setting", f"--out {folder} cannot be written: {error.strerror}.", "Choose another folder."
        ) from error
    return path
