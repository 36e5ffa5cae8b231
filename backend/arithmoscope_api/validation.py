"""Validation of specs: model, parent and prompts, and the reasons to refuse them before a row exists.

The kinds' own rules are in `arithmoscope.checks`; here their subjects are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

from arithmoscope.checks import Analysis, PromptReader, check_of
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import ON_AN_ANALYSIS, ExperimentSpec, PathPatchingSpec, parent_of
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.prompts import ChatFrame
from arithmoscope.prompts.sets.default_shots import with_defaults_everywhere
from arithmoscope_api.context import Context


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """A spec with its model and its analysis, looked up.

    Attributes:
        spec: The spec, with the model's defaults written into it.
        card: The model that runs it.
        analysis: The analysis that it builds on, if its kind reads one.
        sets: The prompt sets that it reads.
        parent: Id of the analysis that it belongs to.
    """

    spec: ExperimentSpec
    card: ModelCard
    analysis: Analysis | None
    sets: tuple[PromptsSpec, ...]
    parent: str | None

    def chat_template(self, ctx: Context) -> ChatFrame | None:
        """The model's chat template if a set uses it."""
        return ctx.tokenizers.chat_template(self.card) if any(prompts.chat for prompts in self.sets) else None

    def check_prompts(self, ctx: Context) -> None:
        """Parses and tokenises every set once. Raises Refusal if the spec cannot run with its prompts."""
        reader = PromptReader(ctx.tokenizers.get(self.card), self.chat_template(ctx))
        check_of(self.spec).check_prompts(self.spec, self.analysis, reader)


def usable_model(ctx: Context, model_id: str) -> ModelCard:
    """The card of a model that can run here.

    Raises:
        Refusal: The model does not exist (``unknown_model``) or is not supported (``unsupported_architecture``), or,
            for a tuned model, its base has changed (``model_changed``).
    """
    card = ctx.store.model(model_id)
    if not card.supported and card.base is not None:
        way_out = f"Put the files of {card.base} back as they were, or tune it again."
        raise Refusal("model_changed", f"{card.name} cannot run here: {card.reason}", way_out)
    if not card.supported:
        raise Refusal("unsupported_architecture", f"{card.name} cannot run here: {card.reason}")
    return card


def resolve_spec(ctx: Context, spec: ExperimentSpec) -> ResolvedSpec:
    """Looks up the model and parent of a spec and checks all that does not need its prompts.

    Raises:
        Refusal: The model or parent does not exist or is unsuitable, or the model lacks a component.
    """
    checks, parent, analysis = check_of(spec), parent_of(spec), None
    if spec.kind in ON_AN_ANALYSIS and parent is not None:
        analysed = analysis_spec(ctx, parent)
        analysis = Analysis(analysed, ctx.result_indexes.get(parent).revision)
        card = usable_model(ctx, analysed.model)
    else:
        card = usable_model(ctx, getattr(spec, "model", ""))
        if parent is not None:
            analysis_spec(ctx, parent)
    spec = with_defaults_everywhere(spec, card)
    checks.check_spec(spec, card, analysis, ctx.config.dtype)
    return ResolvedSpec(spec, card, analysis, checks.sets_read(spec, analysis), parent)


def analysis_spec(ctx: Context, experiment_id: str) -> PathPatchingSpec:
    """The spec of an analysis. Raises Refusal (``unknown_experiment``; ``wrong_kind`` for other kinds)."""
    parent = ctx.store.experiment(experiment_id)
    if not isinstance(parent.spec, PathPatchingSpec):
        raise Refusal("wrong_kind", f"The parent has the kind {parent.kind}; it must be an analysis.")
    return parent.spec
