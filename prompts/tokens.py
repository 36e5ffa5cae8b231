"""Prompts as a tokeniser reads them: where the prompt ends and the answer begins, and what part each token plays.

The one rule that everything hangs on: the prompt ends just before the answer's first token. SmolLM2 and LLaMA
write ``= 8`` as ``=``, a bare space, ``8``: there the prompt ends with the space; GPT-2 writes one token `` 8``, and
the prompt ends at ``=``. So prompt and answer are tokenised together and then cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from contracts.errors import Refusal
from contracts.prompts import MAX_PROMPT_TOKENS, PromptPair, Role, Token
from prompts.arithmetic import Reading, read
from prompts.questions import Span, last_question, question_text

# How a vocabulary writes a leading space: byte-level BPE, Metaspace, plainly.
_SPACE_MARKERS = ("\u0120", "\u2581", " ")
_MAX_NUMBER_TOKEN = 18


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair as the model is given it. ``question`` is the last question's text: the same question, the same key."""

    pair: PromptPair
    reference_ids: tuple[int, ...]
    counterfactual_ids: tuple[int, ...]
    answer_id: int
    answer_text: str
    reference_tokens: tuple[Token, ...]
    counterfactual_tokens: tuple[Token, ...]
    question: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A token of a text: its id, its character offsets, its text as a person reads it."""

    id: int
    start: int
    end: int
    text: str


def encode_pair(pair: PromptPair, tokenizer: Tokenizer) -> EncodedPair:
    """Both prompts as token ids that end just before the answer's first token, and the answer's id.

    Refuses (``empty_prompt``, ``prompt_too_long``, ``answer_several_tokens``, ``answer_not_a_token``) a pair that
    has no such place in this vocabulary.
    """
    answer = pair.answer.rstrip()
    if not answer:
        raise Refusal("answer_not_a_token", "The answer is empty.", "Give an answer of one token, such as 8.")
    spaced_answer = answer_space(pair.reference, pair.answer) + answer.lstrip()
    reference, answer_piece = _cut(pair.reference, spaced_answer, "reference", tokenizer)
    counterfactual, other_piece = _cut(pair.counterfactual, spaced_answer, "counterfactual", tokenizer)
    if other_piece.id != answer_piece.id:
        raise Refusal(
            "answer_not_a_token",
            f"The answer {answer.lstrip()!r} is another token after the counterfactual than after the reference.",
            "End both prompts alike.",
        )
    reading = read(pair.reference)
    return EncodedPair(
        pair=pair,
        reference_ids=tuple(piece.id for piece in reference),
        counterfactual_ids=tuple(piece.id for piece in counterfactual),
        answer_id=answer_piece.id,
        answer_text=answer_piece.text,
        reference_tokens=_with_roles(pair.reference, reference, reading_spans(reading)),
        counterfactual_tokens=_with_roles(pair.counterfactual, counterfactual, counterfactual_spans(pair, reading)),
        question=question_text(pair.reference),
    )


def answer_space(prompt: str, answer: str) -> str:
    """The white space between the prompt's last visible character and its answer.

    White space that was typed is used as it is. Otherwise there is none within a number ("1723 to 172") and after
    a compact "3+5=", and one space anywhere else.
    """
    visible = prompt.rstrip()
    typed = prompt[len(visible) :] + answer[: len(answer) - len(answer.lstrip())]
    if typed:
        return typed
    within_number = visible[-1:].isdigit() and answer[:1].isdigit()
    compact = len(visible) > 1 and visible.endswith("=") and not visible[-2].isspace()
    return "" if within_number or compact else " "


def prompt_tokens(
    prompt: str, tokenizer: Tokenizer, spans: Sequence[tuple[Span, Role]] | None = None
) -> tuple[Token, ...]:
    """A prompt's tokens with their roles where no answer is known; at most `MAX_PROMPT_TOKENS`."""
    pieces = _pieces(prompt, tokenizer)[:MAX_PROMPT_TOKENS]
    return _with_roles(prompt, pieces, reading_spans(read(prompt)) if spans is None else spans)


def number_token_values(tokenizer: Tokenizer) -> dict[int, int]:
    """The vocabulary's number tokens: ids whose text, one leading space aside, is all ASCII digits -> the number."""
    values: dict[int, int] = {}
    for text, token_id in tokenizer.get_vocab(with_added_tokens=True).items():
        digits = text[1:] if text.startswith(_SPACE_MARKERS) else text
        if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_NUMBER_TOKEN:
            values[token_id] = int(digits)
    return values


