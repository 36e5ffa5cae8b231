"""Prompts as a tokeniser reads them: where the prompt ends and the answer begins, and what part each token plays.

The one rule that everything hangs on: the prompt ends just before the answer's first token. SmolLM2 and LLaMA
write ``= 8`` as ``=``, a bare space, ``8``: there the prompt ends with the space; GPT-2 writes one token `` 8``, and
the prompt ends at ``=``. So prompt and answer are tokenised together and then cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import MAX_PROMPT_TOKENS, AnswerTokens, PromptPair, Role, Token
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.numerals import NUMBER_WORD_PATTERN, value_of_words
from arithmoscope.prompts.language.parse_question import understood
from arithmoscope.prompts.language.questions import last_question, question_text
from arithmoscope.prompts.language.roles import RoleSpan, counterfactual_spans, reading_spans, role_of
from arithmoscope.prompts.tokens.chat_layout import Layout, laid_out
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
        asked: The pair's number in its set, from 0.
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
    asked: int = 0
    place: int = 0
    places: int = 1


def encode_pair(pair: PromptPair, tokenizer: Tokenizer, chat: ChatFrame | None = None) -> EncodedPair:
    """Both prompts as token ids that end just before the answer's first token, and the answer's id.

    ``chat``: what the model's chat template writes around a prompt; a pair that is to be asked as a ``chat`` needs it.

    Refuses (``empty_prompt``, ``prompt_too_long``, ``answer_several_tokens``, ``answer_not_a_token``) a pair that
    has no such place in this vocabulary.
    """
    return encode_answer(pair, tokenizer, chat)[0]


def encode_answer(
    pair: PromptPair,
    tokenizer: Tokenizer,
    chat: ChatFrame | None = None,
    tokens: AnswerTokens = "whole",
    asked: int = 0,
) -> tuple[EncodedPair, ...]:
    """As `encode_pair`, with ``tokens`` of an answer of several: at its ``first`` one, or at ``each``, where both
    prompts go on with the answer's tokens before it (teacher forcing)."""
    before, other, reference, said, counterfactual, said_there = _cut_both(pair, tokenizer, chat, tokens)
    places = range(len(said) if tokens == "each" else 1)
    reading = understood(pair.reference)
    asked_tokens = _with_roles(before, [*reference, *said[: len(places) - 1]], reading_spans(reading))
    other_spans = counterfactual_spans(pair, reading)
    other_tokens = _with_roles(other, [*counterfactual, *said_there[: len(places) - 1]], other_spans)
    return tuple(
        EncodedPair(
            pair=pair,
            reference_ids=tuple(token.id for token in asked_tokens[: len(reference) + place]),
            counterfactual_ids=tuple(token.id for token in other_tokens[: len(counterfactual) + place]),
            answer_id=said[place].id,
            answer_text=said[place].text,
            reference_tokens=asked_tokens[: len(reference) + place],
            counterfactual_tokens=other_tokens[: len(counterfactual) + place],
            question=question_text(pair.reference),
            asked=asked,
            place=place,
            places=len(said),
        )
        for place in places
    )


def can_answer(
    pair: PromptPair, tokenizer: Tokenizer, chat: ChatFrame | None = None, tokens: AnswerTokens = "whole"
) -> bool:
    """Whether `encode_answer` takes a pair, at a fraction of its cost.

    Refuses (``prompt_too_long``) a prompt that no answer could follow.
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
    """Both layouts, and of each the tokens before the answer and the answer's."""
    frame = frame_of(pair.chat, chat)
    answer = pair.answer.rstrip()
    if not answer:
        raise Refusal("answer_not_a_token", "The answer is empty.", "Give an answer of one token, such as 8.")
    spaced_answer = answer_space(pair.reference, pair.answer) + answer.lstrip()
    before, other = laid_out(pair.reference, frame), laid_out(pair.counterfactual, frame)
    cut = _cut(before, spaced_answer, "reference", tokenizer, tokens)
    other_cut = cut
    if pair.counterfactual != pair.reference:
        other_cut = _cut(other, spaced_answer, "counterfactual", tokenizer, tokens)
    asked, asked_there = (
        [piece.id for piece in said][: None if tokens == "each" else 1] for _, said in (cut, other_cut)
    )
    if asked != asked_there:
        raise Refusal(
            "answer_not_a_token",
            f"The answer {answer.lstrip()!r} is another token after the counterfactual than after the reference.",
            "End both prompts alike.",
        )
    return before, other, *cut, *other_cut


def frame_of(is_chat: bool, chat: ChatFrame | None) -> ChatFrame | None:
    """The frame that prompts are put into, if they are to be. Refuses (``no_chat_template``) when there is none."""
    if is_chat and chat is None:
        raise Refusal("no_chat_template", "A chat was asked for without the model's chat template.")
    return chat if is_chat else None


def answer_space(prompt: str, answer: str) -> str:
    """The white space between the prompt's last visible character and its answer.

    White space that was typed is used as it is. Otherwise there is none within a number ("from 1723 to 172", but not
    after a whole question such as "What is 3 + 5"), after a compact "3+5=" and after an opening sign ("= -", "= (",
    "$"), and one space anywhere else.
    """
    visible = prompt.rstrip()
    typed = prompt[len(visible) :] or answer[: len(answer) - len(answer.lstrip())]
    if typed:
        return typed
    within_number = visible[-1:].isdecimal() and answer[:1].isdecimal() and read(visible) is None
    compact = len(visible) > 1 and visible.endswith("=") and not visible[-2].isspace()
    return "" if within_number or compact or _opens(visible) else " "


