"""The training loop, the same for every tuner.

Deterministic: the same settings, seed and data give the same weights on the same machine, and a training resumed from a
checkpoint ends with the same bits as one that was never interrupted. (On a GPU the backward pass of torch's attention
may sum in another order each time; then the two agree to rounding.)

A checkpoint is written, and weights are returned, only after a finite loss has been computed with them; this includes
the weights after the last update.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import json_fields, pack, unpack
from arithmoscope.engine.tuning.gradient_checkpointing import checkpointed
from arithmoscope.engine.tuning.history import Ending, Schedule, TrainingHistory, TrainingStep, rate_at
from arithmoscope.engine.tuning.trainable import TrainableModel
from arithmoscope.engine.tuning.training_examples import Example, answer_loss, batches, digest_of, micro_batches

_FORMAT = "arithmoscope.training.1"
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training.

    batch_size  pairs a step, run in ``accumulate`` micro-batches
    warmup      fraction of the steps over which the learning rate rises
    clip        maximum gradient norm; None: no clipping
    """

    steps: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    seed: int
    schedule: Schedule
    warmup: float
    clip: float | None
    accumulate: int
    checkpointing: bool


@dataclass(frozen=True)
class TrainingCallbacks:
    """Callbacks of a training.

    Attributes:
        on_step: Called after each step with its loss and the model in its current state.
        should_stop: If it returns True, training stops after the step and returns the current state.
        save: Called with the bytes of a checkpoint every ``save_every`` steps and at the end.
        save_every: Steps between checkpoints.
        extra_state: Returns JSON to store in each checkpoint.

    Example:
        >>> checkpoints = []
        >>> callbacks = am.TrainingCallbacks(save=checkpoints.append, save_every=1)
        >>> tuned = am.fine_tune(model, ["L1H2"], pairs, steps=2, batch_size=4, callbacks=callbacks)
        >>> tuned = am.fine_tune(model, ["L1H2"], pairs, steps=2, batch_size=4, resume=checkpoints[0])
    """

    on_step: Callable[[TrainingStep, LoadedModel], None] | None = None
    should_stop: Callable[[], bool] | None = None
    save: Callable[[bytes], None] | None = None
    save_every: int = 50
    extra_state: Callable[[], dict[str, Any]] | None = None


