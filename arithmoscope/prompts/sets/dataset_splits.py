"""What a fine-tuning trains on, looks at meanwhile, and is judged by: three sets that share no operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts, PromptPair, PromptsSpec, TemplatePrompts
from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_results import Split
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.question_operands import operand_key, question_only
from arithmoscope.prompts.sets.custom_pairs import with_answer
from arithmoscope.prompts.sets.operand_split import Use, operands_of, shared_operands, split_in_three
from arithmoscope.prompts.sets.sampling import draw
from arithmoscope.prompts.sets.shots import shot_prefix
from arithmoscope.prompts.tokens.encoded import can_answer, encode_answer, frame_of

# People's own prompts have no seed: the same prompt always gets the same counterfactual.
_CUSTOM_SEED = 0
# Fewer questions than this say little about a model.
_FEW = 20


@dataclass(frozen=True, slots=True)
class DatasetSplits:
    """The three sets, each in the order asked for. A question that has no counterfactual is its own."""

    train: tuple[PromptPair, ...]
    validation: tuple[PromptPair, ...]
    test: tuple[PromptPair, ...]
    notes: tuple[str, ...]

    @property
    def split(self) -> Split:
        """The sets by their sizes, with a question of each (empty where there is none)."""
        sets = self._sets
        return Split(
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            shared=len({each for one, other in combinations(sets, 2) for each in shared_operands(one, other)}),
            examples=tuple(question_only(pairs[0].reference) if pairs else "" for pairs in sets),
        )

    @property
    def _sets(self) -> tuple[tuple[PromptPair, ...], ...]:
        return self.train, self.validation, self.test


def split_dataset(spec: FineTuneSpec, tokenizer: Tokenizer, chat: ChatFrame | None = None) -> DatasetSplits:
    """The questions of ``spec.prompts`` split by their operands, with the sets that were given instead of a part.

    What a given set takes the place of is trained on. Answers may have any number of tokens, and wrong ones are kept:
    the fields ``answer`` and ``keep_wrong`` of a set change nothing. ``chat`` is as in `prompts.prepare`.

    Refuses what cannot be read as tokens, by its number; (``no_prompts``) nothing to train on or to judge by;
    (``overlapping_splits``) operands that two of the sets ask about.
    """
    asked, notes = whole_answer_pairs(spec.prompts, tokenizer, chat)
    parts = split_in_three(asked)
    given: dict[Use, PromptsSpec | None] = {"validation": spec.validation, "test": spec.test}
    replaced = {name for name, prompts in given.items() if prompts is not None}
    if replaced:
        kept = {id(pair) for name in parts.keys() - {"train"} - replaced for pair in parts[name]}
        parts["train"] = [pair for pair in asked if id(pair) not in kept]
    for name, prompts in given.items():
        if prompts is not None:
            parts[name], more = whole_answer_pairs(prompts, tokenizer, chat)
            notes += [f"{name}: {note}" for note in more]
    _refuse_overlap(parts)
    needed: dict[Use, str] = {"train": "train on", "test": "judge by"}
    for name, what in needed.items():
        if not parts[name]:
            raise Refusal(
                "no_prompts",
                f"Of {len(asked)} questions, split by their operands, none is left to {what}.",
                "Ask for more pairs or a wider range of operands, leave 'half' out, or give a set for 'test'.",
            )
    if not parts["validation"]:
        notes.append("No question is left to look at while it trains: the set is too small to be split in three.")
    if len(parts["test"]) < _FEW:
        notes.append(
            f"The test set has {len(parts['test'])} questions: what is said of it is uncertain. More pairs, or a wider "
            "range of operands, give it more."
        )
    return DatasetSplits(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"]), tuple(notes))


def overlap_notes(
    lessons: DatasetSplits, analysed: PromptsSpec, tokenizer: Tokenizer, chat: ChatFrame | None = None
) -> tuple[str, ...]:
    """What there is to say of components that an analysis of ``analysed`` found: whether it asked about operands that
    they are judged by. Nothing where those questions can no longer be drawn. ``chat`` is as in `prompts.prepare`."""
    if isinstance(analysed, TemplatePrompts):
        try:
            asked = {operands_of(pair) for pair in draw(analysed, tokenizer, frame_of(analysed.chat, chat)).pairs}
        except Refusal:
            return ()
    else:
        asked = {operand_key(pair.reference) for pair in analysed.pairs}
    shared = sum(operands_of(pair) in asked for pair in lessons.test)
    if not shared:
        return ("The analysis asked about none of the operands that are judged by.",)
    return (
        f"Of the {len(lessons.test)} test questions {shared} ask about operands that the analysis asked about, too: "
        "the components may have been chosen for them. An analysis with half 'first' leaves those out.",
    )


def whole_answer_pairs(
    prompts: PromptsSpec, tokenizer: Tokenizer, chat: ChatFrame | None = None
) -> tuple[list[PromptPair], list[str]]:
    """A set's questions with their whole answers, of however many tokens, and what there is to say of it.

    A question of people's own needs an answer, and no counterfactual: where it has none, the reference stands there.
    """
    frame = frame_of(prompts.chat, chat)
    if isinstance(prompts, TemplatePrompts):
        drawn = draw(prompts.model_copy(update={"answer": "each"}), tokenizer, frame)
        return list(drawn.pairs), list(drawn.notes)
    found: list[PromptPair] = []
    for number, custom in enumerate(prompts.pairs, start=1):
        try:
            pair = _completed(custom, prompts, tokenizer)
            alone = PromptPair(pair.reference, pair.reference, pair.answer, pair.chat)
            if not can_answer(alone, tokenizer, frame, "each"):
                encode_answer(alone, tokenizer, frame, "each")  # says why
        except Refusal as refusal:
            raise Refusal(refusal.code, f"Pair {number}: {refusal.detail}", refusal.way_out) from refusal
        found.append(pair)
    return found, []


def _completed(custom: CustomPair, prompts: CustomPrompts, tokenizer: Tokenizer) -> PromptPair:
    unread = custom.answer is not None and custom.counterfactual is None and parse_question(custom.reference) is None
    told = with_answer(custom.model_copy(update={"counterfactual": custom.reference}) if unread else custom)
    prefix = shot_prefix(told.pair.reference, told.reading, prompts.shots)
    reference = prefix + told.pair.reference
    if unread:
        counterfactual = reference
    elif custom.counterfactual is not None:
        counterfactual = prefix + custom.counterfactual
    else:
        counterfactual = corrupt(prompts.corruption, reference, _CUSTOM_SEED, tokenizer) or reference
    return PromptPair(reference, counterfactual, told.answer, prompts.chat)


_SAID: dict[Use, str] = {"train": "trained on", "validation": "validated with", "test": "judged by"}


def _refuse_overlap(parts: dict[Use, list[PromptPair]]) -> None:
    for one, other in combinations(_SAID, 2):
        shared = shared_operands(parts[one], parts[other])
        if shared:
            example = next(pair for pair in parts[other] if operands_of(pair) == shared[0])
            raise Refusal(
                "overlapping_splits",
                f"{_counted(shared)} asked about by what is {_SAID[one]} and {_SAID[other]}, as in "
                f"{question_only(example.reference)[:80]!r}.",
            )


def _counted(shared: Sequence[str]) -> str:
    return "The same operands are" if len(shared) == 1 else f"The same operands, {len(shared)} sets of them, are"
