"""A finished fine-tuning as data that leaves the engine: its result, its files, and the tuned model's card."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneResult, FineTuneSpec
from arithmoscope.contracts.models import ModelCard, tuned_model_id
from arithmoscope.contracts.trainable import bytes_per_trained, tunable
from arithmoscope.contracts.tuning_results import TrainingCurve, Validation
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.engine.tuning.deltas import Deltas
from arithmoscope.engine.tuning.evaluate import EvaluationOutput
from arithmoscope.engine.tuning.fine_tune import FineTuned
from arithmoscope.engine.tuning.result_files import adapter_zip, history_csv, judged_csv, repatched_csv
from arithmoscope.engine.tuning.selection import parameters_of
from arithmoscope.engine.tuning.tuners import WHOLE_MODEL
from arithmoscope.prompts.sets.dataset_splits import DatasetSplits


@dataclass(frozen=True)
class FineTuneOutput:
    """A fine-tuning's result and stored files.

    artifacts  contents by file name
    card       card of the tuned model; None if nothing was tuned
    problem    a Refusal (``training_broke``) if the loss became non-finite
    """

    result: FineTuneResult
    artifacts: dict[str, bytes]
    card: ModelCard | None
    problem: Refusal | None


def output_of(
    facts: RunFacts,
    spec: FineTuneSpec,
    splits: DatasetSplits,
    tuned: FineTuned,
    *,
    curve: TrainingCurve,
    validation: Sequence[Validation],
    evaluated: EvaluationOutput | None,
) -> FineTuneOutput:
    """Assembles everything that leaves the engine.

    ``curve`` is ``validation`` thinned out; the history's file has all of it. ``evaluated``: None if there was no
    evaluation, in which case the notes say why.
    """
    model = facts.model
    history, deltas = tuned.history, tuned.deltas
    card = _card_of(model, deltas, facts.experiment_id) if history.kept else None
    stored = b"" if card is None else deltas.to_bytes()
    artifacts: dict[str, bytes] = {}
    all_notes = [*splits.notes, *_random_among_chosen(spec, tuned), *facts.notes]
    if card is not None:
        artifacts["deltas.safetensors"] = stored
        try:
            artifacts["adapter.zip"] = adapter_zip(model, deltas)
        except Refusal as refusal:
            all_notes.append(f"No adapter for PEFT: {refusal.detail}")
    per_step = [step.seconds for step in history.steps]
    result = FineTuneResult(
        **replace(facts, notes=tuple(all_notes)).fields,
        spec=spec,
        tunable=tunable(
            spec.tuner,
            tuned.selection,
            trained=tuned.trained,
            parameters=parameters_of(model),
            precision=model.precision,
        ),
        split=splits.split,
        ended=history.ended,
        kept=history.kept,
        problem=history.problem,
        curve=curve,
        seconds_per_step=statistics.median(per_step) if per_step else None,
        evaluation=None if evaluated is None else evaluated.evaluation,
        tuned=None if card is None else card.id,
        deltas_bytes=len(stored),
        deltas_sha256=hashlib.sha256(stored).hexdigest() if stored else "",
    )
    artifacts["history.csv"] = history_csv(history.steps, validation, result)
    if evaluated is not None:
        artifacts["judged.csv"] = judged_csv(evaluated.sets, result)
        if evaluated.evaluation.repatched is not None:
            artifacts["repatched.csv"] = repatched_csv(evaluated.evaluation.repatched, result)
    artifacts["result.json"] = result.model_dump_json().encode()
    problem = None
    if history.ended == "not_finite":
        problem = Refusal("training_broke", f"{history.problem} {_kept_weights_note(spec, history.kept)}")
    return FineTuneOutput(result, artifacts, card, problem)


def _card_of(model: LoadedModel, deltas: Deltas, experiment_id: str) -> ModelCard:
    """Catalogue card of the tuned model; its id names the experiment that made it."""
    fields = {
        "id": tuned_model_id(model.card.id, experiment_id),
        "source": "tuned",
        "base": model.card.id,
        "base_revision": model.card.revision,
        "experiment": experiment_id,
    }
    return deltas.card_of(model.card).model_copy(update=fields)


def _kept_weights_note(spec: FineTuneSpec, steps: int) -> str:
    if steps:
        return f"The weights after {steps} steps are kept."
    if spec.tuner in WHOLE_MODEL:
        return (
            "No weights are kept: those before the last step are as large as the model, and the tuner "
            f"{spec.tuner} keeps no copy of them."
        )
    return "No weights are kept."


def _random_among_chosen(spec: FineTuneSpec, tuned: FineTuned) -> tuple[str, ...]:
    if spec.tuner != "random" or tuned.selection is None:
        return ()
    chosen = [str(each) for each in tuned.selection.components if str(each) in spec.components]
    if not chosen:
        return ()
    return (f"Too few other components are left to draw from: {len(chosen)} of the random ones are chosen ones.",)


def splits_hash(splits: DatasetSplits) -> str:
    """SHA-256 of the questions, answers and chat flags of all three sets."""
    sets = (splits.train, splits.validation, splits.test)
    rows = [[[pair.reference, pair.answer, pair.chat] for pair in pairs] for pairs in sets]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def width_of(model: LoadedModel) -> int:
    """Bytes per trained number, and per number of each of its two optimiser moments."""
    return bytes_per_trained(model.precision)
