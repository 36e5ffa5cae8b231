"""Submission and changes of experiments: everything that can be refused is refused before a row exists."""

from __future__ import annotations

import logging

from arithmoscope.contracts.experiments import FINAL_STATES, Experiment, ExperimentEdit, Priority, State
from arithmoscope.contracts.kinds import ON_AN_ANALYSIS, ExperimentSpec, experiment_key
from arithmoscope.contracts.log_context import working_on
from arithmoscope.store.artifacts import RESULT
from arithmoscope_api.context import Context
from arithmoscope_api.validation import resolve_spec

logger = logging.getLogger(__name__)


def submit(
    ctx: Context, spec: ExperimentSpec, *, asked_by: str = "", priority: Priority = "normal", name: str = ""
) -> tuple[Experiment, bool]:
    """Creates the experiment of a spec, or returns the existing one for the same question.

    Args:
        ctx: The application's context.
        spec: The experiment to compute.
        asked_by: Short name of the token whose quota a new experiment counts for.
        priority: Place in the queue; not part of the question.
        name: Display name; not part of the question.

    Returns:
        The experiment, and whether it is new.

    Raises:
        Refusal: The spec cannot run (see `resolve_spec`), or the quota or the disk quota is used up.
    """
    resolved = resolve_spec(ctx, spec)
    spec = resolved.spec
    card, chat = resolved.card, resolved.chat_template(ctx)
    revision = card.revision if chat is None else f"{card.revision} {chat.model_dump_json()}"
    if spec.kind in ON_AN_ANALYSIS and resolved.parent is not None:
        # The same analysis may have another result now: it may have been stopped and completed since.
        revision = f"{revision} {ctx.store.artifact_info(resolved.parent, RESULT).sha256}"
    key = experiment_key(spec, revision=revision, dtype=ctx.config.dtype, device_kind=ctx.config.device)
    existing = ctx.store.find(key)
    if existing is not None:
        return existing, False
    # Parsing and tokenising a large set takes a while: of identical concurrent requests, one does it.
    with ctx.submit_lock.hold(key):
        existing = ctx.store.find(key)
        if existing is not None:
            return existing, False
        resolved.check_prompts(ctx)
        experiment, is_new = ctx.store.submit(
            spec,
            key=key,
            model=card.id,
            parent=resolved.parent,
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
    """Changes the name, notes or priority of an experiment. A new priority moves a queued one in the queue."""
    experiment = ctx.store.edit(experiment_id, edited)
    if edited.priority is not None and experiment.state == "queued":
        logger.info("%s waits with priority %s", experiment_id, experiment.priority)
        nudge(ctx)
    return experiment


def cancel(ctx: Context, experiment_id: str) -> Experiment:
    """Requests that a running experiment stop; ends a queued one immediately and notifies its readers."""
    experiment = ctx.store.request_cancel(experiment_id)
    logger.info("%s is to be cancelled; its state is %s", experiment_id, experiment.state)
    if experiment.state in FINAL_STATES:
        _publish_state(ctx, experiment_id, experiment.state)
    return experiment


def retry(ctx: Context, experiment_id: str) -> Experiment:
    """Queues a failed or cancelled experiment again, with an empty event stream."""
    experiment = ctx.store.retry(experiment_id, quota=ctx.config.quota or None)
    logger.info("%s runs again, attempt %d", experiment_id, experiment.attempt)
    ctx.result_indexes.forget(experiment_id)
    if ctx.event_writer is not None:
        ctx.event_writer.clear(experiment_id)
    nudge(ctx)
    return experiment


def delete(ctx: Context, experiment_id: str) -> None:
    """Hides an experiment. An unfinished one will not run; its readers are notified."""
    unfinished = ctx.store.experiment_status(experiment_id).state not in FINAL_STATES
    ctx.store.delete(experiment_id)
    logger.info("%s is deleted", experiment_id)
    ctx.result_indexes.forget(experiment_id)
    if unfinished:
        _publish_state(ctx, experiment_id, "cancelled")


def restore(ctx: Context, experiment_id: str) -> Experiment:
    """Makes a deleted experiment visible again; one that was queued is queued again."""
    experiment = ctx.store.restore(experiment_id, quota=ctx.config.quota or None)
    logger.info("%s is restored; its state is %s", experiment_id, experiment.state)
    if experiment.state == "queued":
        nudge(ctx)
    return experiment


def _publish_state(ctx: Context, experiment_id: str, state: State) -> None:
    if ctx.event_writer is not None:
        ctx.event_writer.publish(experiment_id, "state", {"state": state})


def nudge(ctx: Context) -> None:
    """Makes the outbox dispatch queued work now. Does not wait for the broker, which may be down."""
    if ctx.outbox is not None:
        ctx.outbox.nudge()
