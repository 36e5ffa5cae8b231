"""Wordings of the training lines, all from the product's tables, and their counterfactuals by the product's rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

from tokenizers import Tokenizer, models

from arithmoscope.contracts.prompt_terms import Corruption, Operation, Topic
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.readings import Applied, Reading
from arithmoscope.prompts.language.relation_facts import FRAMES, RELATIONS
from arithmoscope.prompts.language.relations import recall_question
from arithmoscope.prompts.language.stories import stories
from arithmoscope.prompts.language.templates import TEMPLATES, Template
from arithmoscope.prompts.language.wordings import VARIED

# Operands of a question that is corrupted: exact, not negative and without a carry for every operation. The power has
# its own, because few powers are small.
_OPERANDS, _POWER, _SPAN_AND_YEAR, _STEM = (84, 21), (8, 3), (3, 1763), "176"


@dataclass(frozen=True, slots=True)
class Wording:
    """One way to ask. ``operation`` is None if the question has no answer (its operator is taken out)."""

    topic: Topic
    template: Template
    operation: Operation | None
    is_plain: bool

    @property
    def can_use_words(self) -> bool:
        """True if operands can be written in words: they need space around the operator."""
        return self.topic != "year_span" and " " in self.template.text


@lru_cache(maxsize=1)
def calculations() -> tuple[Wording, ...]:
    """Every wording of a calculation, stories included."""
    questions = [Wording("question", each, each.operation, each in TEMPLATES) for each in (*TEMPLATES, *VARIED)]
    told = [Wording(each.topic, each.template, each.template.operation, True) for each in stories()]
    return (*questions, *told)


@cache
def counterfactual(wording: Wording, corruption: Corruption) -> Wording | None:
    """The wording after a corruption of its operator; None if it has none, or another order of its operands."""
    is_year = wording.topic == "year_span"
    a, b = _SPAN_AND_YEAR if is_year else _POWER if wording.operation == "power" else _OPERANDS
    stem = _STEM if is_year else ""
    text = corrupt(corruption, wording.template.question(a, b, stem), 0, _no_tokenizer())
    if text is None:
        return None
    reading = parse_question(text)
    operation = None
    if corruption == "operator_swap":
        if not isinstance(reading, Reading) or not isinstance(reading.expression, Applied):
            return None
        operation = reading.expression.operation
        if reading.value != _value_of(operation, *((b, a) if is_year else (a, b))):
            return None  # "subtracting 84 from 21" has its operands the other way round
    for number, name in ((b, "{b}"), (a, "{a}")):
        text = text.replace(str(number), name, 1)
    if stem:
        head, found, tail = text.rpartition(stem)
        text = f"{head}{{stem}}{tail}" if found else text
    return Wording(wording.topic, Template(wording.template.operation, wording.template.style, text), operation, True)


def _value_of(operation: Operation, a: int, b: int) -> float:
    return {"add": a + b, "subtract": a - b, "multiply": a * b, "divide": a / b, "power": a**b}[operation]


@lru_cache(maxsize=1)
def _no_tokenizer() -> Tokenizer:
    """The corruptions of an operator do not look at tokens."""
    return Tokenizer(models.WordLevel({"": 0}, unk_token=""))


@dataclass(frozen=True, slots=True)
class Recall:
    """One relation of a control topic in one wording: each subject with its answer."""

    topic: Topic
    frame: str
    relation: str
    is_plain: bool

    def question(self, subject: str, *, without_relation: bool = False) -> str:
        """The question; ``without_relation``: as the null operator asks it."""
        return recall_question(self.topic, self.frame, "none" if without_relation else self.relation, subject)

    @property
    def answers(self) -> dict[str, str]:
        """The table: subject -> answer."""
        return RELATIONS[self.topic][self.relation]


@lru_cache(maxsize=1)
def recalls() -> tuple[Recall, ...]:
    """Every relation of the control topics in every wording, the first of each topic is the plain one."""
    return tuple(
        Recall(topic, frame, relation, number == 0)
        for topic, frames in FRAMES.items()
        for number, frame in enumerate(frames)
        for relation in RELATIONS[topic]
    )
