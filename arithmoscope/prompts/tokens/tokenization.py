"""Texts cut into tokens, each with its place in the text.

In a conversation the template's control tokens are tokens and what people type is text: ``<|im_end|>`` in a prompt is
some characters, and ends nobody's turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from tokenizers import Encoding, Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.prompts.language.questions import Span

# How a vocabulary writes a leading space: byte-level BPE, Metaspace, plainly.
SPACE_MARKERS = ("\u0120", "\u2581", " ")
# Characters that no text has a use for, to spell control tokens with: private use, plane 15.
_PRIVATE, _PRIVATE_END = 0xF0000, 0xFFFFD
# Private use again, its last character: one that no vocabulary has.
_UNKNOWN_CHARACTER = "\U0010fffd"
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")

# A token's id, its character offsets, and whether the tokeniser put it in by itself.
_Row = tuple[int, Span, bool]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of a text: its id, its character offsets, its text as a person reads it."""

    id: int
    start: int
    end: int
    text: str


def pieces_of(text: str, tokenizer: Tokenizer) -> list[Piece]:
    """The tokens of a text, special ones included, padding not."""
    return _pieces(text, _rows(tokenizer.encode(text)), tokenizer)


def chat_pieces(text: str, typed: Sequence[Span], tokenizer: Tokenizer) -> list[Piece]:
    """The tokens of a conversation, of which people typed some stretches and a template wrote the rest.

    Nothing is put before it: a template writes its own first token. What people typed holds no control token: none of
    the tokeniser's special tokens but the unknown one, and none of the others that the template writes. Refuses
    (``bad_request``) a text that this tokeniser cannot keep apart from them.
    """
    rows = _rows(tokenizer.encode(text, add_special_tokens=False))
    added = _added_tokens(tokenizer)
    if any(token_id in added and _meets(span, typed) for token_id, span, _ in rows):
        written = [text[slice(*span)] for span in _around(typed, len(text))]
        controls = {
            token_id: token.text
            for token_id, token in added.items()
            if token.special or (token.text.strip() and any(token.text in part for part in written))
        }
        if any(token_id in controls and _meets(span, typed) for token_id, span, _ in rows):
            rows = _sealed_rows(text, typed, rows, controls, tokenizer)
    return _pieces(text, rows, tokenizer)


def _rows(encoding: Encoding) -> list[_Row]:
    found = zip(encoding.ids, encoding.offsets, encoding.special_tokens_mask, encoding.attention_mask, strict=True)
    return [(token_id, span, bool(special)) for token_id, span, special, attended in found if attended]


def _pieces(text: str, rows: Sequence[_Row], tokenizer: Tokenizer) -> list[Piece]:
    pieces: list[Piece] = []
    reached = 0
    for at, (token_id, (start, end), special) in enumerate(rows):
        if special and end <= start:  # one that the tokeniser put in
            pieces.append(Piece(token_id, reached, reached, tokenizer.id_to_token(token_id) or ""))
            continue
        # Some tokenisers leave the space before a word out of its offsets.
        if start > reached and text[reached:start].isspace():
            start = reached
        next_start, next_end = rows[at + 1][1] if at + 1 < len(rows) else (end, end)
        if end <= start or start < reached or start <= next_start < min(end, next_end):
            shown = _decoded(token_id, tokenizer)
        else:
            shown = text[start:end]
        pieces.append(Piece(token_id, start, end, shown))
        reached = max(reached, end)
    return pieces


def _decoded(token_id: int, tokenizer: Tokenizer) -> str:
    """A token that is not just some characters of the text: a part of a character, or a space put in before it."""
    decoded = tokenizer.decode([token_id], skip_special_tokens=False)
    if decoded:
        return decoded
    raw = tokenizer.id_to_token(token_id) or ""
    return " " if raw in SPACE_MARKERS else raw


@dataclass(frozen=True, slots=True)
class _Added:
    text: str
    special: bool


@lru_cache(maxsize=2)  # a model has up to some thousand, and a set asks twice for every pair
def _added_tokens(tokenizer: Tokenizer) -> Mapping[int, _Added]:
    """Tokens that are matched as they are written, before anything else is cut; without those that stand for
    characters, or bytes, that the vocabulary does not have."""
    unknown = unknown_ids(tokenizer)
    return {
        token_id: _Added(token.content, token.special)
        for token_id, token in tokenizer.get_added_tokens_decoder().items()
        if token_id not in unknown and not _BYTE.fullmatch(token.content)
    }


@lru_cache(maxsize=2)
def unknown_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """What this tokeniser writes for a character that no vocabulary has."""
    return frozenset(tokenizer.encode(_UNKNOWN_CHARACTER, add_special_tokens=False).ids)


def _meets(span: Span, stretches: Sequence[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in stretches)


def _around(stretches: Sequence[Span], length: int) -> list[Span]:
    """What lies before, between and after some stretches that follow each other."""
    edges = [0, *chain.from_iterable(stretches), length]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _sealed_rows(
    text: str, typed: Sequence[Span], rows: Sequence[_Row], controls: Mapping[int, str], tokenizer: Tokenizer
) -> list[_Row]:
    """The tokens when nobody but the template can write control tokens.

    In the template's parts, and in a copy of the tokeniser, every control token is spelled in private characters, as
    many as it has of its own: offsets stay, and what people typed is no longer how any control token is written.
    """
    if any(_PRIVATE <= ord(character) <= _PRIVATE_END for character in text):
        raise Refusal("bad_request", "A prompt holds private characters.", "Leave them out.")
    sealed, seals = _sealed(tokenizer, tuple(sorted(controls.items())))
    spelled = re.compile("|".join(re.escape(token) for token in sorted(seals, key=len, reverse=True)))
    parts: list[str] = []
    for (start, end), stretch in zip(_around(typed, len(text)), [*typed, (0, 0)], strict=True):
        parts += spelled.sub(lambda found: seals[found[0]][0], text[start:end]), text[slice(*stretch)]
    real = {sealed.token_to_id(seal): token_id for seal, token_id in seals.values()}
    encoding = sealed.encode("".join(parts), add_special_tokens=False)
    found: list[_Row] = [(real.get(token_id, token_id), span, special) for token_id, span, special in _rows(encoding)]

    def of_template(rows: Sequence[_Row]) -> list[int]:
        return [token_id for token_id, span, _ in rows if token_id in controls and not _meets(span, typed)]

    if of_template(found) != of_template(rows) or any(
        token_id in controls and _meets(span, typed) for token_id, span, _ in found
    ):
        raise Refusal(
            "bad_request", "A prompt holds a control token that this tokenizer cannot read as text.", "Leave it out."
        )
    return found


@lru_cache(maxsize=1)
def _sealed(
    tokenizer: Tokenizer, controls: tuple[tuple[int, str], ...]
) -> tuple[Tokenizer, dict[str, tuple[str, int]]]:
    """A copy of a tokeniser with other spellings for its control tokens, and those: text -> (spelling, id)."""
    said = json.loads(tokenizer.to_str())
    seals = {
        text: (chr(_PRIVATE + number) * len(text), token_id)
        for number, (token_id, text) in enumerate(controls[: _PRIVATE_END - _PRIVATE])
    }
    for token in said["added_tokens"]:
        if token["content"] in seals:
            token["content"] = seals[token["content"]][0]
    return Tokenizer.from_str(json.dumps(said)), seals
