"""Tokenisation of texts, each token with its offsets.

In a conversation the template's control tokens are tokens, while typed text stays text: ``<|im_end|>`` in a prompt is a
sequence of characters and ends no turn.
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

# Forms of a leading space in a vocabulary: byte-level BPE, Metaspace, plain.
SPACE_MARKERS = ("\u0120", "\u2581", " ")
# Characters that do not occur in text, used to respell control tokens: private use, plane 15.
_PRIVATE, _PRIVATE_END = 0xF0000, 0xFFFFD
# The last private use character: no vocabulary has it.
_UNKNOWN_CHARACTER = "\U0010fffd"
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")

# A token's id, its character offsets, and whether the tokeniser added it as a special token.
_Row = tuple[int, Span, bool]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token of a text: its id, its character offsets, and its text as displayed."""

    id: int
    start: int
    end: int
    text: str


def pieces_of(text: str, tokenizer: Tokenizer) -> list[Piece]:
    """The tokens of a text, including special tokens but not padding."""
    return _pieces(text, _rows(tokenizer.encode(text)), tokenizer)


def chat_pieces(text: str, typed: Sequence[Span], tokenizer: Tokenizer) -> list[Piece]:
    """The tokens of a conversation, whose spans ``typed`` come from users and the rest from a chat template.

    No token is added at the start: a template writes its own first token. Typed text yields no control tokens: none of
    the tokeniser's special tokens but the unknown one, and no other added token that the template uses.

    Raises:
        Refusal: ``bad_request`` if this tokeniser cannot keep typed text and control tokens apart.
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
    rows = zip(encoding.ids, encoding.offsets, encoding.special_tokens_mask, encoding.attention_mask, strict=True)
    return [(token_id, span, bool(special)) for token_id, span, special, attended in rows if attended]


def _pieces(text: str, rows: Sequence[_Row], tokenizer: Tokenizer) -> list[Piece]:
    pieces: list[Piece] = []
    reached = 0
    for index, (token_id, (start, end), special) in enumerate(rows):
        if special and end <= start:  # added by the tokeniser
            pieces.append(Piece(token_id, reached, reached, tokenizer.id_to_token(token_id) or ""))
            continue
        # Some tokenisers exclude the space before a word from its offsets.
        if start > reached and text[reached:start].isspace():
            start = reached
        next_start, next_end = rows[index + 1][1] if index + 1 < len(rows) else (end, end)
        if end <= start or start < reached or start <= next_start < min(end, next_end):
            shown = _decoded(token_id, tokenizer)
        else:
            shown = text[start:end]
        pieces.append(Piece(token_id, start, end, shown))
        reached = max(reached, end)
    return pieces


def _decoded(token_id: int, tokenizer: Tokenizer) -> str:
    """Text of a token that is not a plain slice of the text: part of a character, or with an added space."""
    decoded = tokenizer.decode([token_id], skip_special_tokens=False)
    if decoded:
        return decoded
    raw = tokenizer.id_to_token(token_id) or ""
    return " " if raw in SPACE_MARKERS else raw


@dataclass(frozen=True, slots=True)
class _Added:
    text: str
    special: bool


@lru_cache(maxsize=2)  # a model has up to a few thousand, and a set needs them twice per pair
def _added_tokens(tokenizer: Tokenizer) -> Mapping[int, _Added]:
    """Tokens that are matched literally before all other tokenisation, except those for unknown characters and for
    single bytes."""
    unknown = unknown_ids(tokenizer)
    return {
        token_id: _Added(token.content, token.special)
        for token_id, token in tokenizer.get_added_tokens_decoder().items()
        if token_id not in unknown and not _BYTE.fullmatch(token.content)
    }


@lru_cache(maxsize=2)
def unknown_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that this tokeniser gives to a character outside its vocabulary."""
    return frozenset(tokenizer.encode(_UNKNOWN_CHARACTER, add_special_tokens=False).ids)


def _meets(span: Span, stretches: Sequence[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in stretches)


def _around(stretches: Sequence[Span], length: int) -> list[Span]:
    """The spans before, between and after consecutive stretches."""
    edges = [0, *chain.from_iterable(stretches), length]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _sealed_rows(
    text: str, typed: Sequence[Span], rows: Sequence[_Row], controls: Mapping[int, str], tokenizer: Tokenizer
) -> list[_Row]:
    """The tokens if only the template can write control tokens.

    In the template's parts, and in a copy of the tokeniser, every control token is respelled in as many private
    characters: offsets stay the same, and typed text cannot spell a control token any more.
    """
    if any(_PRIVATE <= ord(character) <= _PRIVATE_END for character in text):
        raise Refusal("bad_request", "A prompt contains private use characters.", "Leave them out.")
    sealed, seals = _sealed(tokenizer, tuple(sorted(controls.items())))
    spelled = re.compile("|".join(re.escape(token) for token in sorted(seals, key=len, reverse=True)))
    parts: list[str] = []
    for (start, end), stretch in zip(_around(typed, len(text)), [*typed, (0, 0)], strict=True):
        parts += spelled.sub(lambda match: seals[match[0]][0], text[start:end]), text[slice(*stretch)]
    real = {sealed.token_to_id(seal): token_id for seal, token_id in seals.values()}
    encoding = sealed.encode("".join(parts), add_special_tokens=False)
    new_rows: list[_Row] = [
        (real.get(token_id, token_id), span, special) for token_id, span, special in _rows(encoding)
    ]

    def template_controls(rows: Sequence[_Row]) -> list[int]:
        return [token_id for token_id, span, _ in rows if token_id in controls and not _meets(span, typed)]

    if template_controls(new_rows) != template_controls(rows) or any(
        token_id in controls and _meets(span, typed) for token_id, span, _ in new_rows
    ):
        raise Refusal(
            "bad_request", "A prompt contains a control token that this tokenizer cannot read as text.", "Leave it out."
        )
    return new_rows


@lru_cache(maxsize=1)
def _sealed(
    tokenizer: Tokenizer, controls: tuple[tuple[int, str], ...]
) -> tuple[Tokenizer, dict[str, tuple[str, int]]]:
    """A copy of a tokeniser with respelled control tokens, and the spellings: text -> (spelling, id)."""
    config = json.loads(tokenizer.to_str())
    seals = {
        text: (chr(_PRIVATE + number) * len(text), token_id)
        for number, (token_id, text) in enumerate(controls[: _PRIVATE_END - _PRIVATE])
    }
    for token in config["added_tokens"]:
        if token["content"] in seals:
            token["content"] = seals[token["content"]][0]
    return Tokenizer.from_str(json.dumps(config)), seals
