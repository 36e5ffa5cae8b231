"""Roles of the parts of a prompt: operands, operators, equals sign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arithmoscope.contracts.prompts import PromptPair, Role
from arithmoscope.prompts.language.parse_question import ParsedQuestion, parse_question
from arithmoscope.prompts.language.questions import Span, last_question
from arithmoscope.prompts.language.readings import Reading

RoleSpan = tuple[Span, Role]


def reading_spans(reading: ParsedQuestion | None) -> list[RoleSpan]:
    """The spans of the last question that have a role. For a fact, the relation is the operator and the subject the
    first operand."""
    if reading is None:
        return []
    if not isinstance(reading, Reading):
        parts: list[RoleSpan] = [(reading.relation_span, "operator"), (reading.subject_span, "operand_a")]
        return sorted([*parts, (reading.equals, "equals")] if reading.equals else parts)
    spans: list[RoleSpan] = [(operator.span, "operator") for operator in reading.operators]
    for index, operand in enumerate(reading.operands):
        spans.append((operand.span, "operand_b" if index else "operand_a"))
    if reading.equals:
        spans.append((reading.equals, "equals"))
    return sorted(spans)


def _operator_spans(reading: ParsedQuestion) -> list[Span]:
    return [o.span for o in reading.operators] if isinstance(reading, Reading) else [reading.relation_span]


def counterfactual_spans(pair: PromptPair, reading: ParsedQuestion | None) -> list[RoleSpan]:
    """The role spans of the counterfactual's last question.

    If that does not parse ("3 @ 5 ="), it is taken as the reference's question with its operators replaced, and the
    other parts are located by their text.
    """
    own = parse_question(pair.counterfactual)
    if own is not None or reading is None:
        return reading_spans(own)
    start, end = last_question(pair.counterfactual)
    kept = _between(_operator_spans(reading), reading.question)
    if not pair.counterfactual.startswith(pair.reference[slice(*kept[0])], start):
        return []
    # Offset of each kept part from its place in the reference.
    moves: list[int] = []
    position = start
    for number, part in enumerate(kept):
        text = pair.reference[slice(*part)]
        last = number == len(kept) - 1
        place = end - len(text) if last else pair.counterfactual.find(text, position, end)
        if place < position or not pair.counterfactual.startswith(text, place):
            return []
        moves.append(place - part[0])
        position = place + len(text)
    spans: list[RoleSpan] = []
    for (first, last_), role in reading_spans(reading):
        if role == "operator":
            continue
        move = next(move for move, part in zip(moves, kept, strict=True) if part[0] <= first and last_ <= part[1])
        spans.append(((first + move, last_ + move), role))
    for number in range(len(kept) - 1):
        spans.append(((kept[number][1] + moves[number], kept[number + 1][0] + moves[number + 1]), "operator"))
    return sorted(spans)


def _between(spans: Sequence[Span], whole: Span) -> list[Span]:
    """The parts of ``whole`` outside the spans."""
    edges = [whole[0], *(edge for span in spans for edge in span), whole[1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def role_of(prompt: str, token: Span, spans: Iterable[RoleSpan]) -> Role:
    """The role of most of the token's visible characters; the first one if two are equal."""
    text = prompt[slice(*token)]
    start = token[0] + len(text) - len(text.lstrip())
    end = token[0] + len(text.rstrip())
    best: Role = "other"
    most = 0
    for (first, last), role in spans:
        overlap = min(end, last) - max(start, first)
        if overlap > most:
            best, most = role, overlap
    return best
