"""Training, validation and test questions of a fine-tuning: three sets that share no operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts, PromptPair, PromptsSpec, TemplatePrompts
from arithmoscope.contracts.tuning_results import Split
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.question_operands import operand_key, question_only
from arithmoscope.prompts.sets.custom_pairs import with_answer
from arithmoscope.prompts.sets.default_shots import shots_of, with_shots
from arithmoscope.prompts.sets.operand_split import Use, operands_of, shared_operands, split_in_three
from arithmoscope.prompts.sets.sampling import draw
from arithmoscope.prompts.sets.shots import shot_prefix
from arithmoscope.prompts.tokens.encoded import can_answer, encode_answer, frame_of

# Custom prompts have no seed: the same prompt always gets the same counterfactual.
_CUSTOM_SEED = 0
# A smaller test set gets a note.
_FEW = 20


@dataclass(frozen=True, slots=True)
class DatasetSplits:
    """The three sets, each in its original order. A question without a counterfactual is its own counterfactual."""

    train: tuple[PromptPair, ...]
    validation: tuple[PromptPair, ...]
    test: tuple[PromptPair, ...]
    notes: tuple[str, ...]

    @property
    def split(self) -> Split:
        """The sizes of the sets, with one question of each ("" for an empty set)."""
        sets = self._sets
        return Split(
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            shared=len({key for one, other in combinations(sets, 2) for key in shared_operands(one, other)}),
            examples=tuple(question_only(pairs[0].reference) if pairs else "" for pairs in sets),
        )

    @property
    def _sets(self) -> tuple[tuple[PromptPair, ...], ...]:
        return self.train, self.validation, self.test


def split_dataset(spec: FineTuneSpec, tokenizer: Tokenizer, chat: ChatFrame | None = None) -> DatasetSplits:
    """Splits the questions of ``spec.prompts`` by their operands; given validation and test sets replace their part.

    A replaced part goes to the training set. Answers may have any number of tokens, and wrongly answered questions are
    kept: the fields ``answer`` and ``keep_wrong`` have no effect. ``chat`` as in `arithmoscope.prompts.prepare`.

    Raises:
        Refusal: with the number of the first pair that cannot be tokenised; ``no_prompts`` if the training or test set
            is empty; ``overlapping_splits`` if two sets share operands.
    """
    pairs, notes = whole_answer_pairs(spec.prompts, tokenizer, chat)
    parts = split_in_three(pairs)
    given: dict[Use, PromptsSpec | None] = {"validation": spec.validation, "test": spec.test}
    replaced = {name for name, prompts in given.items() if prompts is not None}
    if replaced:
        kept = {id(pair) for name in parts.keys() - {"train"} - replaced for pair in parts[name]}
        parts["train"] = [pair for pair in pairs if id(pair) not in kept]
    for name, prompts in given.items():
        if prompts is not None:
            parts[name], more = whole_answer_pairs(prompts, tokenizer, chat)
            notes += [f"{name}: {note}" for note in more]
    _refuse_overlap(parts)
    needed: tuple[Use, ...] = ("train", "test")
    for name in needed:
        if not parts[name]:
            raise Refusal(
                "no_prompts",
                f"Of {len(pairs)} questions, split by their operands, none is left to {name}.",
                "Choose more pairs or a wider range of operands, leave 'half' out, or give a set for 'test'.",
            )
    if not parts["validation"]:
        notes.append("No question is left for validation: the set is too small to be split in three.")
    if len(parts["test"]) < _FEW:
        notes.append(
            f"The test set has {len(parts['test'])} questions, so its results are uncertain. Choose more pairs or a "
            "wider range of operands."
        )
    return DatasetSplits(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]), tuple(notes))


def overlap_notes(
    splits: DatasetSplits, analysed: PromptsSpec, tokenizer: Tokenizer, chat: ChatFrame | None = None
) -> tuple[str, ...]:
    """A note on whether the analysis that found the components (on the prompts ``analysed``) used operands of the test
    set; none if those prompts can no longer be drawn. ``chat`` as in `arithmoscope.prompts.prepare`."""
    if isinstance(analysed, TemplatePrompts):
        try:
            keys = {operands_of(pair) for pair in draw(analysed, tokenizer, frame_of(analysed.chat, chat)).pairs}
        except Refusal:
            return ()
    else:
        keys = {operand_key(pair.reference) for pair in analysed.pairs}
    shared = sum(operands_of(pair) in keys for pair in splits.test)
    if not shared:
        return ("The analysis asked about none of the operands of the test questions.",)
    return (
        f"Of the {len(splits.test)} test questions {shared} ask about operands that the analysis asked about, too: "
        "the components may have been chosen for them. An analysis with half 'first' leaves those out.",
    )


def whole_answer_pairs(
    prompts: PromptsSpec, tokenizer: Tokenizer, chat: ChatFrame | None = None
) -> tuple[list[PromptPair], list[str]]:
    """The pairs of a set with their whole answers, of any number of tokens, and the notes on the set.

    A custom question needs an answer but no counterfactual: without one, the reference takes its place.
    """
    prompts, frame = with_shots(prompts), frame_of(prompts.chat, chat)
    if isinstance(prompts, TemplatePrompts):
        drawn = draw(prompts.model_copy(update={"answer": "each"}), tokenizer, frame)
        return list(drawn.pairs), list(drawn.notes)
    pairs: list[PromptPair] = []
    for number, custom in enumerate(prompts.pairs, start=1):
        try:
            pair = _completed(custom, prompts, tokenizer)
            alone = PromptPair(pair.reference, pair.reference, pair.answer, pair.chat)
            if not can_answer(alone, tokenizer, frame, "each"):
                encode_answer(alone, tokenizer, frame, "each")  # raises with the reason
        except Refusal as refusal:
            raise Refusal(refusal.code, f"Pair {number}: {refusal.detail}", refusal.way_out) from refusal
        pairs.append(pair)
    return pairs, []


def _completed(custom: CustomPair, prompts: CustomPrompts, tokenizer: Tokenizer) -> PromptPair:
    unread = custom.answer is not None and custom.counterfactual is None and parse_question(custom.reference) is None
    answered = with_answer(custom.model_copy(update={"counterfactual": custom.reference}) if unread else custom)
    prefix = shot_prefix(answered.pair.reference, answered.reading, shots_of(prompts))
    reference = prefix + answered.pair.reference
    if unread:
        counterfactual = reference
    elif custom.counterfactual is not None:
        counterfactual = prefix + custom.counterfactual
    else:
        counterfactual = corrupt(prompts.corruption, reference, _CUSTOM_SEED, tokenizer) or reference
    return PromptPair(reference, counterfactual, answered.answer, prompts.chat)


_NAMES: dict[Use, str] = {"train": "training", "validation": "validation", "test": "test"}


def _refuse_overlap(parts: dict[Use, list[PromptPair]]) -> None:
    for one, other in combinations(_NAMES, 2):
        shared = shared_operands(parts[one], parts[other])
        if shared:
            example = next(pair for pair in parts[other] if operands_of(pair) == shared[0])
            raise Refusal(
                "overlapping_splits",
                f"{_counted(shared)} in the {_NAMES[one]} and the {_NAMES[other]} set, as in "
                f"{question_only(example.reference)[:80]!r}.",
            )


def _counted(shared: Sequence[str]) -> str:
    return "The same operands are" if len(shared) == 1 else f"The same operands, {len(shared)} sets of them, are"
