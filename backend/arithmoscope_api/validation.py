"""Validation of specs: model, parent and prompts of each kind, and the reasons to refuse it before a row exists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tokenizers import Tokenizer

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import ExperimentSpec
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.kinds.knockout import KnockoutSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.kinds.transfer import TransferSpec
from arithmoscope.contracts.knockout_terms import Ablation, KnockPositions
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.terms import DEFAULT_TOP_K
from arithmoscope.prompts import ChatFrame, EncodedPair, prepare, refuse_unequal_lengths
from arithmoscope.prompts.sets.dataset_splits import split_dataset
from arithmoscope.prompts.sets.labels import labels_of
from arithmoscope.prompts.sets.operand_split import on_first_side, operands_of
from arithmoscope.prompts.sets.prompt_sets import refuse_too_many
from arithmoscope.prompts.tokens.length_checks import refuse_cut_answers
from arithmoscope_api.context import Context
from arithmoscope_api.trainable import refuse_untunable

# Upper limit of one knock-out: a day of a small model's work, far longer than a user would wait.
MAX_ROWS = 20_000_000

# Returns the pairs of a set, encoded for the model.
Read = Callable[[PromptsSpec], Sequence[EncodedPair]]
# Raises Refusal if a spec cannot run with its prompts.
Check = Callable[[Tokenizer, ChatFrame | None], object]


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """A spec's model, prompt sets and parent, looked up, and the check of its prompts.

    Attributes:
        card: The model that runs it.
        sets: The prompt sets that it reads.
        parent: Id of the analysis that it builds on.
        check: Raises Refusal if it cannot run with its prompts.
    """

    card: ModelCard
    sets: tuple[PromptsSpec, ...]
    parent: str | None
    check: Check

    def chat_template(self, ctx: Context) -> ChatFrame | None:
        """The model's chat template if a set uses it."""
        return ctx.tokenizers.chat_template(self.card) if any(prompts.chat for prompts in self.sets) else None

    def check_prompts(self, ctx: Context) -> None:
        """Parses and tokenises every set once. Raises Refusal if the spec cannot run with its prompts."""
        self.check(ctx.tokenizers.get(self.card), self.chat_template(ctx))


def _check_of_pairs(check: Callable[[Read], None]) -> Check:
    """Makes a check of prompts from a check of their encoded pairs."""

    def check_prompts(tokenizer: Tokenizer, chat: ChatFrame | None) -> None:
        encoded: dict[PromptsSpec, tuple[EncodedPair, ...]] = {}

        def read(prompts: PromptsSpec) -> tuple[EncodedPair, ...]:
            if prompts not in encoded:
                encoded[prompts] = prepare(prompts, tokenizer, chat if prompts.chat else None).pairs
            return encoded[prompts]

        check(read)

    return check_prompts


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
    if isinstance(spec, KnockoutSpec):
        return _knockout(ctx, spec)
    card = usable_model(ctx, spec.model)
    if isinstance(spec, PathPatchingSpec):
        return ResolvedSpec(card, (spec.prompts,), None, _check_of_pairs(partial(_check_patching, spec)))
    if spec.parent is not None:
        analysis_spec(ctx, spec.parent)
    if isinstance(spec, FineTuneSpec):
        refuse_missing_components(card, spec.components)
        refuse_untunable(card, spec, ctx.config.dtype)
        sets = tuple(prompts for prompts in (spec.prompts, spec.validation, spec.test) if prompts is not None)
        return ResolvedSpec(card, sets, spec.parent, partial(split_dataset, spec))
    sets = (*spec.found_on, *spec.evaluated_on)
    return ResolvedSpec(card, sets, spec.parent, _check_of_pairs(partial(_check_transfer, spec)))


def analysis_spec(ctx: Context, experiment_id: str) -> PathPatchingSpec:
    """The spec of an analysis. Raises Refusal (``unknown_experiment``; ``wrong_kind`` for other kinds)."""
    parent = ctx.store.experiment(experiment_id)
    if not isinstance(parent.spec, PathPatchingSpec):
        raise Refusal("wrong_kind", f"The parent has the kind {parent.kind}; it must be an analysis.")
    return parent.spec


def _knockout(ctx: Context, spec: KnockoutSpec) -> ResolvedSpec:
    analysis = analysis_spec(ctx, spec.parent)
    result = ctx.result_indexes.get(spec.parent)
    card = usable_model(ctx, analysis.model)
    if result.revision != card.revision:
        raise Refusal("model_changed", f"The weights of {card.name} have changed since the parent's result.")
    refuse_missing_components(card, spec.components or ())
    if spec.components is None and spec.metric == "probability" and "probability" not in analysis.metrics:
        raise Refusal(
            "metric_not_computed", "The parent did not compute the probability, so components cannot be ranked by it."
        )
    prompts = spec.prompts or analysis.prompts
    if spec.answer_tokens is not None and prompts.answer == "each":
        raise Refusal(
            "impossible_options",
            "Answers are generated from their first token; this set has a pair for each token of an answer.",
            "Choose answer 'first' for the prompts, or leave answer_tokens out.",
        )
    # The parent's prompts are read too, so their chat template matters.
    sets = (prompts, analysis.prompts) if spec.disjoint else (prompts,)
    return ResolvedSpec(
        card, sets, spec.parent, _check_of_pairs(partial(_check_knockout, spec, prompts, analysis.prompts))
    )


