"""Prompt sets from their specs: encoded pairs, previews, or plain strings."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from tokenizers import Tokenizer

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments, refusal_of
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompt_terms import MAX_DECIMALS, MAX_OPERAND, MAX_PAIRS, MAX_SHOTS
from arithmoscope.contracts.prompts import (
    AnswerTokens,
    Corruption,
    CustomPair,
    CustomPrompts,
    Half,
    Numerals,
    Operation,
    Preview,
    PreviewItem,
    PromptPair,
    Style,
    TemplatePrompts,
    Token,
    Topic,
    Wording,
)
from arithmoscope.contracts.terms import MAX_SEED
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.language.roles import RoleSpan, counterfactual_spans
from arithmoscope.prompts.sets.custom_pairs import quoted, with_answer
from arithmoscope.prompts.sets.default_shots import shots_of, with_shots
from arithmoscope.prompts.sets.sampling import draw
from arithmoscope.prompts.sets.shots import shot_prefix
from arithmoscope.prompts.tokens.encoded import EncodedPair, encode_answer, frame_of, prompt_tokens

PREVIEWED_PAIRS = 64
# Custom prompts have no seed: the same prompt always gets the same counterfactual.
_CUSTOM_SEED = 0


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The encoded pairs of a prompt set.

    Attributes:
        pairs: The pairs, in order, as token ids.
        n_distinct: Number of different questions of the set.
        notes: Sentences about the set, such as that fewer pairs exist than requested.
    """

    pairs: tuple[EncodedPair, ...]
    n_distinct: int
    notes: tuple[str, ...]


@check_arguments()
def prepare(spec: CustomPrompts | TemplatePrompts, tokenizer: Tokenizer, chat: ChatFrame | None = None) -> PromptSet:
    """Encodes every pair of a set for a model's tokenizer.

    Args:
        spec: The set: `CustomPrompts` or `TemplatePrompts`.
        tokenizer: The model's tokenizer, ``model.text``.
        chat: The text of the model's chat template, ``model.chat``, for a set with ``chat=True``.

    Returns:
        The pairs, in order; with ``answer="each"`` one pair per token of an answer.

    Raises:
        Refusal: The first pair that cannot run, with its number: `BadPrompt`, ``no_chat_template`` if ``chat`` is
            missing, ``impossible_options`` for more than 10 000 pairs.

    Example:
        >>> spec = am.CustomPrompts(source="custom", pairs=(am.CustomPair(reference="3 + 5 ="),), shots=2)
        >>> pair = am.prepare(spec, model.text).pairs[0].pair
        >>> pair.answer
        '8'
        >>> effects = am.path_patching(model, [pair])
    """
    spec, frame = with_shots(spec), frame_of(spec.chat, chat)
    encoded: list[EncodedPair] = []
    if isinstance(spec, TemplatePrompts):
        drawn = draw(spec, tokenizer, frame)
        for number, pair in enumerate(drawn.pairs, start=1):
            with _numbered_refusals(number):
                encoded += encode_answer(pair, tokenizer, frame, spec.answer, number - 1)
            refuse_too_many(len(encoded))
        return PromptSet(tuple(encoded), drawn.n_distinct, drawn.notes)
    for number, custom in enumerate(spec.pairs, start=1):
        with _numbered_refusals(number):
            pair = _completed(custom, spec, tokenizer)
            encoded += encode_answer(pair, tokenizer, frame, spec.answer, number - 1)
        refuse_too_many(len(encoded))
    return PromptSet(tuple(encoded), *_repeats(spec))


