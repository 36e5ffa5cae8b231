"""Encoded prompt pairs: tokens with roles, cut just before the answer.

The central rule: the prompt ends just before the answer's first token. SmolLM2 and LLaMA tokenise ``= 8`` as ``=``, a
bare space, ``8``, so the prompt ends with the space; GPT-2 has one token `` 8``, so the prompt ends at ``=``. Therefore
prompt and answer are tokenised together and then cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompt_terms import MAX_PROMPT_TOKENS, AnswerTokens
from arithmoscope.contracts.prompts import PromptPair, Role, Token
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.numerals import NUMBER_WORD_PATTERN, value_of_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import last_question, question_text
from arithmoscope.prompts.language.roles import RoleSpan, counterfactual_spans, reading_spans, role_of
from arithmoscope.prompts.tokens.chat_layout import Layout, lay_out
from arithmoscope.prompts.tokens.tokenization import SPACE_MARKERS, Piece, chat_pieces, pieces_of, unknown_ids

_MAX_NUMBER_TOKEN = 18
_NUMBER_WORD = re.compile(NUMBER_WORD_PATTERN, re.IGNORECASE)
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_OPENING = ("(", "[", "{", "$")
_SIGNS = ("-", "\u2212", "+", "'", '"', "^")


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A prompt pair as token ids.

    Attributes:
        pair: The pair as text.
        reference_ids: Token ids of the reference prompt, up to just before the answer's token.
        counterfactual_ids: Token ids of the counterfactual prompt.
        answer_id: Token id of the answer.
        answer_text: Its text.
        reference_tokens: Tokens with their roles.
        counterfactual_tokens: Tokens with their roles.
        question: Text of the last question. Pairs of one question are not independent: intervals resample questions.
        index: The pair's number in its set, from 0.
        place: The measured token of the answer, from 0; the prompt contains the tokens before it.
        places: Number of tokens of the answer.
    """

    pair: PromptPair
    reference_ids: tuple[int, ...]
    counterfactual_ids: tuple[int, ...]
    answer_id: int
    answer_text: str
    reference_tokens: tuple[Token, ...]
    counterfactual_tokens: tuple[Token, ...]
    question: str
    index: int = 0
    place: int = 0
    places: int = 1


def encode_pair(pair: PromptPair, tokenizer: Tokenizer, chat: ChatFrame | None = None) -> EncodedPair:
    """Encodes both prompts as token ids that end just before the answer's first token, and the answer as one id.

    ``chat``: the text that the model's chat template puts around turns; required for a pair with ``chat``.

    Raises:
        Refusal: ``empty_prompt``, ``prompt_too_long``, ``answer_several_tokens`` or ``answer_not_a_token`` if the pair
            cannot be cut that way in this vocabulary; ``no_chat_template``.
    """
    return encode_answer(pair, tokenizer, chat)[0]


def encode_answer(
    pair: PromptPair,
    tokenizer: Tokenizer,
    chat: ChatFrame | None = None,
    tokens: AnswerTokens = "whole",
    index: int = 0,
) -> tuple[EncodedPair, ...]:
    """Like `encode_pair`, for answers of several tokens: at the ``first`` one, or at ``each`` one, where both prompts
    continue with the answer's earlier tokens (teacher forcing). ``index``: the pair's place in its set."""
    layout, other_layout, reference, answer, counterfactual, other_answer = _cut_both(pair, tokenizer, chat, tokens)
    places = range(len(answer) if tokens == "each" else 1)
    reading = parse_question(pair.reference)
    reference_tokens = _with_roles(layout, [*reference, *answer[: len(places) - 1]], reading_spans(reading))
    other_spans = counterfactual_spans(pair, reading)
    other_tokens = _with_roles(other_layout, [*counterfactual, *other_answer[: len(places) - 1]], other_spans)
    return tuple(
        EncodedPair(
            pair=pair,
            reference_ids=tuple(token.id for token in reference_tokens[: len(reference) + place]),
            counterfactual_ids=tuple(token.id for token in other_tokens[: len(counterfactual) + place]),
            answer_id=answer[place].id,
            answer_text=answer[place].text,
            reference_tokens=reference_tokens[: len(reference) + place],
            counterfactual_tokens=other_tokens[: len(counterfactual) + place],
            question=question_text(pair.reference),
            index=index,
            place=place,
            places=len(answer),
        )
        for place in places
    )


