"""A finished fine-tuning as data that leaves the engine: the result, the files kept with it, the tuned model's card."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_results import FineTuneResult, TrainingCurve, Tunable, Validation
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import facts_of, provenance_of
from arithmoscope.engine.tuning.deltas import Deltas
from arithmoscope.engine.tuning.evaluate import Evaluated
from arithmoscope.engine.tuning.files import adapter_zip, history_csv, judged_csv, repatched_csv
from arithmoscope.engine.tuning.fine_tune import FineTuned
from arithmoscope.engine.tuning.selection import parameters_of
from arithmoscope.engine.tuning.tuners import WHOLE
from arithmoscope.prompts.sets.dataset_splits import DatasetSplits


@dataclass(frozen=True)
class FineTuneOutput:
    """The result and everything that is kept of it, by file name; the tuned model's card, None where nothing was tuned;
    and, where the training broke, what it is to be called (``training_broke``)."""

    result: FineTuneResult
    artifacts: dict[str, bytes]
    card: ModelCard | None
    problem: Refusal | None


def output_of(
    *,
    model: LoadedModel,
    spec: FineTuneSpec,
    experiment_id: str,
    lessons: DatasetSplits,
    tuned: FineTuned,
    curve: TrainingCurve,
    validation: Sequence[Validation],
    evaluated: Evaluated | None,
    complete: bool,
    notes: Sequence[str],
    created_at: datetime,
    seconds: float,
) -> FineTuneOutput:
    """Everything that leaves the engine. ``curve`` thins the ``validation`` out, the history's file has all of it.
    ``evaluated``: None where it was not; ``notes``: what is said of that."""
    history, deltas = tuned.history, tuned.deltas
    card = _card_of(model, deltas, experiment_id) if history.kept else None
    kept = b"" if card is None else deltas.to_bytes()
    artifacts: dict[str, bytes] = {}
    said = [*lessons.notes, *_drawn_among_chosen(spec, tuned), *notes]
    if card is not None:
        artifacts["deltas.safetensors"] = kept
        try:
            artifacts["adapter.zip"] = adapter_zip(model, deltas)
        except Refusal as refusal:
            said.append(f"No adapter for PEFT: {refusal.detail}")
    per_step = [step.seconds for step in history.steps]
    result = FineTuneResult(
        experiment_id=experiment_id,
        spec=spec,
        model=facts_of(model),
        complete=complete,
        tunable=_tunable(model, spec, tuned),
        split=lessons.split,
        ended=history.ended,
        kept=history.kept,
        problem=history.problem,
        curve=curve,
        seconds_per_step=statistics.median(per_step) if per_step else None,
        evaluation=None if evaluated is None else evaluated.evaluation,
        tuned=None if card is None else card.id,
        deltas_bytes=len(kept),
        deltas_sha256=hashlib.sha256(kept).hexdigest() if kept else "",
        notes=tuple(said),
        provenance=provenance_of(
            model, _hash_of(lessons), None, None, created_at, seconds, chunk_pairs=spec.batch_size
        ),
    )
    artifacts["history.csv"] = history_csv(history.steps, validation, result)
    if evaluated is not None:
        artifacts["judged.csv"] = judged_csv(evaluated.asked, result)
        if evaluated.evaluation.repatched is not None:
            artifacts["repatched.csv"] = repatched_csv(evaluated.evaluation.repatched, result)
    artifacts["result.json"] = result.model_dump_json().encode()
    problem = None
    if history.ended == "not_finite":
        problem = Refusal("training_broke", f"{history.problem} {_kept(spec, history.kept)}")
    return FineTuneOutput(result, artifacts, card, problem)


def _tunable(model: LoadedModel, spec: FineTuneSpec, tuned: FineTuned) -> Tunable:
    selection = tuned.selection
    slices = selection is not None and spec.tuner in ("precise", "random")
    parameters = parameters_of(model)
    return Tunable(
        components=() if selection is None else tuple(map(str, selection.components)),
        tune=selection.tune if selection is not None and slices else (),
        touched=tuple(map(str, selection.touched)) if selection is not None and slices else (),
        trained=tuned.trained,
        parameters=parameters,
        share=tuned.trained / parameters,
        # Low-rank changes are made to all layers.
        lowest=0 if selection is None or spec.tuner == "lora" else selection.lowest,
        optimiser_bytes=2 * width_of(model) * tuned.trained,
    )


def _card_of(model: LoadedModel, deltas: Deltas, experiment_id: str) -> ModelCard:
    """The tuned model in the catalogue: its id says which experiment made it."""
    told = {
        "id": f"{model.card.id}-tuned-{experiment_id[:8]}",
        "source": "tuned",
        "base": model.card.id,
        "base_revision": model.card.revision,
        "experiment": experiment_id,
    }
    return deltas.card_of(model.card).model_copy(update=told)


def _kept(spec: FineTuneSpec, steps: int) -> str:
    if steps:
        return f"The weights after {steps} steps are kept."
    if spec.tuner in WHOLE:
        return (
            f"No weights are kept: those before the last step are as large as the model, and {spec.tuner} holds none."
        )
    return "No weights are kept."


def _drawn_among_chosen(spec: FineTuneSpec, tuned: FineTuned) -> tuple[str, ...]:
    if spec.tuner != "random" or tuned.selection is None:
        return ()
    among = [str(each) for each in tuned.selection.components if str(each) in spec.components]
    if not among:
        return ()
    return (f"No other components are left to draw, so {len(among)} of the random ones are chosen ones.",)


def _hash_of(lessons: DatasetSplits) -> str:
    sets = (lessons.train, lessons.validation, lessons.test)
    rows = [[[pair.reference, pair.answer, pair.chat] for pair in pairs] for pairs in sets]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def width_of(model: LoadedModel) -> int:
    """Bytes of a number that the optimiser moves, and of each of its two moments."""
    return 8 if model.work_dtype.itemsize == 8 else 4
