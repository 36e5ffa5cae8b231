"""The part each stretch of a prompt plays: operands, operators, the sign of equality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from arithmoscope.contracts.prompts import PromptPair, Role
from arithmoscope.prompts.language.parse_question import ParsedQuestion, parse_question
from arithmoscope.prompts.language.questions import Span, last_question
from arithmoscope.prompts.language.readings import Reading

RoleSpan = tuple[Span, Role]


def reading_spans(reading: ParsedQuestion | None) -> list[RoleSpan]:
    """The parts of the last question that play a role. Of what is recalled the relation plays the operator's and the
    subject the first operand's."""
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
    """The parts of the counterfactual's last question.

    Where that is no arithmetic ("3 @ 5 =") it is the reference's question with something else in its operators'
    places, and the other parts are found by their text.
    """
    own = parse_question(pair.counterfactual)
    if own is not None or reading is None:
        return reading_spans(own)
    start, end = last_question(pair.counterfactual)
    kept = _between(_operator_spans(reading), reading.question)
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
    """What is left of ``whole`` around the spans."""
    edges = [whole[0], *(edge for span in spans for edge in span), whole[1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def role_of(prompt: str, token: Span, spans: Iterable[RoleSpan]) -> Role:
    """The role that most of the token's visible characters play; of two that share it evenly the first."""
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
