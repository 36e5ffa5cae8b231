"""A whole fine-tuning: its questions split, its components trained, what it can do before and after, and its files.

It knows no server: what is saved, published and cancelled comes in as functions.
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
from arithmoscope.contracts.results import PathPatchingResult
from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_results import TrainingCurve, Validation
from arithmoscope.engine.experiments.chunks import Course, Stopped, made_of
from arithmoscope.engine.experiments.parent_analysis import Read
from arithmoscope.engine.forward.batching import is_out_of_memory
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.answers import Example, digest_of, examples_of
from arithmoscope.engine.tuning.evaluate import Evaluated, evaluate
from arithmoscope.engine.tuning.fine_tune import FineTuned, fine_tune
from arithmoscope.engine.tuning.history import Step
from arithmoscope.engine.tuning.loop import beside_of
from arithmoscope.engine.tuning.output import FineTuneOutput, output_of, width_of
from arithmoscope.engine.tuning.selection import select
from arithmoscope.engine.tuning.side_by_side import answered
from arithmoscope.engine.tuning.tuners import WHOLE
from arithmoscope.prompts.sets.dataset_splits import Lessons, lessons_of, seen_before

logger = logging.getLogger(__name__)

# Of a chunk's bytes: raise its number when they change.
_FORMAT = "arithmoscope.fine_tuning.2"
# Questions that are looked at while it trains.
VALIDATED = 100
# Steps of a curve that are told.
_POINTS = 500
# A checkpoint (values, and two moments each) is worth so many bytes a step, and this many steps at least and at most.
_CHECKPOINT_BYTES = 8 * 2**20
_LEAST_STEPS, _MOST_STEPS = 5, 50


@dataclass
class _Seen:
    """What there is to tell of a training that goes on: a loss a step, and what was validated."""

    losses: list[float] = field(default_factory=list)
    validation: list[Validation] = field(default_factory=list)

    def curve(self) -> TrainingCurve:
        chosen = _spread(len(self.losses), _POINTS)
        return TrainingCurve(
            steps=tuple(number + 1 for number in chosen),
            losses=tuple(self.losses[number] for number in chosen),
            validation=tuple(self.validation[number] for number in _spread(len(self.validation), _POINTS)),
        )


def run_fine_tune(
    model: LoadedModel,
    spec: FineTuneSpec,
    experiment_id: str,
    *,
    parent: Read | None = None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[TrainingCurve], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FineTuneOutput | None:
    """Train, and ask both models, or until ``should_stop``. ``model`` is left as it is.

    A chunk's number is how many steps were made; each holds all that is needed to go on, and ends with the bits of an
    undisturbed training. One that is stopped while it trains gives what it has, without an evaluation, and None where
    no step was made. ``parent`` moves no number: of it is said whether it asked about what is judged by.

    Refuses as `lessons_of` and `fine_tune` do, before anything is trained.
    """
    course = Course(save_chunk, on_progress, should_stop)
    chats = [asked.chat for asked in (spec.prompts, spec.validation, spec.test) if asked is not None]
    lessons = lessons_of(spec, model.text, model.chat if any(chats) else None)
    lessons = replace(lessons, notes=(*lessons.notes, *_seen_before(model, lessons, parent)))
    watched = examples_of(model, lessons.validation[:VALIDATED]) if lessons.validation else ()
    examples_of(model, lessons.test)  # refuses now what it cannot be judged by
    save_every = _save_every(model, spec)
    made = _made_of(model, spec, lessons)
    done, seen, resume = _taken_up(saved_chunks, made)
    del saved_chunks  # they are large, and taken up once
    try:
        if resume is None:
            on_progress(Progress(stage="before", done=0, total=len(watched) or None))
            course.go_on()
            _look(seen, model, watched, 0)
            on_partial(seen.curve())
        tuned = _train(model, spec, lessons, watched, course, made, done, seen, resume, save_every, on_partial)
    except Stopped:
        return None
    if not tuned.history.steps:
        return None
    on_partial(seen.curve())
    evaluated, cancelled, notes = _evaluated(model, tuned, lessons, course)
    on_progress(Progress(stage="saving"))
    return output_of(
        model=model,
        spec=spec,
        experiment_id=experiment_id,
        lessons=lessons,
        tuned=tuned,
        curve=seen.curve(),
        validation=seen.validation,
        evaluated=evaluated,
        complete=tuned.history.ended == "finished" and not cancelled,
        notes=notes,
        created_at=clock(),
        seconds=course.seconds,
    )


def _seen_before(model: LoadedModel, lessons: Lessons, parent: Read | None) -> tuple[str, ...]:
    """What is said of the analysis that the components come from. Nothing where that is deleted, not finished, or of
    another version: the training is no worse for it."""
    if parent is None:
        return ()
    try:
        analysed = PathPatchingResult.model_validate_json(parent("result.json")).spec.prompts
        return seen_before(lessons, analysed, model.text, model.chat if analysed.chat else None)
    except (Refusal, ValueError):
        return ()


def _made_of(model: LoadedModel, spec: FineTuneSpec, lessons: Lessons) -> list[str]:
    """What moves the bits of a chunk: it may be of a set that this version of the program draws in another way."""
    asked = spec.model_dump_json(exclude={"parent"})
    sets = (lessons.train, lessons.validation[:VALIDATED])
    data = "".join(digest_of(examples_of(model, pairs)) if pairs else "" for pairs in sets)
    return [*made_of(model, _FORMAT), hashlib.sha256(f"{asked} {data}".encode()).hexdigest()]


def _taken_up(saved: Mapping[int, bytes], made: Sequence[str]) -> tuple[int, _Seen, Callable[[], bytes] | None]:
    """After how many steps the newest chunk was written, what had been seen by then, and what gives it, once."""
    for number in sorted(saved, reverse=True):
        facts = beside_of(saved[number]) or {}
        if facts.get("made") == made:
            validation = [Validation.model_validate(each) for each in facts["validation"]]
            return number, _Seen(facts["losses"], validation), [saved[number]].pop
    return 0, _Seen(), None


def _train(
    model: LoadedModel,
    spec: FineTuneSpec,
    lessons: Lessons,
    watched: Sequence[Example],
    course: Course,
    made: Sequence[str],
    begun: int,
    seen: _Seen,
    resume: Callable[[], bytes] | None,
    save_every: int,
    on_partial: Callable[[TrainingCurve], None],
) -> FineTuned:
    since = time.monotonic()

    def told(done: int) -> None:
        fresh = done - begun
        left = (time.monotonic() - since) / fresh * (spec.steps - done) if fresh else None
        course.on_progress(Progress(stage="steps", done=done, total=spec.steps, eta_s=left))

    def on_step(step: Step, now: LoadedModel) -> None:
        done = step.number + 1
        seen.losses.append(step.loss)
        if done % spec.validate_every == 0 or done == spec.steps:
            _look(seen, now, watched, done)
        on_partial(seen.curve())
        told(done)

    def beside() -> dict[str, Any]:
        validation = [each.model_dump() for each in seen.validation]
        return {"made": list(made), "losses": seen.losses, "validation": validation}

    told(begun)
    return fine_tune(
        model,
        () if spec.tuner in WHOLE else spec.components,
        lessons.train,
        steps=spec.steps,
        learning_rate=spec.learning_rate,
        batch_size=spec.batch_size,
        weight_decay=spec.weight_decay,
        seed=spec.seed,
        tune=spec.tune,
        schedule=spec.schedule,
        warmup=spec.warmup,
        clip=spec.clip,
        head_scale=spec.head_scale,
        biases=spec.biases,
        accumulate=spec.accumulate,
        checkpointing=spec.checkpointing,
        tuner=spec.tuner,
        save=lambda checkpoint: course.save_chunk(len(seen.losses), checkpoint),
        save_every=save_every,
        beside=beside,
        resume=resume,
        on_step=on_step,
        should_stop=course.should_stop,
    )


def _save_every(model: LoadedModel, spec: FineTuneSpec) -> int:
    """How many steps a checkpoint is apart. Refuses as `select` does."""
    if spec.tuner in WHOLE:
        return _MOST_STEPS
    size = 3 * width_of(model) * select(model, spec.components, spec.tune, biases=spec.biases).parameters
    return min(_MOST_STEPS, max(_LEAST_STEPS, size // _CHECKPOINT_BYTES))


def _look(seen: _Seen, model: LoadedModel, watched: Sequence[Example], step: int) -> None:
    """Validates. A loss that is no number is left to the training to stumble over."""
    if not watched:
        return
    accuracy, loss = answered(model, watched)
    if loss == loss and abs(loss) != float("inf"):
        seen.validation.append(Validation(step=step, accuracy=accuracy, loss=loss))


def _evaluated(
    model: LoadedModel, tuned: FineTuned, lessons: Lessons, course: Course
) -> tuple[Evaluated | None, bool, tuple[str, ...]]:
    """What both models answer, whether it was cancelled instead, and what is said of it. Nothing is asked where the
    training was stopped, or has changed nothing."""
    if tuned.history.ended == "stopped" or tuned.history.kept == 0:
        return None, False, ()

    told: list[Exception] = []

    def let(act: Callable[[], None]) -> None:
        """What whoever started it raises is theirs, and goes through."""
        try:
            act()
        except Exception as error:
            told.append(error)
            raise

    def report(done: int, total: int) -> None:
        let(lambda: course.on_progress(Progress(stage="after", done=done, total=total)))

    try:
        go_on = partial(let, course.go_on)
        found = evaluate(model, tuned.model, lessons.test, lessons.train, check_stop=go_on, progress=report)
    except Stopped:
        return None, True, ("It was cancelled while it was evaluated; the training had ended.",)
    except Refusal as refusal:  # hours of training are not lost for it
        return None, False, (f"It could not be evaluated: {refusal}",)
    except Exception as error:
        if any(error is each for each in told):
            raise
        if is_out_of_memory(error):
            return None, False, ("It could not be evaluated: memory ran out.",)
        logger.exception("a trained model could not be evaluated")
        return None, False, (f"It could not be evaluated: {type(error).__name__}. The log says more.",)
    return found, False, found.notes


def _spread(number: int, most: int) -> list[int]:
    """Places of at most so many of a list, evenly spread, the first and the last included."""
    if number <= most:
        return list(range(number))
    return sorted({round(at * (number - 1) / (most - 1)) for at in range(most)})