@check_arguments()
def preview(spec: CustomPrompts | TemplatePrompts, tokenizer: Tokenizer, chat: ChatFrame | None = None) -> Preview:
    """Shows the first 64 pairs of a set as the model's tokenizer reads them; runs no model.

    Args:
        spec: The set: `CustomPrompts` or `TemplatePrompts`.
        tokenizer: The model's tokenizer, ``model.text``.
        chat: The text of the model's chat template, ``model.chat``, for a set with ``chat=True``.

    Returns:
        Tokens with their roles, the answer, and for a pair that cannot run its ``problem``.

    Raises:
        Refusal: ``no_chat_template`` if ``chat`` is missing; ``impossible_options`` or ``no_prompts`` for a template
            set that cannot exist.

    Example:
        >>> spec = am.TemplatePrompts(source="template", operations=("add",), shots=0, pairs=2)
        >>> item = am.preview(spec, model.text).items[0]
        >>> [token.role for token in item.reference][1]
        'operator'
    """
    spec, frame = with_shots(spec), frame_of(spec.chat, chat)
    if isinstance(spec, TemplatePrompts):
        drawn = draw(spec, tokenizer, frame, PREVIEWED_PAIRS)
        items = [item for pair in drawn.pairs for item in _items(pair, spec, tokenizer, frame)]
        return Preview(
            items=tuple(items[:PREVIEWED_PAIRS]), n_distinct=drawn.n_distinct, notes=drawn.notes, shots=spec.shots
        )
    shown = spec.pairs[:PREVIEWED_PAIRS]
    items = [item for custom in shown for item in _custom_items(custom, spec, tokenizer, frame)]
    n_distinct, notes = _repeats(spec)
    return Preview(items=tuple(items[:PREVIEWED_PAIRS]), n_distinct=n_distinct, notes=notes, shots=shots_of(spec))


@check_arguments(
    operands=Range(0, MAX_OPERAND),
    pairs=Range(1, MAX_PAIRS),
    shots=Range(0, MAX_SHOTS),
    seed=Range(0, MAX_SEED),
    decimals=Range(0, MAX_DECIMALS),
)
def generate(
    operations: Sequence[Operation] = ("add",),
    styles: Sequence[Style] = ("equation",),
    operands: tuple[int, int] = (1, 9),
    pairs: int = 64,
    shots: int = 2,
    corruption: Corruption = "null_operator",
    seed: int = 0,
    *,
    topic: Topic = "question",
    wording: Wording = "plain",
    numerals: Numerals = "digits",
    decimals: int = 0,
    answer: AnswerTokens = "whole",
    half: Half | None = None,
    tokenizer: Tokenizer | Any,
    chat: ChatFrame | None = None,
) -> list[PromptPair]:
    """Draws prompt pairs from templates, without replacement.

    Args:
        operations: ``"add"``, ``"subtract"``, ``"multiply"``, ``"divide"``, ``"power"``.
        styles: ``"equation"``, ``"statement"``, ``"question"``.
        operands: Smallest and largest operand, from 0 to 9 999.
        pairs: Number of pairs, at most 10 000; fewer are returned if fewer exist.
        shots: Solved examples before each question, 0 to 8.
        corruption: The counterfactual: ``"null_operator"``, ``"operand_swap"``, ``"operand_swap_same_answer"`` or
            ``"operator_swap"``.
        seed: Seed of the draw.
        topic: ``"question"`` or another kind of prompt, such as ``"word_problem"``, or ``"facts"`` as a control without
            arithmetic; see docs/prompts.md.
        wording: ``"plain"`` or ``"varied"``.
        numerals: ``"digits"`` or ``"words"``.
        decimals: Decimal places of the operands, 0 to 2.
        answer: Answers of several tokens: ``"whole"`` excludes them, ``"first"`` measures the first token, ``"each"``
            every token.
        half: ``"first"`` or ``"second"`` half of all operands, so that two sets share none; None for all.
        tokenizer: The model's tokenizer: ``model.tokenizer``, or a `tokenizers.Tokenizer`.
        chat: ``model.chat``, to run the pairs through the model's chat template; None for plain prompts.

    Returns:
        The pairs as plain text, the solved examples included.

    Raises:
        Refusal: ``bad_request`` for an option out of range, ``impossible_options`` for options that exclude each other,
            ``bad_tokenizer`` for an object that is not a tokenizer, ``no_prompts`` if no such pair exists.

    Example:
        >>> pairs = am.generate(("add", "subtract"), pairs=4, tokenizer=model.tokenizer)
        >>> len(pairs)
        4
    """
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise Refusal("bad_tokenizer", f"{type(tokenizer).__name__} is not a tokenizer.", "Pass the model's tokenizer.")
    fields = {
        "operations": operations,
        "styles": styles,
        "operands": operands,
        "pairs": pairs,
        "shots": shots,
        "corruption": corruption,
        "seed": seed,
        "topic": topic,
        "wording": wording,
        "numerals": numerals,
        "decimals": decimals,
        "answer": answer,
        "half": half,
        "chat": chat is not None,
    }
    return list(draw(template_prompts(fields), tokenizer, chat).pairs)