def can_answer(
    pair: PromptPair, tokenizer: Tokenizer, chat: ChatFrame | None = None, tokens: AnswerTokens = "whole"
) -> bool:
    """True if `encode_answer` accepts the pair, at a fraction of its cost.

    Raises:
        Refusal: ``prompt_too_long``.
    """
    try:
        _cut_both(pair, tokenizer, chat, tokens)
    except Refusal as refusal:
        if refusal.code == "prompt_too_long":
            raise
        return False
    return True


def _cut_both(
    pair: PromptPair, tokenizer: Tokenizer, chat: ChatFrame | None, tokens: AnswerTokens
) -> tuple[Layout, Layout, list[Piece], list[Piece], list[Piece], list[Piece]]:
    """Both layouts, and for each the tokens before the answer and those of the answer."""
    frame = frame_of(pair.chat, chat)
    answer = pair.answer.rstrip()
    if not answer:
        raise Refusal("answer_not_a_token", "The answer is empty.", "Give an answer of one token, such as 8.")
    spaced_answer = answer_space(pair.reference, pair.answer) + answer.lstrip()
    before, other = lay_out(pair.reference, frame), lay_out(pair.counterfactual, frame)
    cut = _cut(before, spaced_answer, "reference", tokenizer, tokens)
    other_cut = cut
    if pair.counterfactual != pair.reference:
        other_cut = _cut(other, spaced_answer, "counterfactual", tokenizer, tokens)
    answer_ids, other_answer_ids = (
        [piece.id for piece in pieces][: None if tokens == "each" else 1] for _, pieces in (cut, other_cut)
    )
    if answer_ids != other_answer_ids:
        raise Refusal(
            "answer_not_a_token",
            f"The answer {answer.lstrip()!r} is a different token after the counterfactual than after the reference.",
            "End both prompts in the same way.",
        )
    return before, other, *cut, *other_cut


def frame_of(is_chat: bool, chat: ChatFrame | None) -> ChatFrame | None:
    """The chat frame of prompts, or None for plain ones. Raises Refusal (``no_chat_template``) if it is missing."""
    if is_chat and chat is None:
        raise Refusal("no_chat_template", "Chat prompts need the model's chat template, and it has none.")
    return chat if is_chat else None


def answer_space(prompt: str, answer: str) -> str:
    """The white space between the prompt's last visible character and its answer.

    Typed white space is kept. Otherwise there is none within a number ("from 1723 to 172", unlike after a complete
    question such as "What is 3 + 5"), after a compact "3+5=" and after an opening sign ("= -", "= (", "$"), and one
    space everywhere else.
    """
    visible = prompt.rstrip()
    typed = prompt[len(visible) :] or answer[: len(answer) - len(answer.lstrip())]
    if typed:
        return typed
    within_number = visible[-1:].isdecimal() and answer[:1].isdecimal() and read(visible) is None
    compact = len(visible) > 1 and visible.endswith("=") and not visible[-2].isspace()
    return "" if within_number or compact or _opens(visible) else " "


def _opens(visible: str) -> bool:
    """True if a prompt ends in a sign that directly precedes a number: a minus, an opening bracket or quote."""
    last, before = visible[-1:], visible[-2:-1]
    return last in _OPENING or (last in _SIGNS and (not before or before.isspace() or before in _OPENING))


def prompt_tokens(
    prompt: str, tokenizer: Tokenizer, spans: Sequence[RoleSpan] | None = None, frame: ChatFrame | None = None
) -> tuple[Token, ...]:
    """The tokens of a prompt without an answer, with their roles; at most `MAX_PROMPT_TOKENS`."""
    layout = lay_out(prompt, frame)
    pieces = _pieces(layout, layout.text if layout.chat else prompt, tokenizer)[:MAX_PROMPT_TOKENS]
    return _with_roles(layout, pieces, reading_spans(parse_question(prompt)) if spans is None else spans)


def number_token_values(tokenizer: Tokenizer) -> dict[int, int]:
    """The vocabulary's number tokens, id -> number: their text, after an optional space, is all ASCII digits."""
    values: dict[int, int] = {}
    for text, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        digits = text[1:] if text.startswith(SPACE_MARKERS) else text
        if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_NUMBER_TOKEN:
            values[token_id] = int(digits)
    return values


