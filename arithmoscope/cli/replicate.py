"""``arithmoscope replicate``: the paper's claims tested on one model; writes a page with figures and a JSON file."""

from __future__ import annotations

from typing import IO

from arithmoscope.cli.local_run import load_local_model, locate_model
from arithmoscope.cli.output_files import writable_folder
from arithmoscope.cli.progress import Bar
from arithmoscope.settings import Settings


def replicate(settings: Settings, model_id: str, folder: str, *, quick: bool, out: IO[str], progress: IO[str]) -> None:
    """Measures, writes the page, and prints its path. Raises Refusal at the start if ``folder`` cannot be written."""
    bar = Bar(progress)
    locate_model(settings, model_id, bar)
    target = writable_folder(folder, "--out")
    model = load_local_model(settings, model_id, bar)
    from arithmoscope.replication.measure import FULL, QUICK, measure_all, write_report

    numbers = measure_all(model, QUICK if quick else FULL, bar.stage, quick=quick)
    page = write_report(numbers, target)
    bar.end()
    verdicts = [claim["agrees"] for claim in numbers["claims"]]
    out.write(
        f"{page}: {verdicts.count('yes')} of the paper's claims agree, {verdicts.count('no')} do not, "
        f"{verdicts.count('not tested')} could not be tested; {numbers['run']['seconds']:.0f} s\n"
    )
