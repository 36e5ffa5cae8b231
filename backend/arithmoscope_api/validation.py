"""What a spec asks, by kind: of which model, with which prompts; and why it cannot be asked, before there is a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tokenizers import Tokenizer

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation, KnockPositions
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.specs import (
    DEFAULT_TOP_K,
    ExperimentSpec,
    FineTuneSpec,
    KnockoutSpec,
    PathPatchingSpec,
    TransferSpec,
)
from arithmoscope.prompts import ChatFrame, EncodedPair, prepare, refuse_unequal_lengths
from arithmoscope.prompts.sets.dataset_splits import split_dataset
from arithmoscope.prompts.sets.labels import labels_of
from arithmoscope.prompts.sets.operand_split import on_first_side, operands_of
from arithmoscope.prompts.sets.prompt_sets import refuse_too_many
from arithmoscope.prompts.tokens.length_checks import refuse_cut_answers
from arithmoscope_api.context import Context
from arithmoscope_api.trainable import refuse_untunable

# Of one knock-out: a day of a small model's work, by far more than anybody waits for.
MAX_ROWS = 20_000_000

# The pairs of a set, as the model will read them.
Read = Callable[[PromptsSpec], Sequence[EncodedPair]]
# Refuses prompts that a question cannot be asked with.
Check = Callable[[Tokenizer, ChatFrame | None], object]


@dataclass(frozen=True, slots=True)
class Question:
    """A spec with the model that answers it. ``check`` refuses prompts that it cannot be asked with."""

    card: ModelCard
    sets: tuple[PromptsSpec, ...]
    parent: str | None
    check: Check

    def chat(self, ctx: Context) -> ChatFrame | None:
        """The model's chat template, where a set is asked through it."""
        return ctx.vocabularies.chat_of(self.card) if any(prompts.chat for prompts in self.sets) else None

    def refuse_impossible(self, ctx: Context) -> None:
        """Parses and tokenises every set once."""
        self.check(ctx.vocabularies.of(self.card), self.chat(ctx))


def _of_pairs(check: Callable[[Read], None]) -> Check:
    """A check that looks at the pairs as the model will read them."""

    def checked(tokenizer: Tokenizer, chat: ChatFrame | None) -> None:
        known: dict[PromptsSpec, tuple[EncodedPair, ...]] = {}

        def read(prompts: PromptsSpec) -> tuple[EncodedPair, ...]:
            if prompts not in known:
                known[prompts] = prepare(prompts, tokenizer, chat if prompts.chat else None).pairs
            return known[prompts]

        check(read)

    return checked


def usable_model(ctx: Context, model_id: str) -> ModelCard:
    """The card of a model that can run. Refuses ``unknown_model`` and ``unsupported_architecture``, and of a tuned
    model ``model_changed``: it needs the one that it was tuned from."""
    card = ctx.store.model(model_id)
    if not card.supported and card.base is not None:
        way_out = f"Put the files of {card.base} back as they were, or tune it anew."
        raise Refusal("model_changed", f"{card.name} cannot run here: {card.reason}", way_out)
    if not card.supported:
        raise Refusal("unsupported_architecture", f"{card.name} cannot run here: {card.reason}")
    return card


def question_of(ctx: Context, spec: ExperimentSpec) -> Question:
    """Refuses what can be told without reading a prompt: models, parents and components that are not there."""
    if isinstance(spec, KnockoutSpec):
        return _knockout(ctx, spec)
    card = usable_model(ctx, spec.model)
    if isinstance(spec, PathPatchingSpec):
        return Question(card, (spec.prompts,), None, _of_pairs(partial(_check_patching, spec)))
    if spec.parent is not None:
        analysis_of(ctx, spec.parent)
    if isinstance(spec, FineTuneSpec):
        refuse_missing(card, spec.components)
        refuse_untunable(card, spec, ctx.config.dtype)
        sets = tuple(prompts for prompts in (spec.prompts, spec.validation, spec.test) if prompts is not None)
        return Question(card, sets, spec.parent, partial(split_dataset, spec))
    sets = (*spec.found_on, *spec.evaluated_on)
    return Question(card, sets, spec.parent, _of_pairs(partial(_check_transfer, spec)))


def analysis_of(ctx: Context, experiment_id: str) -> PathPatchingSpec:
    """The spec of an analysis. Refuses ``unknown_experiment``, and other kinds (``wrong_kind``)."""
    parent = ctx.store.experiment(experiment_id)
    if not isinstance(parent.spec, PathPatchingSpec):
        raise Refusal("wrong_kind", f"The parent is of the kind {parent.kind}; it must be an analysis.")
    return parent.spec


