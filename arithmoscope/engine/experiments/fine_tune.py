"""A whole fine-tuning: splits the questions, trains the components, evaluates the model before and after, writes the
files.

Independent of any server: saving, publishing and cancelling are passed in as functions.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.contracts.tuning_results import TrainingCurve, Validation
from arithmoscope.engine.experiments.chunks import RunCallbacks, Stopped, chunk_key
from arithmoscope.engine.experiments.parent_analysis import ReadArtifact
from arithmoscope.engine.forward.batching import is_out_of_memory
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.engine.tuning.comparison import accuracy_and_loss
from arithmoscope.engine.tuning.evaluate import EvaluationOutput, evaluate
from arithmoscope.engine.tuning.fine_tune import FineTuned, fine_tune
from arithmoscope.engine.tuning.history import TrainingStep
from arithmoscope.engine.tuning.loop import TrainingCallbacks, read_extra_state
from arithmoscope.engine.tuning.output import FineTuneOutput, output_of, splits_hash, width_of
from arithmoscope.engine.tuning.selection import select
from arithmoscope.engine.tuning.training_examples import Example, digest_of, examples_of
from arithmoscope.engine.tuning.tuners import WHOLE_MODEL
from arithmoscope.prompts.sets.dataset_splits import DatasetSplits, overlap_notes, split_dataset

logger = logging.getLogger(__name__)

# Format of a chunk's bytes: raise its number when they change.
_FORMAT = "arithmoscope.fine_tuning.2"
# Questions validated during training.
VALIDATED = 100
# Maximum number of points of a stored curve.
_POINTS = 500
# A checkpoint (values, and two moments each) may cost this many bytes per step; the steps between two are limited to
# this range.
_CHECKPOINT_BYTES = 8 * 2**20
_LEAST_STEPS, _MOST_STEPS = 5, 50


@dataclass
class _Curves:
    """The curves of a training so far: one loss per step, and the validations."""

    losses: list[float] = field(default_factory=list)
    validation: list[Validation] = field(default_factory=list)

    def curve(self) -> TrainingCurve:
        chosen = _spread(len(self.losses), _POINTS)
        return TrainingCurve(
            steps=tuple(number + 1 for number in chosen),
            losses=tuple(self.losses[number] for number in chosen),
            validation=tuple(self.validation[number] for number in _spread(len(self.validation), _POINTS)),
        )


@dataclass(frozen=True)
class _Start:
    """The state that a training starts from: steps taken, curves up to them, and a function that returns the checkpoint
    once; None at the beginning.
    """

    steps: int = 0
    curves: _Curves = field(default_factory=_Curves)
    checkpoint: Callable[[], bytes] | None = None


def run_fine_tune(
    model: LoadedModel,
    spec: FineTuneSpec,
    experiment_id: str,
    *,
    parent: ReadArtifact | None = None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[TrainingCurve], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FineTuneOutput | None:
    """Trains and evaluates both models, or runs until ``should_stop``. ``model`` is left unchanged.

    A chunk's number is the number of steps taken; each chunk holds all that is needed to resume, and a resumed training
    ends with the bits of an uninterrupted one. A run that is stopped during training returns its state without an
    evaluation, or None if no step was taken. ``parent`` changes no number: it only serves to note whether the analysis
    used the questions of the test set.

    Raises Refusal as `split_dataset` and `fine_tune` do, before any training.
    """
    callbacks = RunCallbacks(save_chunk, on_progress, should_stop)
    chats = [prompts.chat for prompts in (spec.prompts, spec.validation, spec.test) if prompts is not None]
    splits = split_dataset(spec, model.text, model.chat if any(chats) else None)
    splits = replace(splits, notes=(*splits.notes, *_seen_before(model, splits, parent)))
    validation_examples = examples_of(model, splits.validation[:VALIDATED]) if splits.validation else ()
    examples_of(model, splits.test)  # refuses a test set that cannot be encoded before training starts
    save_every = _save_every(model, spec)
    key = _training_key(model, spec, splits)
    start = _resumed_from(saved_chunks, key)
    curves = start.curves
    del saved_chunks  # they are large and used once
    try:
        if start.checkpoint is None:
            on_progress(Progress(stage="before", done=0, total=len(validation_examples) or None))
            callbacks.check_stop()
            _validate(curves, model, validation_examples, 0)
            on_partial(curves.curve())
        tuned = _train(model, spec, splits, validation_examples, callbacks, key, start, save_every, on_partial)
    except Stopped:
        return None
    if not tuned.history.steps:
        return None
    on_partial(curves.curve())
    evaluated, cancelled, notes = _evaluate(model, tuned, splits, callbacks)
    on_progress(Progress(stage="saving"))
    facts = RunFacts(
        model=model,
        experiment_id=experiment_id,
        prompt_set_hash=splits_hash(splits),
        notes=notes,
        complete=tuned.history.ended == "finished" and not cancelled,
        created_at=clock(),
        seconds=callbacks.seconds,
        chunk_pairs=spec.batch_size,
    )
    return output_of(
        facts, spec, splits, tuned, curve=curves.curve(), validation=curves.validation, evaluated=evaluated
    )


def _seen_before(model: LoadedModel, splits: DatasetSplits, parent: ReadArtifact | None) -> tuple[str, ...]:
    """Notes on the analysis that the components come from. Empty if it was deleted, is not finished, or is of another
    version: the training is no worse for it.
    """
    if parent is None:
        return ()
    try:
        analysed = PathPatchingResult.model_validate_json(parent("result.json")).spec.prompts
        return overlap_notes(splits, analysed, model.text, model.chat if analysed.chat else None)
    except (Refusal, ValueError):
        return ()


def _training_key(model: LoadedModel, spec: FineTuneSpec, splits: DatasetSplits) -> list[str]:
    """Everything that a chunk's bits depend on. A set counts, as another version of the program may draw it
    differently.
    """
    spec_json = spec.model_dump_json(exclude={"parent"})
    sets = (splits.train, splits.validation[:VALIDATED])
    data = "".join(digest_of(examples_of(model, pairs)) if pairs else "" for pairs in sets)
    return [*chunk_key(model, _FORMAT), hashlib.sha256(f"{spec_json} {data}".encode()).hexdigest()]


def _resumed_from(saved: Mapping[int, bytes], key: Sequence[str]) -> _Start:
    """The newest matching chunk; the beginning if there is none."""
    for number in sorted(saved, reverse=True):
        facts = read_extra_state(saved[number]) or {}
        if facts.get("made") == key:
            validation = [Validation.model_validate(each) for each in facts["validation"]]
            return _Start(number, _Curves(facts["losses"], validation), [saved[number]].pop)
    return _Start()


def _train(
    model: LoadedModel,
    spec: FineTuneSpec,
    splits: DatasetSplits,
    validation_examples: Sequence[Example],
    callbacks: RunCallbacks,
    key: Sequence[str],
    start: _Start,
    save_every: int,
    on_partial: Callable[[TrainingCurve], None],
) -> FineTuned:
    started, curves = time.monotonic(), start.curves

    def report_steps(done: int) -> None:
        fresh = done - start.steps
        left = (time.monotonic() - started) / fresh * (spec.steps - done) if fresh else None
        callbacks.on_progress(Progress(stage="steps", done=done, total=spec.steps, eta_s=left))

    def on_step(step: TrainingStep, now: LoadedModel) -> None:
        done = step.number + 1
        curves.losses.append(step.loss)
        if done % spec.validate_every == 0 or done == spec.steps:
            _validate(curves, now, validation_examples, done)
        on_partial(curves.curve())
        report_steps(done)

    def extra_state() -> dict[str, Any]:
        validation = [each.model_dump() for each in curves.validation]
        return {"made": list(key), "losses": curves.losses, "validation": validation}

    report_steps(start.steps)
    return fine_tune(
        model,
        () if spec.tuner in WHOLE_MODEL else spec.components,
        splits.train,
        settings=spec,
        tuner=spec.tuner,
        seed=spec.seed,
        callbacks=TrainingCallbacks(
            on_step=on_step,
            should_stop=callbacks.should_stop,
            save=lambda checkpoint: callbacks.save_chunk(len(curves.losses), checkpoint),
            save_every=save_every,
            extra_state=extra_state,
        ),
        resume=start.checkpoint,
    )


def _save_every(model: LoadedModel, spec: FineTuneSpec) -> int:
    """Number of steps between checkpoints. Raises Refusal as `select` does."""
    if spec.tuner in WHOLE_MODEL:
        return _MOST_STEPS
    size = 3 * width_of(model) * select(model, spec.components, spec.tune, biases=spec.biases).parameters
    return min(_MOST_STEPS, max(_LEAST_STEPS, size // _CHECKPOINT_BYTES))


def _validate(curves: _Curves, model: LoadedModel, validation_examples: Sequence[Example], step: int) -> None:
    """Validates the model. A non-finite loss is left for the training loop to report."""
    if not validation_examples:
        return
    accuracy, loss = accuracy_and_loss(model, validation_examples)
    if loss == loss and abs(loss) != float("inf"):
        curves.validation.append(Validation(step=step, accuracy=accuracy, loss=loss))


def _evaluate(
    model: LoadedModel, tuned: FineTuned, splits: DatasetSplits, callbacks: RunCallbacks
) -> tuple[EvaluationOutput | None, bool, tuple[str, ...]]:
    """The evaluation of both models, whether it was cancelled, and notes. There is none if the training was stopped or
    changed nothing.
    """
    if tuned.history.ended == "stopped" or tuned.history.kept == 0:
        return None, False, ()

    callback_errors: list[Exception] = []

    def call(callback: Callable[[], None]) -> None:
        """Runs a callback; its exceptions are the caller's own and are passed through."""
        try:
            callback()
        except Exception as error:
            callback_errors.append(error)
            raise

    def report(done: int, total: int) -> None:
        call(lambda: callbacks.on_progress(Progress(stage="after", done=done, total=total)))

    try:
        check_stop = partial(call, callbacks.check_stop)
        evaluated = evaluate(model, tuned.model, splits.test, splits.train, check_stop=check_stop, progress=report)
    except Stopped:
        return None, True, ("Cancelled during the evaluation; the training had ended.",)
    # The page recognises these notes by how they begin.
    except Refusal as refusal:  # hours of training are not lost over it
        return None, False, (f"It could not be evaluated: {refusal}",)
    except Exception as error:
        if any(error is each for each in callback_errors):
            raise
        if is_out_of_memory(error):
            return None, False, ("It could not be evaluated: memory ran out.",)
        logger.exception("a trained model could not be evaluated")
        return None, False, (f"It could not be evaluated: {type(error).__name__}. The log has the details.",)
    return evaluated, False, evaluated.notes


def _spread(number: int, most: int) -> list[int]:
    """Indices of at most ``most`` items of a list, evenly spread, the first and the last included."""
    if number <= most:
        return list(range(number))
    return sorted({round(index * (number - 1) / (most - 1)) for index in range(most)})