def _opens(visible: str) -> bool:
    """Whether a prompt ends in a sign that stands right before a number: a minus, an opening bracket or quote."""
    last, before = visible[-1:], visible[-2:-1]
    return last in _OPENING or (last in _SIGNS and (not before or before.isspace() or before in _OPENING))


def prompt_tokens(
    prompt: str, tokenizer: Tokenizer, spans: Sequence[RoleSpan] | None = None, frame: ChatFrame | None = None
) -> tuple[Token, ...]:
    """A prompt's tokens with their roles where no answer is known; at most `MAX_PROMPT_TOKENS`."""
    layout = laid_out(prompt, frame)
    pieces = _pieces(layout, layout.text if layout.chat else prompt, tokenizer)[:MAX_PROMPT_TOKENS]
    return _with_roles(layout, pieces, reading_spans(understood(prompt)) if spans is None else spans)


def number_token_values(tokenizer: Tokenizer) -> dict[int, int]:
    """The vocabulary's number tokens: ids whose text, one leading space aside, is all ASCII digits -> the number."""
    values: dict[int, int] = {}
    for text, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        digits = text[1:] if text.startswith(SPACE_MARKERS) else text
        if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_NUMBER_TOKEN:
            values[token_id] = int(digits)
    return values


def number_word_values(tokenizer: Tokenizer) -> dict[int, int]:
    """The vocabulary's number words (zero to ninety, whole in one token): ids -> the number."""
    values: dict[int, int] = {}
    for text, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        word = text[1:] if text.startswith(SPACE_MARKERS) else text
        if _NUMBER_WORD.fullmatch(word):
            values[token_id] = value_of_words(word)
    return values


def _cut(
    layout: Layout, spaced_answer: str, which: str, tokenizer: Tokenizer, tokens: AnswerTokens
) -> tuple[list[Piece], list[Piece]]:
    """The tokens before the answer, and the answer's: one, unless ``tokens`` takes several."""
    if not layout.text:
        raise Refusal("empty_prompt", f"The {which} prompt is empty.")
    text = layout.text + spaced_answer
    if _HALF_A_CHARACTER.search(text):
        raise Refusal("bad_request", f"The {which} prompt holds half a character.", "Leave lone surrogates out.")
    answer = spaced_answer.lstrip()
    answer_start = len(text) - len(answer)
    pieces = _pieces(layout, text, tokenizer)
    at = next((at for at, piece in enumerate(pieces) if piece.start <= answer_start < piece.end), None)
    truncation = tokenizer.truncation
    if truncation is not None and len(pieces) >= truncation["max_length"]:
        raise Refusal("prompt_too_long", f"The {which} prompt is longer than this tokenizer reads.")
    if at is None:
        raise Refusal("answer_not_a_token", f"This vocabulary has no token for the answer {answer!r}.")
    piece = pieces[at]
    said = [piece, *(later for later in pieces[at + 1 :] if later.end > later.start)]
    if at + (len(said) - 1 if tokens == "each" else 0) > MAX_PROMPT_TOKENS:
        raise Refusal("prompt_too_long", f"The {which} prompt has {at} tokens; the most is {MAX_PROMPT_TOKENS}.")
    if text[piece.start : answer_start].strip():
        joined = text[piece.start : piece.end]
        raise Refusal("answer_not_a_token", f"{joined!r} is one token: the answer {answer!r} begins inside it.")
    if len(said) > 1 and tokens == "whole":
        raise Refusal("answer_several_tokens", f"The answer {answer!r} is {len(said)} tokens for this model.")
    if unknown_ids(tokenizer) & {each.id for each in (said if tokens == "each" else said[:1])}:
        raise Refusal("answer_not_a_token", f"This vocabulary has no token for the answer {answer!r}.")
    if at == 0:
        raise Refusal("empty_prompt", f"The {which} prompt has no token before the answer.")
    return pieces[:at], said


def _pieces(layout: Layout, text: str, tokenizer: Tokenizer) -> list[Piece]:
    """The tokens of a layout's text; what stands in ``text`` after it people typed, too."""
    if not layout.chat:
        return pieces_of(text, tokenizer)
    typed = [stretch.place for stretch in layout.stretches]
    return chat_pieces(text, [*typed, (len(layout.text), len(text))], tokenizer)


def _with_roles(layout: Layout, pieces: Sequence[Piece], spans: Sequence[RoleSpan]) -> tuple[Token, ...]:
    """The first token is ``first`` whatever it says: attention rests there. What a template wrote is ``other``."""
    shots: RoleSpan = ((0, last_question(layout.prompt)[0]), "shot")
    stretches = layout.placed([shots, *spans])
    tokens: list[Token] = []
    at = 0
    for number, piece in enumerate(pieces):
        while at + 1 < len(stretches) and stretches[at][0][1] <= piece.start:
            at += 1
        (start, end), moved = stretches[at]
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
    # The same few tokens make up a whole set, and validating each anew takes most of its time.
    return Token(text=text, id=token_id, role=role)