def refuse_missing_components(card: ModelCard, components: Iterable[str]) -> None:
    """Raises Refusal (``bad_component``) if a model lacks one of the components."""
    for name in components:
        component = Component.parse(name)
        if component.layer >= card.layers or (component.head or 0) >= card.heads:
            raise Refusal(
                "bad_component", f"There is no {name}; the model has {card.layers} layers of {card.heads} heads."
            )


def _check_patching(spec: PathPatchingSpec, read: Read) -> None:
    refuse_unequal_lengths(read(spec.prompts), spec.positions, spec.source)


def _check_knockout(spec: KnockoutSpec, prompts: PromptsSpec, parent_prompts: PromptsSpec, read: Read) -> None:
    pairs = read(prompts)
    if spec.disjoint:
        parent_operands = {operands_of(pair.pair) for pair in read(parent_prompts)}
        pairs = [pair for pair in pairs if operands_of(pair.pair) not in parent_operands]
        if not pairs:
            raise Refusal(
                "no_prompts",
                "The analysis already used the operands of every one of these prompts.",
                "Choose prompts with other operands, or turn 'disjoint' off.",
            )
    if spec.answer_tokens is not None:
        refuse_cut_answers(pairs, spec.answer_tokens)
    _refuse_too_many_rows(spec, len(pairs))
    # With its own prompts and at END, the mean is over the prompts of the analysis.
    if not (spec.ablation == "mean" and spec.positions == "end" and spec.prompts is not None):
        _refuse_single_prompt(pairs, spec.ablation, spec.positions, "The set")


def _refuse_too_many_rows(spec: KnockoutSpec, pairs: int) -> None:
    """Raises Refusal above `MAX_ROWS`: each point of the curve, and of each random draw, is one row per pair."""
    points = 1 + len(spec.components or range(spec.top_k or DEFAULT_TOP_K))
    if pairs * points * (1 + spec.controls) > MAX_ROWS:
        raise Refusal(
            "impossible_options",
            f"{pairs} pairs, {points} points and {spec.controls} random draws are more than {MAX_ROWS} rows.",
            "Use fewer pairs, components or controls.",
        )


def _check_transfer(spec: TransferSpec, read: Read) -> None:
    names = labels_of((*spec.found_on, *spec.evaluated_on))
    sizes: dict[PromptsSpec, int] = {}
    for sets, first in ((spec.found_on, True), (spec.evaluated_on, False)):
        for prompts in sets:
            with _naming(names[prompts]):
                all_pairs = read(prompts)
                sizes[prompts] = len(all_pairs)
                refuse_too_many(sum(sizes.values()))
            pairs = [pair for pair in all_pairs if not spec.disjoint or on_first_side(pair.pair) == first]
            if not pairs:
                purpose = "to find components on" if first else "to evaluate them on"
                raise Refusal(
                    "no_prompts",
                    f"Split by operands, the set {names[prompts]!r} has no pairs left {purpose}.",
                    "Use more pairs or a wider range of operands, or turn 'disjoint' off.",
                )
            # If a set is split, its mean is over the other half.
            if not first and not (spec.ablation == "mean" and spec.disjoint and len(pairs) < len(all_pairs)):
                _refuse_single_prompt(pairs, spec.ablation, "end", f"The set {names[prompts]!r}")


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """Adds the name of the set to a refusal raised inside."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(refusal.code, f"Set {label!r}: {refusal.detail}", refusal.way_out) from refusal


def _refuse_single_prompt(
    pairs: Sequence[EncodedPair], ablation: Ablation, positions: KnockPositions, subject: str
) -> None:
    """Raises Refusal (``impossible_options``) if a prompt has no other to be averaged with or replaced by.

    Position by position, the other prompt must have the same length.
    """
    if ablation == "zero":
        return
    prompts_by_length: dict[int, set[Hashable]] = defaultdict(set)
    for pair in pairs:
        length = 0 if positions == "end" else len(pair.reference_ids)
        prompts_by_length[length].add(pair.question if ablation == "resample" else pair.reference_ids)
    for length, distinct in prompts_by_length.items():
        if len(distinct) < 2:
            of_length, same_length = (f" of {length} tokens", " of the same length") if length else ("", "")
            raise Refusal(
                "impossible_options",
                f"{subject} has one prompt{of_length}; the ablation {ablation!r} needs another one{same_length}.",
                "Use several prompts of equal length, or choose the ablation 'zero'.",
            )
