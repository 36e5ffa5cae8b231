"""The training loop: the same for every tuner, whatever it lets move.

Deterministic: the same settings, seed and data give the same weights on the same machine, and a training that goes on
from a checkpoint ends with the same bits as one that was never interrupted. (On a GPU torch's attention may add up in
another order each time, in the backward pass; then they agree to its rounding.)

A checkpoint is written, and weights are given back, only when a loss has been computed with them that is finite: the
last update of all is looked at, too.
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
from arithmoscope.engine.tuning.answers import Example, answers_loss, batches, digest_of, pieces
from arithmoscope.engine.tuning.gradient_checkpointing import checkpointed
from arithmoscope.engine.tuning.history import Ending, History, Schedule, Step, rate_at
from arithmoscope.engine.tuning.trainee import Trainee

_FORMAT = "arithmoscope.training.1"
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Settings:
    """How to train. ``batch_size`` pairs a step, run in ``accumulate`` parts; ``warmup``: share of the steps over which
    the rate rises; ``clip``: the longest gradient, None for any length."""

    steps: int
    learning_rate: float
    batch_size: int
    weight_decay: float = 0.0
    seed: int = 0
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    clip: float | None = 1.0
    accumulate: int = 1
    checkpointing: bool = False


def train(
    trainee: Trainee,
    examples: Sequence[Example],
    settings: Settings,
    *,
    told: dict[str, Any],
    save: Callable[[bytes], None] | None = None,
    save_every: int = 50,
    beside: Callable[[], dict[str, Any]] | None = None,
    resume: bytes | Callable[[], bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_step: Callable[[Step, LoadedModel], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> History:
    """Moves the trainee's values. ``told`` is what a checkpoint must agree with besides settings and data;
    ``beside()`` what it holds besides, as `beside_of` gives it.

    Refuses (``not_finite``) a model whose first loss is none, and (``bad_request``) a checkpoint of another training.
    """
    told = {**told, "settings": asdict(settings), "data": digest_of(examples)}
    optimiser = _optimiser(trainee, settings)
    # Nothing here holds the bytes of a checkpoint: it is three times as large as what moves.
    steps: list[Step] = []
    if resume is not None:
        steps = _take_up(resume() if callable(resume) else resume, trainee, optimiser, told)
    warm = math.ceil(settings.warmup * settings.steps)
    ended: Ending = "finished"
    problem: str | None = None
    before: list[Tensor] | None = None  # the values that the last update began with

    def keep() -> None:
        if save is not None:
            save(_checkpoint(trainee, optimiser, told, steps, {} if beside is None else beside()))

    with evaluating(trainee.model.hf), trainee.active(), torch.enable_grad():
        stream = batches(examples, settings.batch_size, settings.seed, len(steps))
        unsaved, batch = 0, None
        for number in range(len(steps), settings.steps):
            if should_stop is not None and should_stop():
                ended = "stopped"
                break
            began = time.perf_counter()
            batch = next(stream)
            loss, norm = _gradients(trainee, batch, settings)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                ended, problem = "not_finite", _said(number, loss, norm)
                break
            if unsaved >= save_every:  # here these weights have shown a finite loss
                keep()
                unsaved = 0
            if trainee.first is None:
                before = [value.detach().clone() for value in trainee.values]
            rate = settings.learning_rate * rate_at(number, settings.steps, warm, settings.schedule)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            optimiser.step()
            trainee.settle()
            optimiser.zero_grad(set_to_none=True)
            _wait(trainee)
            steps.append(Step(number, loss, rate, norm, time.perf_counter() - began))
            unsaved += 1
            if on_step is not None:
                on_step(steps[-1], trainee.model)
            if progress is not None:
                progress(len(steps), settings.steps)
        optimiser.zero_grad(set_to_none=True)
        if ended != "not_finite" and unsaved and batch is not None:
            # Some attention kernels read a query that is no number as one that sees nothing: look at the values, too.
            whole = all(bool(value.isfinite().all()) for value in trainee.values)
            closing = _loss(trainee, batch, settings) if whole else math.nan
            if not math.isfinite(closing):
                ended, problem = "not_finite", _said(len(steps), closing, 0.0)
            else:
                keep()
        kept = len(steps) if ended != "not_finite" else _back(trainee, before, len(steps))
    if kept == 0 and not steps and ended == "not_finite":
        raise Refusal("not_finite", f"The model's loss is not finite before any step: {problem}")
    return History(tuple(steps), ended, kept, problem)


def _gradients(trainee: Trainee, batch: list[Example], settings: Settings) -> tuple[float, float]:
    """The batch's loss, and the length of its gradient, which is clipped."""
    tokens = sum(each.answers for each in batch)
    total = 0.0
    with checkpointed(trainee.model, settings.checkpointing):
        for part in pieces(trainee.model, batch, settings.accumulate):
            loss = answers_loss(trainee.model, part) / tokens
            loss.backward()
            total += float(loss.detach())
    norm = nn.utils.clip_grad_norm_(trainee.values, math.inf if settings.clip is None else settings.clip)
    return total, float(norm)