def _cut(prompt: str, spaced_answer: str, which: str, tokenizer: Tokenizer) -> tuple[list[_Piece], _Piece]:
    """The tokens before the answer, and the answer's one token."""
    visible = prompt.rstrip()
    if not visible:
        raise Refusal("empty_prompt", f"The {which} prompt is empty.")
    text = visible + spaced_answer
    answer = spaced_answer.lstrip()
    answer_start = len(text) - len(answer)
    pieces = _pieces(text, tokenizer)
    at = next((at for at, piece in enumerate(pieces) if piece.start <= answer_start < piece.end), None)
    if at is None:
        if pieces and max(piece.end for piece in pieces) < len(visible):
            raise Refusal("prompt_too_long", f"The {which} prompt is longer than this tokenizer reads.")
        raise Refusal("answer_not_a_token", f"This vocabulary has no token for the answer {answer!r}.")
    piece = pieces[at]
    if at > MAX_PROMPT_TOKENS:
        raise Refusal("prompt_too_long", f"The {which} prompt has {at} tokens; the most is {MAX_PROMPT_TOKENS}.")
    if text[piece.start : answer_start].strip():
        joined = text[piece.start : piece.end]
        raise Refusal("answer_not_a_token", f"{joined!r} is one token: the answer {answer!r} begins inside it.")
    if any(later.end > later.start for later in pieces[at + 1 :]):
        several = sum(later.end > later.start for later in pieces[at:])
        raise Refusal("answer_several_tokens", f"The answer {answer!r} is {several} tokens for this model.")
    if piece.id == _unknown_id(tokenizer):
        raise Refusal("answer_not_a_token", f"This vocabulary has no token for the answer {answer!r}.")
    if at == 0:
        raise Refusal("empty_prompt", f"The {which} prompt has no token before the answer.")
    return pieces[:at], piece


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    unknown = getattr(tokenizer.model, "unk_token", None)
    return tokenizer.token_to_id(unknown) if isinstance(unknown, str) else None


def _pieces(text: str, tokenizer: Tokenizer) -> list[_Piece]:
    """The tokens of a text, special ones included, padding not."""
    encoding: Encoding = tokenizer.encode(text)
    kept = [at for at, attended in enumerate(encoding.attention_mask) if attended]
    ids, offsets = [encoding.ids[at] for at in kept], [encoding.offsets[at] for at in kept]
    pieces: list[_Piece] = []
    reached = 0
    for at, (token_id, (start, end)) in enumerate(zip(ids, offsets, strict=True)):
        if end <= start:
            pieces.append(_Piece(token_id, reached, reached, tokenizer.id_to_token(token_id) or ""))
            continue
        # Some tokenisers leave the space before a word out of its offsets.
        first = reached if reached < start and text[reached:start].isspace() else start
        part_of_a_character = start < reached or (at + 1 < len(ids) and start < offsets[at + 1][0] < end)
        shown = text[first:end]
        if part_of_a_character or (at + 1 < len(ids) and offsets[at + 1] == (start, end)):
            shown = tokenizer.decode([token_id], skip_special_tokens=False)
        pieces.append(_Piece(token_id, start, end, shown))
        reached = max(reached, end)
    return pieces


def reading_spans(reading: Reading | None) -> list[tuple[Span, Role]]:
    """The parts of the last question that play a role."""
    if reading is None:
        return []
    spans: list[tuple[Span, Role]] = [(operator.span, "operator") for operator in reading.operators]
    for index, operand in enumerate(reading.operands):
        spans.append((operand.span, "operand_b" if index else "operand_a"))
    if reading.equals:
        spans.append((reading.equals, "equals"))
    return sorted(spans)


def counterfactual_spans(pair: PromptPair, reading: Reading | None) -> list[tuple[Span, Role]]:
    """The parts of the counterfactual's last question.

    Where that is no arithmetic ("3 @ 5 =") it is the reference's question with something else in its operators'
    places, and the other parts are found by their text.
    """
    own = read(pair.counterfactual)
    if own is not None or reading is None:
        return reading_spans(own)
    start, end = last_question(pair.counterfactual)
    kept = _between([operator.span for operator in reading.operators], reading.question)
    if not pair.counterfactual.startswith(pair.reference[slice(*kept[0])], start):
        return []
    # How far each kept part has moved.
    moves: list[int] = []
    at = start
    for number, part in enumerate(kept):
        text = pair.reference[slice(*part)]
        last = number == len(kept) - 1
        found = end - len(text) if last else pair.counterfactual.find(text, at, end)
        if found < at or not pair.counterfactual.startswith(text, found):
            return []
        moves.append(found - part[0])
        at = found + len(text)
    spans: list[tuple[Span, Role]] = []
    for (first, last_), role in reading_spans(reading):
        if role == "operator":
            continue
        move = next(move for move, part in zip(moves, kept, strict=True) if part[0] <= first and last_ <= part[1])
        spans.append(((first + move, last_ + move), role))
    for number in range(len(kept) - 1):
        spans.append(((kept[number][1] + moves[number], kept[number + 1][0] + moves[number + 1]), "operator"))
    return sorted(spans)


def _between(spans: Sequence[Span], whole: Span) -> list[Span]:
    """What is left of ``whole`` around the spans."""
    edges = [whole[0], *(edge for span in spans for edge in span), whole[1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _with_roles(prompt: str, pieces: Sequence[_Piece], spans: Sequence[tuple[Span, Role]]) -> tuple[Token, ...]:
    shots: tuple[Span, Role] = ((0, last_question(prompt)[0]), "shot")
    tokens: list[Token] = []
    for number, piece in enumerate(pieces):
        role = "first" if number == 0 else _role(prompt, piece, [shots, *spans])
        tokens.append(Token(text=piece.text, id=piece.id, role=role))
    return tuple(tokens)


def _role(prompt: str, piece: _Piece, spans: Sequence[tuple[Span, Role]]) -> Role:
    """The role that most of the token's visible characters play."""
    text = prompt[piece.start : piece.end]
    start = piece.start + len(text) - len(text.lstrip())
    end = piece.start + len(text.rstrip())
    if start >= end:
        start, end = piece.start, piece.end
    best: Role = "other"
    most = 0
    for (first, last), role in spans:
        overlap = min(end, last) - max(start, first)
        if overlap > most:
            best, most = role, overlap
    return best
