"""From a spec to a row: everything that can be refused is refused before the row exists."""

from __future__ import annotations

from backend.context import Context
from contracts.errors import Refusal
from contracts.experiments import FINAL_STATES, Experiment, ExperimentSpec, experiment_key
from contracts.models import ModelCard
from prompts import prepare, refuse_unequal_lengths


def usable_model(ctx: Context, model_id: str) -> ModelCard:
    """The card of a model that can run. Refuses ``unknown_model`` and ``unsupported_architecture``."""
    card = ctx.store.model(model_id)
    if not card.supported:
        raise Refusal("unsupported_architecture", f"{card.name} cannot run here: {card.reason}")
    return card


def submit(ctx: Context, spec: ExperimentSpec) -> tuple[Experiment, bool]:
    """The experiment of a spec and whether it is new. The same question gets the same experiment."""
    card = usable_model(ctx, spec.model)
    chat = ctx.vocabularies.chat_of(card) if spec.prompts.chat else None
    revision = card.revision if chat is None else f"{card.revision} {chat.model_dump_json()}"
    key = experiment_key(spec, revision=revision, dtype=ctx.config.dtype, device_kind=ctx.config.device)
    asked_before = ctx.store.find(key)
    if asked_before is not None:
        return asked_before, False
    asked = prepare(spec.prompts, ctx.vocabularies.of(card), chat)
    refuse_unequal_lengths(asked.pairs, spec.positions, spec.source)
    experiment, is_new = ctx.store.submit(spec, key=key)
    if is_new:
        nudge(ctx)
    return experiment, is_new


def cancel(ctx: Context, experiment_id: str) -> Experiment:
    """Ask a running experiment to stop; end a waiting one here, and tell its readers."""
    experiment = ctx.store.request_cancel(experiment_id)
    if experiment.state in FINAL_STATES and ctx.spoken is not None:
        ctx.spoken.publish(experiment_id, "state", {"state": experiment.state})
    return experiment


def retry(ctx: Context, experiment_id: str) -> Experiment:
    """Run a failed or cancelled experiment again, with a clean stream of events."""
    experiment = ctx.store.retry(experiment_id)
    ctx.results.forget(experiment_id)
    if ctx.spoken is not None:
        ctx.spoken.clear(experiment_id)
    nudge(ctx)
    return experiment


def nudge(ctx: Context) -> None:
    """Something waits: tell the workers at once, without waiting for the broker, which may be down."""
    if ctx.outbox is not None:
        ctx.outbox.nudge()
