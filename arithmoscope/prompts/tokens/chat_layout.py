"""Layout of a prompt before tokenisation: as plain text, or as a conversation.

In a conversation every worked example is an exchange, the question is the user's last turn, and the assistant's reply
begins by repeating the question, which is where the prompt ends:

    user        2 + 3 =
    assistant   2 + 3 = 5
    user        3 + 5 =
    assistant   3 + 5 = |8

Without that repetition a small chat model begins with words ("The answer is ..."), and the answer's first token does
not come next. With it, END and the answer's token are those of the plain prompt, so that both can be compared;
docs/methods/prompts.md has the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import MAX_PROMPT_CHARACTERS
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import Span, last_question
from arithmoscope.prompts.language.roles import RoleSpan

# A line that ends in one word after a space or an equals sign: possibly an answer. Lines are typed by users, so the
# pattern matches in linear time: no two of its parts can divide the same white space between them.
_ANSWERED = re.compile(r"(.*[=\s])[-−]?\w+(?:[-.]\w+)*[.]?")
# No prompt of `MAX_PROMPT_TOKENS` tokens is longer, in any vocabulary: longer ones are refused before they are cut.
_MOST_CHARACTERS = 4 * MAX_PROMPT_CHARACTERS


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a prompt: its ``span`` in the prompt, and its start ``at`` in the text that the model reads."""

    at: int
    span: Span

    @property
    def place(self) -> Span:
        return self.at, self.at + self.span[1] - self.span[0]


@dataclass(frozen=True, slots=True)
class Layout:
    """The text that a model reads up to its answer, without trailing white space; empty for an empty prompt.

    ``stretches``: the typed parts, in the order of the text. The rest comes from the chat template (``chat``).
    """

    prompt: str
    text: str
    stretches: tuple[Stretch, ...]
    chat: bool

    def placed(self, spans: Sequence[RoleSpan]) -> list[tuple[Span, list[RoleSpan]]]:
        """The place of each stretch in the text, with the role spans inside it, shifted to the text."""
        placed: list[tuple[Span, list[RoleSpan]]] = []
        for stretch in self.stretches:
            first, last = stretch.span
            shift = stretch.at - first
            inside: list[RoleSpan] = [
                ((max(start, first) + shift, min(end, last) + shift), role)
                for (start, end), role in spans
                if max(start, first) < min(end, last)
            ]
            placed.append((stretch.place, inside))
        return placed


def lay_out(prompt: str, frame: ChatFrame | None) -> Layout:
    """Lays out a prompt as plain text or, with a ``frame``, as a conversation; white space around turns is dropped.

    Raises:
        Refusal: ``prompt_too_long`` if the prompt is too long for a conversation.
    """
    visible = prompt.rstrip()
    if frame is None or not visible:
        return Layout(prompt, visible, (Stretch(0, (0, len(visible))),), chat=frame is not None)
    if len(prompt) > _MOST_CHARACTERS:
        detail = f"A chat prompt has {len(prompt)} characters; the most is {_MOST_CHARACTERS}."
        raise Refusal("prompt_too_long", detail)
    question = last_question(prompt)
    exchanges, start = _exchanges(prompt[: question[0]])
    turns: list[tuple[str, Span]] = []
    opening = frame.before
    for user, reply in exchanges:
        turns += [(opening, user), (frame.reply, reply)]
        opening = frame.next
    turns += [(opening, _without_space(prompt, (start, len(visible)))), (frame.after, question)]
    parts: list[str] = []
    stretches: list[Stretch] = []
    position = 0
    for written, span in turns:
        parts += written, prompt[slice(*span)]
        stretches.append(Stretch(position + len(written), span))
        position = stretches[-1].place[1]
    return Layout(prompt, "".join(parts), tuple(stretches), chat=True)


@lru_cache(maxsize=256)  # the same for every pair of a set
def _exchanges(examples: str) -> tuple[tuple[tuple[Span, Span], ...], int]:
    """The worked examples of a text, each as the spans of user turn and reply, and the start of the rest.

    An example is a question that parses, followed by one word. Anything else belongs to the next question.
    """
    exchanges: list[tuple[Span, Span]] = []
    start = line_start = 0
    for line in examples.splitlines(keepends=True):
        line_end = line_start + len(line)
        answered = _ANSWERED.fullmatch(line.rstrip())
        reading = parse_question(examples[: line_start + answered.end(1)]) if answered else None
        if reading is not None and reading.question[0] >= start:
            user = _without_space(examples, (start, reading.question[1]))
            exchanges.append((user, _without_space(examples, (reading.question[0], line_end))))
            start = line_end
        line_start = line_end
    return tuple(exchanges), start


def _without_space(text: str, span: Span) -> Span:
    part = text[slice(*span)]
    start = span[0] + len(part) - len(part.lstrip())
    return start, max(start, span[1] - len(part) + len(part.rstrip()))