def number_word_values(tokenizer: Tokenizer) -> dict[int, int]:
    """The vocabulary's number words, id -> number: zero to ninety-nine, each a single token."""
    values: dict[int, int] = {}
    for text, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        word = text[1:] if text.startswith(SPACE_MARKERS) else text
        if _NUMBER_WORD.fullmatch(word):
            values[token_id] = value_of_words(word)
    return values


def _cut(
    layout: Layout, spaced_answer: str, which: str, tokenizer: Tokenizer, tokens: AnswerTokens
) -> tuple[list[Piece], list[Piece]]:
    """The tokens before the answer, and those of the answer: one, unless ``tokens`` allows several."""
    if not layout.text:
        raise Refusal("empty_prompt", f"The {which} prompt is empty.")
    text = layout.text + spaced_answer
    if _HALF_A_CHARACTER.search(text):
        raise Refusal("bad_request", f"The {which} prompt contains a lone surrogate.", "Remove it.")
    answer = spaced_answer.lstrip()
    answer_start = len(text) - len(answer)
    pieces = _pieces(layout, text, tokenizer)
    index = next((index for index, piece in enumerate(pieces) if piece.start <= answer_start < piece.end), None)
    truncation = cast("dict[str, Any] | None", tokenizer.truncation)  # pyright: ignore[reportUnknownMemberType]
    if truncation is not None and len(pieces) >= truncation["max_length"]:
        raise Refusal("prompt_too_long", f"The {which} prompt is longer than this tokenizer's limit.")
    if index is None:
        raise Refusal("answer_not_a_token", f"This vocabulary has no token for the answer {answer!r}.")
    piece = pieces[index]
    answer_pieces = [piece, *(later for later in pieces[index + 1 :] if later.end > later.start)]
    if index + (len(answer_pieces) - 1 if tokens == "each" else 0) > MAX_PROMPT_TOKENS:
        raise Refusal("prompt_too_long", f"The {which} prompt has {index} tokens; the most is {MAX_PROMPT_TOKENS}.")
    if text[piece.start : answer_start].strip():
        joined = text[piece.start : piece.end]
        raise Refusal("answer_not_a_token", f"{joined!r} is one token: the answer {answer!r} begins inside it.")
    if len(answer_pieces) > 1 and tokens == "whole":
        raise Refusal("answer_several_tokens", f"The answer {answer!r} is {len(answer_pieces)} tokens for this model.")
    if unknown_ids(tokenizer) & {each.id for each in (answer_pieces if tokens == "each" else answer_pieces[:1])}:
        raise Refusal("answer_not_a_token", f"This vocabulary has no token for the answer {answer!r}.")
    if index == 0:
        raise Refusal("empty_prompt", f"The {which} prompt has no token before the answer.")
    return pieces[:index], answer_pieces


def _pieces(layout: Layout, text: str, tokenizer: Tokenizer) -> list[Piece]:
    """The tokens of ``text``, which is the layout's text with typed text after it."""
    if not layout.chat:
        return pieces_of(text, tokenizer)
    typed = [stretch.place for stretch in layout.stretches]
    return chat_pieces(text, [*typed, (len(layout.text), len(text))], tokenizer)


def _with_roles(layout: Layout, pieces: Sequence[Piece], spans: Sequence[RoleSpan]) -> tuple[Token, ...]:
    """Tokens with roles. The first token is always ``first``, because idle attention rests there; a template's own
    tokens are ``other``."""
    shots: RoleSpan = ((0, last_question(layout.prompt)[0]), "shot")
    stretches = layout.placed([shots, *spans])
    tokens: list[Token] = []
    position = 0
    for number, piece in enumerate(pieces):
        while position + 1 < len(stretches) and stretches[position][0][1] <= piece.start:
            position += 1
        (start, end), moved = stretches[position]
        role: Role = "other"
        if number == 0:
            role = "first"
        elif start < piece.end and piece.start < end:
            role = _role(layout.text, piece, moved)
        tokens.append(_token(piece.text, piece.id, role))
    return tuple(tokens)


def _role(text: str, piece: Piece, spans: Sequence[RoleSpan]) -> Role:
    for (start, end), role in spans:
        if role == "shot" and start <= piece.start < piece.end <= end:  # white space included
            return "shot"
    return "other" if piece.text.isspace() else role_of(text, (piece.start, piece.end), spans)


@lru_cache(maxsize=4_096)
def _token(text: str, token_id: int, role: Role) -> Token:
    # A set consists of a few distinct tokens, and validating each anew would take most of the time.
    return Token(text=text, id=token_id, role=role)