def template_prompts(fields: dict[str, Any]) -> TemplatePrompts:
    """The template set with these fields. Raises Refusal (``bad_request``) for the first one that is out of range."""
    try:
        return TemplatePrompts.model_validate({"source": "template", **fields})
    except ValidationError as error:
        raise refusal_of(error) from error


def refuse_too_many(pairs: int) -> None:
    """Raises Refusal (``impossible_options``) on more than `MAX_PAIRS` pairs. Called while the pairs are made: each
    token of an answer may be a pair, and all of them may not fit into memory."""
    if pairs > MAX_PAIRS:
        detail = f"The tokens of all answers make more than {MAX_PAIRS} pairs."
        raise Refusal("impossible_options", detail, "Choose fewer pairs, or measure only the answer's first token.")


@contextmanager
def _numbered_refusals(number: int) -> Generator[None]:
    """Adds the number of the pair to a refusal raised inside the block."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(refusal.code, f"Pair {number}: {refusal.detail}", refusal.way_out) from refusal


def _completed(custom: CustomPair, spec: CustomPrompts, tokenizer: Tokenizer) -> PromptPair:
    """The pair with its answer, its counterfactual and its worked examples."""
    answered = with_answer(custom)
    custom = answered.pair
    prefix = shot_prefix(custom.reference, answered.reading, shots_of(spec))
    reference = prefix + custom.reference
    if custom.counterfactual is not None:
        return PromptPair(reference, prefix + custom.counterfactual, answered.answer, spec.chat)
    return PromptPair(reference, _corrupted(reference, spec.corruption, tokenizer), answered.answer, spec.chat)


def _corrupted(reference: str, corruption: Corruption, tokenizer: Tokenizer) -> str:
    counterfactual = corrupt(corruption, reference, _CUSTOM_SEED, tokenizer)
    if counterfactual is None:
        raise Refusal("no_counterfactual", f"{quoted(reference)} has no counterfactual by {corruption}.")
    return counterfactual


def _repeats(spec: CustomPrompts) -> tuple[int, tuple[str, ...]]:
    n_distinct = len({question_text(pair.reference) for pair in spec.pairs})
    if n_distinct == len(spec.pairs):
        return n_distinct, ()
    return n_distinct, (f"{len(spec.pairs)} pairs ask {n_distinct} different questions.",)


def _custom_items(
    custom: CustomPair, spec: CustomPrompts, tokenizer: Tokenizer, frame: ChatFrame | None
) -> list[PreviewItem]:
    try:
        return _items(_completed(custom, spec, tokenizer), spec, tokenizer, frame)
    except Refusal as refusal:
        reading = parse_question(custom.reference)
        problem = PreviewItem(
            reference=_readable(custom.reference, tokenizer, frame),
            counterfactual=_readable(custom.counterfactual or "", tokenizer, frame),
            answer=custom.answer if custom.answer is not None else reading and reading.answer,
            answer_id=None,
            problem=f"{refusal.detail} {refusal.way_out}",
        )
        return [problem]


def _items(
    pair: PromptPair, spec: CustomPrompts | TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None
) -> list[PreviewItem]:
    try:
        encoded = encode_answer(pair, tokenizer, frame, spec.answer)
    except Refusal as refusal:
        spans = counterfactual_spans(pair, parse_question(pair.reference))
        problem = PreviewItem(
            reference=_readable(pair.reference, tokenizer, frame),
            counterfactual=_readable(pair.counterfactual, tokenizer, frame, spans),
            answer=pair.answer,
            answer_id=None,
            problem=f"{refusal.detail} {refusal.way_out}",
        )
        return [problem]
    return [
        PreviewItem(
            reference=each.reference_tokens,
            counterfactual=each.counterfactual_tokens,
            answer=pair.answer,
            answer_id=each.answer_id,
            problem=None,
            place=each.place,
            places=each.places,
        )
        for each in encoded
    ]


def _readable(
    prompt: str, tokenizer: Tokenizer, frame: ChatFrame | None, spans: Sequence[RoleSpan] | None = None
) -> tuple[Token, ...]:
    """Tokens of a prompt that cannot run, for display; none if it cannot even be tokenised."""
    try:
        return prompt_tokens(prompt, tokenizer, spans, frame)
    except Refusal:
        return ()