@torch.no_grad()
def _loss(trainee: Trainee, batch: list[Example], settings: Settings) -> float:
    parts = pieces(trainee.model, batch, settings.accumulate)
    return sum(float(answers_loss(trainee.model, part)) for part in parts) / sum(each.answers for each in batch)


def _optimiser(trainee: Trainee, settings: Settings) -> torch.optim.AdamW:
    by_factor: dict[float, list[nn.Parameter]] = {}
    for value, factor in zip(trainee.values, trainee.rates, strict=True):
        by_factor.setdefault(factor, []).append(value)
    groups = [{"params": values, "lr": 0.0, "factor": factor} for factor, values in by_factor.items()]
    fused = all(value.device.type == "cuda" for value in trainee.values)  # no copy of everything in between
    return torch.optim.AdamW(groups, betas=_BETAS, eps=_EPSILON, weight_decay=settings.weight_decay, fused=fused)


@torch.no_grad()
def _back(trainee: Trainee, before: list[Tensor] | None, made: int) -> int:
    """Puts the last values back with which a loss was finite; how many steps they are from the beginning."""
    values = before if trainee.first is None else trainee.first()
    if values is None:  # no step was made here
        return made
    for value, good in zip(trainee.values, values, strict=True):
        value.copy_(good)
    trainee.settle()
    return made - 1 if trainee.first is None else 0


def beside_of(checkpoint: bytes) -> dict[str, Any] | None:
    """What ``beside()`` gave when these bytes were written; None where they are no checkpoint."""
    try:
        return json_fields(checkpoint, _FORMAT).get("beside")
    except ValueError:
        return None


def _checkpoint(
    trainee: Trainee, optimiser: torch.optim.AdamW, told: dict[str, Any], steps: list[Step], beside: dict[str, Any]
) -> bytes:
    """Everything that the steps to come depend on: values, moments, and how many steps were made. The order of the
    data follows from the seed."""
    held: dict[str, Any] = {"told": told, "steps": [asdict(step) for step in steps], "beside": beside}
    for number, value in enumerate(trainee.values):
        state: dict[str, Tensor] = optimiser.state.get(value, {})  # none where no gradient ever came
        held[f"values.{number}"] = value.detach().cpu()
        held |= {f"{name}.{number}": state[name].cpu() for name in _MOMENTS if name in state}
    return pack(_FORMAT, held)


@torch.no_grad()
def _take_up(data: bytes, trainee: Trainee, optimiser: torch.optim.AdamW, told: dict[str, Any]) -> list[Step]:
    try:
        held = unpack(data, _FORMAT)
        other = sorted(name for name in told if held["told"].get(name) != told[name])
        if other:
            raise Refusal(
                "bad_request",
                f"The checkpoint is of another fine-tuning: its {', '.join(other)} differ.",
                "Ask as it was asked then, or begin anew.",
            )
        steps = [Step(**step) for step in held["steps"]]
        values = [held[f"values.{number}"] for number in range(len(trainee.values))]
        # The optimiser counts through its groups.
        number_of = {id(value): number for number, value in enumerate(trainee.values)}
        inside = [number_of[id(value)] for group in optimiser.param_groups for value in group["params"]]
        moved = [(at, number) for at, number in enumerate(inside) if f"step.{number}" in held]
        state = {at: {name: held[f"{name}.{number}"] for name in _MOMENTS} for at, number in moved}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal("bad_request", "These bytes are no checkpoint of a fine-tuning.", "Begin anew.") from error
    for value, stored in zip(trainee.values, values, strict=True):
        value.copy_(stored)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    trainee.settle()
    return steps


def _said(step: int, loss: float, norm: float) -> str:
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's length is {norm}"
    return f"After {step} steps {what}. A smaller learning rate, a longer warm-up or clipping helps."


def _wait(trainee: Trainee) -> None:
    if trainee.model.device.type == "cuda":
        torch.cuda.synchronize(trainee.model.device)