def _knockout(ctx: Context, spec: KnockoutSpec) -> Question:
    asked = analysis_of(ctx, spec.parent)
    found = ctx.results.of(spec.parent)
    card = usable_model(ctx, asked.model)
    if found.revision != card.revision:
        raise Refusal("model_changed", f"{card.name} has other weights than the parent's result is of.")
    refuse_missing(card, spec.components or ())
    if spec.components is None and spec.metric == "probability" and "probability" not in asked.metrics:
        raise Refusal("metric_not_computed", "The parent did not compute the probability, to rank components by.")
    prompts = spec.prompts or asked.prompts
    if spec.answer_tokens is not None and prompts.answer == "each":
        raise Refusal(
            "impossible_options",
            "Answers are written out from their first token on; this set asks at each one.",
            "Ask at the first token (answer 'first'), or leave answer_tokens out.",
        )
    # The parent's prompts are read too, so its chat template counts.
    sets = (prompts, asked.prompts) if spec.disjoint else (prompts,)
    return Question(card, sets, spec.parent, _of_pairs(partial(_check_knockout, spec, prompts, asked.prompts)))


def refuse_missing(card: ModelCard, components: Iterable[str]) -> None:
    """Refuses (``bad_component``) what a model does not have."""
    for name in components:
        component = Component.parse(name)
        if component.layer >= card.layers or (component.head or 0) >= card.heads:
            raise Refusal(
                "bad_component", f"There is no {name}; the model has {card.layers} layers of {card.heads} heads."
            )


def _check_patching(spec: PathPatchingSpec, read: Read) -> None:
    refuse_unequal_lengths(read(spec.prompts), spec.positions, spec.source)


def _check_knockout(spec: KnockoutSpec, prompts: PromptsSpec, parents: PromptsSpec, read: Read) -> None:
    pairs = read(prompts)
    if spec.disjoint:
        known = {operands_of(pair.pair) for pair in read(parents)}
        pairs = [pair for pair in pairs if operands_of(pair.pair) not in known]
        if not pairs:
            raise Refusal(
                "no_prompts",
                "The analysis asked about the operands of every one of these prompts.",
                "Choose prompts with other operands, or switch 'disjoint' off.",
            )
    if spec.answer_tokens is not None:
        refuse_cut_answers(pairs, spec.answer_tokens)
    _refuse_too_much(spec, len(pairs))
    # At END the mean for prompts of their own is over those of the analysis.
    if not (spec.ablation == "mean" and spec.positions == "end" and spec.prompts is not None):
        _refuse_alone(pairs, spec.ablation, spec.positions, "The set")


def _refuse_too_much(spec: KnockoutSpec, pairs: int) -> None:
    """A point of the curve and of each draw is a row of every pair: together they may be days of work."""
    points = 1 + len(spec.components or range(spec.top_k or DEFAULT_TOP_K))
    if pairs * points * (1 + spec.controls) > MAX_ROWS:
        raise Refusal(
            "impossible_options",
            f"{pairs} pairs, {points} points and {spec.controls} random draws are more than {MAX_ROWS} rows.",
            "Ask for fewer pairs, components or controls.",
        )


def _check_transfer(spec: TransferSpec, read: Read) -> None:
    names = labels_of((*spec.found_on, *spec.evaluated_on))
    read_so_far: dict[PromptsSpec, int] = {}
    for sets, first in ((spec.found_on, True), (spec.evaluated_on, False)):
        for prompts in sets:
            with _naming(names[prompts]):
                asked = read(prompts)
                read_so_far[prompts] = len(asked)
                refuse_too_many(sum(read_so_far.values()))
            pairs = [pair for pair in asked if not spec.disjoint or on_first_side(pair.pair) == first]
            if not pairs:
                side = "to find components on" if first else "to judge them on"
                raise Refusal(
                    "no_prompts",
                    f"Split by operands, the set {names[prompts]!r} has none left {side}.",
                    "Ask for more pairs or wider operands, or switch 'disjoint' off.",
                )
            # The mean of a set that is split is over its other half.
            if not first and not (spec.ablation == "mean" and spec.disjoint and len(pairs) < len(asked)):
                _refuse_alone(pairs, spec.ablation, "end", f"The set {names[prompts]!r}")


@contextmanager
def _naming(label: str) -> Iterator[None]:
    """A refusal inside says which set it is about."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(refusal.code, f"Set {label!r}: {refusal.detail}", refusal.way_out) from refusal


def _refuse_alone(pairs: Sequence[EncodedPair], ablation: Ablation, positions: KnockPositions, what: str) -> None:
    """One prompt has no mean but itself, and no other to draw from; position by position, one of its length."""
    if ablation == "zero":
        return
    kinds: dict[int, set[Hashable]] = defaultdict(set)
    for pair in pairs:
        length = 0 if positions == "end" else len(pair.reference_ids)
        kinds[length].add(pair.question if ablation == "resample" else pair.reference_ids)
    for length, alike in kinds.items():
        if len(alike) < 2:
            long, as_long = (f" of {length} tokens", " as long") if length else ("", "")
            raise Refusal(
                "impossible_options",
                f"{what} has one prompt{long}; the ablation {ablation!r} needs another one{as_long}.",
                "Ask several prompts of equal length, or choose the ablation 'zero'.",
            )
