"""From a spec to a row: everything that can be refused is refused before the row exists."""

from __future__ import annotations

import logging

from arithmoscope.contracts.experiments import FINAL_STATES, Experiment, ExperimentEdit, Priority, State
from arithmoscope.contracts.log_context import working_on
from arithmoscope.contracts.specs import ExperimentSpec, KnockoutSpec, experiment_key
from arithmoscope.store.artifacts import RESULT
from arithmoscope_api.context import Context
from arithmoscope_api.validation import question_of

logger = logging.getLogger(__name__)


def submit(
    ctx: Context, spec: ExperimentSpec, *, asked_by: str = "", priority: Priority = "normal", name: str = ""
) -> tuple[Experiment, bool]:
    """The experiment of a spec and whether it is new. The same question gets the same experiment.

    ``asked_by`` is whose quota a new one counts for.
    """
    question = question_of(ctx, spec)
    card, chat = question.card, question.chat(ctx)
    revision = card.revision if chat is None else f"{card.revision} {chat.model_dump_json()}"
    if isinstance(spec, KnockoutSpec):
        # Of the same analysis: it may have been stopped, and have run to its end since.
        revision = f"{revision} {ctx.store.artifact_info(spec.parent, RESULT).sha256}"
    key = experiment_key(spec, revision=revision, dtype=ctx.config.dtype, device_kind=ctx.config.device)
    asked_before = ctx.store.find(key)
    if asked_before is not None:
        return asked_before, False
    # Parsing and tokenising a large set takes a while: of many who ask the same at once, one does it.
    with ctx.turns.of(key):
        asked_before = ctx.store.find(key)
        if asked_before is not None:
            return asked_before, False
        question.refuse_impossible(ctx)
        experiment, is_new = ctx.store.submit(
            spec,
            key=key,
            model=card.id,
            parent=question.parent,
            asked_by=asked_by,
            priority=priority,
            name=name,
            quota=ctx.config.quota or None,
        )
    if is_new:
        with working_on(experiment.id):
            logger.info("%s is accepted: %s on %s, priority %s", experiment.id, spec.kind, card.id, priority)
        nudge(ctx)
    return experiment, is_new


def edit(ctx: Context, experiment_id: str, edited: ExperimentEdit) -> Experiment:
    """Changes what people write beside an experiment; one that waits may get another turn."""
    experiment = ctx.store.edit(experiment_id, edited)
    if edited.priority is not None and experiment.state == "queued":
        logger.info("%s waits with priority %s", experiment_id, experiment.priority)
        nudge(ctx)
    return experiment


def cancel(ctx: Context, experiment_id: str) -> Experiment:
    """Ask a running experiment to stop; end a waiting one here, and tell its readers."""
    experiment = ctx.store.request_cancel(experiment_id)
    logger.info("%s is to be cancelled; it is %s", experiment_id, experiment.state)
    if experiment.state in FINAL_STATES:
        _tell(ctx, experiment_id, experiment.state)
    return experiment


def retry(ctx: Context, experiment_id: str) -> Experiment:
    """Run a failed or cancelled experiment again, with a clean stream of events."""
    experiment = ctx.store.retry(experiment_id, quota=ctx.config.quota or None)
    logger.info("%s runs again, attempt %d", experiment_id, experiment.attempt)
    ctx.results.forget(experiment_id)
    if ctx.spoken is not None:
        ctx.spoken.clear(experiment_id)
    nudge(ctx)
    return experiment


def delete(ctx: Context, experiment_id: str) -> None:
    """Out of sight; one that waited does not run, which its readers are told."""
    waited = ctx.store.experiment_status(experiment_id).state not in FINAL_STATES
    ctx.store.delete(experiment_id)
    logger.info("%s is deleted", experiment_id)
    ctx.results.forget(experiment_id)
    if waited:
        _tell(ctx, experiment_id, "cancelled")


def restore(ctx: Context, experiment_id: str) -> Experiment:
    """Back in sight, and back in the line if it waited."""
    experiment = ctx.store.restore(experiment_id, quota=ctx.config.quota or None)
    logger.info("%s is brought back; it is %s", experiment_id, experiment.state)
    if experiment.state == "queued":
        nudge(ctx)
    return experiment


def _tell(ctx: Context, experiment_id: str, state: State) -> None:
    if ctx.spoken is not None:
        ctx.spoken.publish(experiment_id, "state", {"state": state})


def nudge(ctx: Context) -> None:
    """Something waits: tell the workers at once, without waiting for the broker, which may be down."""
    if ctx.outbox is not None:
        ctx.outbox.nudge()
