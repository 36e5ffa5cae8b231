"""``arithmoscope findings``: the paper's story told on one model, written as a page with figures and a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from arithmoscope.progress import Bar
from arithmoscope.settings import Settings
from contracts.errors import Refusal
from engine.catalogue import DEMO_ID, Catalogue


def findings(settings: Settings, model_id: str, folder: str, *, quick: bool, out: IO[str], progress: IO[str]) -> None:
    """Measure, write, and print where. Refuses a folder that cannot be written before minutes are spent."""
    bar = Bar(progress)
    catalogue = Catalogue(settings.models_dir, settings.allow_hub)
    if model_id == DEMO_ID:
        catalogue.fetch(model_id, bar.say)
    card = catalogue.locate(model_id).card
    if card is not None and not card.supported:
        raise Refusal("unsupported_architecture", f"{card.id} cannot run here: {card.reason}")
    target = _writable(folder)
    bar.say("loading the model and PyTorch")
    from engine import load_model
    from findings.story import FULL, QUICK, tell, write

    model = load_model(
        model_id,
        models_dir=settings.models_dir,
        device=settings.device,
        dtype=settings.dtype,
        allow_hub=settings.allow_hub,
    )
    numbers = tell(model, QUICK if quick else FULL, bar.say, quick=quick)
    page = write(numbers, target)
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