def train(
    trainable: TrainableModel,
    examples: Sequence[Example],
    settings: TrainingSettings,
    *,
    identity: dict[str, Any],
    callbacks: TrainingCallbacks,
    resume: bytes | Callable[[], bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingHistory:
    """Trains the values of ``trainable``.

    Args:
        identity: Facts that a resumed checkpoint must match, in addition to settings and data.
        callbacks: `read_extra_state` reads back what its ``extra_state`` returned.

    Raises:
        Refusal: ``not_finite`` if the first loss is non-finite; ``bad_request`` for a checkpoint of another training.
    """
    identity = {**identity, "settings": asdict(settings), "data": digest_of(examples)}
    optimiser = _optimiser(trainable, settings)
    # No local name refers to the bytes of a checkpoint: it is three times as large as the trained values.
    steps: list[TrainingStep] = []
    if resume is not None:
        steps = _restore(resume() if callable(resume) else resume, trainable, optimiser, identity)
    warm = math.ceil(settings.warmup * settings.steps)
    ended: Ending = "finished"
    problem: str | None = None
    before: list[Tensor] | None = None  # the values before the last update

    def save_checkpoint() -> None:
        if callbacks.save is not None:
            extra_state = {} if callbacks.extra_state is None else callbacks.extra_state()
            callbacks.save(_checkpoint(trainable, optimiser, identity, steps, extra_state))

    with evaluating(trainable.model.hf), trainable.gradients(), torch.enable_grad():
        stream = batches(examples, settings.batch_size, settings.seed, len(steps))
        unsaved, batch = 0, None
        for number in range(len(steps), settings.steps):
            if callbacks.should_stop is not None and callbacks.should_stop():
                ended = "stopped"
                break
            start = time.perf_counter()
            batch = next(stream)
            loss, norm = _gradients(trainable, batch, settings)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                ended, problem = "not_finite", _problem_text(number, loss, norm)
                break
            if unsaved >= callbacks.save_every:  # these weights have just given a finite loss
                save_checkpoint()
                unsaved = 0
            if trainable.initial_values is None:
                before = [value.detach().clone() for value in trainable.values]
            rate = settings.learning_rate * rate_at(number, settings.steps, warm, settings.schedule)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            optimiser.step()
            trainable.write_back()
            optimiser.zero_grad(set_to_none=True)
            _synchronise(trainable)
            steps.append(TrainingStep(number, loss, rate, norm, time.perf_counter() - start))
            unsaved += 1
            if callbacks.on_step is not None:
                callbacks.on_step(steps[-1], trainable.model)
            if progress is not None:
                progress(len(steps), settings.steps)
        optimiser.zero_grad(set_to_none=True)
        if ended != "not_finite" and unsaved and batch is not None:
            # Some attention kernels treat a non-finite query as one that attends to nothing: check the values, too.
            finite = all(bool(value.isfinite().all()) for value in trainable.values)
            closing = _loss(trainable, batch, settings) if finite else math.nan
            if not math.isfinite(closing):
                ended, problem = "not_finite", _problem_text(len(steps), closing, 0.0)
            else:
                save_checkpoint()
        kept = len(steps) if ended != "not_finite" else _roll_back(trainable, before, len(steps))
    if kept == 0 and not steps and ended == "not_finite":
        raise Refusal("not_finite", f"The model's loss is not finite before any step: {problem}")
    return TrainingHistory(tuple(steps), ended, kept, problem)


def _gradients(trainable: TrainableModel, batch: list[Example], settings: TrainingSettings) -> tuple[float, float]:
    """The batch's loss and its gradient norm before clipping; the gradients are clipped."""
    tokens = sum(each.answer_length for each in batch)
    total = 0.0
    with checkpointed(trainable.model, settings.checkpointing):
        for micro_batch in micro_batches(trainable.model, batch, settings.accumulate):
            loss = answer_loss(trainable.model, micro_batch) / tokens
            loss.backward()
            total += float(loss.detach())
    norm = nn.utils.clip_grad_norm_(trainable.values, math.inf if settings.clip is None else settings.clip)
    return total, float(norm)


@torch.no_grad()
def _loss(trainable: TrainableModel, batch: list[Example], settings: TrainingSettings) -> float:
    chunks = micro_batches(trainable.model, batch, settings.accumulate)
    total = sum(float(answer_loss(trainable.model, chunk)) for chunk in chunks)
    return total / sum(each.answer_length for each in batch)


def _optimiser(trainable: TrainableModel, settings: TrainingSettings) -> torch.optim.AdamW:
    by_factor: dict[float, list[nn.Parameter]] = {}
    for value, factor in zip(trainable.values, trainable.rates, strict=True):
        by_factor.setdefault(factor, []).append(value)
    groups = [{"params": values, "lr": 0.0, "factor": factor} for factor, values in by_factor.items()]
    fused = all(value.device.type == "cuda" for value in trainable.values)  # no temporary copy of everything
    return torch.optim.AdamW(groups, betas=_BETAS, eps=_EPSILON, weight_decay=settings.weight_decay, fused=fused)


@torch.no_grad()
def _roll_back(trainable: TrainableModel, before: list[Tensor] | None, taken: int) -> int:
    """Restores the last values that gave a finite loss; returns the number of steps they include."""
    values = before if trainable.initial_values is None else trainable.initial_values()
    if values is None:  # no step was taken in this call
        return taken
    for value, good in zip(trainable.values, values, strict=True):
        value.copy_(good)
    trainable.write_back()
    return taken - 1 if trainable.initial_values is None else 0


def read_extra_state(checkpoint: bytes) -> dict[str, Any] | None:
    """The output of ``extra_state()`` when these bytes were written; None if they are not a checkpoint."""
    try:
        return json_fields(checkpoint, _FORMAT).get("beside")
    except ValueError:
        return None


def _checkpoint(
    trainable: TrainableModel,
    optimiser: torch.optim.AdamW,
    identity: dict[str, Any],
    steps: list[TrainingStep],
    extra_state: dict[str, Any],
) -> bytes:
    """Everything that the remaining steps depend on: values, moments, and the number of steps taken. The order of the
    data follows from the seed.
    """
    fields: dict[str, Any] = {"told": identity, "steps": [asdict(step) for step in steps], "beside": extra_state}
    for number, value in enumerate(trainable.values):
        state: dict[str, Tensor] = optimiser.state.get(value, {})  # empty for a value that never had a gradient
        fields[f"values.{number}"] = value.detach().cpu()
        fields |= {f"{name}.{number}": state[name].cpu() for name in _MOMENTS if name in state}
    return pack(_FORMAT, fields)


@torch.no_grad()
def _restore(
    data: bytes, trainable: TrainableModel, optimiser: torch.optim.AdamW, identity: dict[str, Any]
) -> list[TrainingStep]:
    try:
        fields = unpack(data, _FORMAT)
        differing = sorted(name for name in identity if fields["told"].get(name) != identity[name])
        if differing:
            raise Refusal(
                "bad_request",
                f"The checkpoint belongs to another fine-tuning: its {', '.join(differing)} differ.",
                "Use the settings and data of that training, or start a new one.",
            )
        steps = [TrainingStep(**step) for step in fields["steps"]]
        values = [fields[f"values.{number}"] for number in range(len(trainable.values))]
        # The optimiser numbers parameters in the order of its groups.
        number_of = {id(value): number for number, value in enumerate(trainable.values)}
        in_groups = [number_of[id(value)] for group in optimiser.param_groups for value in group["params"]]
        with_state = [(index, number) for index, number in enumerate(in_groups) if f"step.{number}" in fields]
        state = {index: {name: fields[f"{name}.{number}"] for name in _MOMENTS} for index, number in with_state}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(
            "bad_request", "These bytes are not a checkpoint of a fine-tuning.", "Start the training again."
        ) from error
    for value, stored in zip(trainable.values, values, strict=True):
        value.copy_(stored)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    trainable.write_back()
    return steps


def _problem_text(step: int, loss: float, norm: float) -> str:
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient norm is {norm}"
    return f"After {step} steps {what}. A smaller learning rate, a longer warm-up or gradient clipping helps."


def _synchronise(trainable: TrainableModel) -> None:
    if trainable.model.device.type == "cuda":
        torch.cuda.synchronize(trainable.model.device)
