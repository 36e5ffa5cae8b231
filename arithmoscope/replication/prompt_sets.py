"""The sets of prompts that the story is told on, asked of a model and split by their operands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair, TemplatePrompts
from arithmoscope.engine.forward.activations import check_fit, end_states
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair, encode_pair, prepare
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.sets.operand_split import on_first_side, operands_of
from arithmoscope.prompts.tokens.encoded import answer_space

# Fewer right answers than this on either side of the split, and fewer than half of that side's questions: then wrong
# ones are kept, too, and it is said.
LEAST_RIGHT = 10


@dataclass(frozen=True)
class NamedSet:
    """A set by its name in the report. ``control``: no arithmetic in it. ``place``: which token of the answer is asked
    for, with those before it given; None: each."""

    name: str
    asked: dict[str, Any]
    control: bool = False
    place: int | None = 0


def _question(name: str, operation: str, place: int = 0, **asked: Any) -> NamedSet:
    return NamedSet(name, {"operations": (operation,), "shots": 4, **asked}, place=place)


ADDITION = "addition"
POWERS = "powers"
PROBLEMS = "word problems"
SETS: tuple[NamedSet, ...] = (
    _question(ADDITION, "add", operands=(0, 9)),
    _question("subtraction", "subtract", operands=(0, 9)),
    _question("multiplication", "multiply", operands=(0, 9)),
    _question("division", "divide", operands=(0, 9)),
    _question(POWERS, "power", operands=(0, 9)),
    _question("addition, statements", "add", operands=(0, 9), styles=("statement",)),
    _question("addition, questions", "add", operands=(0, 9), styles=("question",)),
    _question("addition, number words", "add", operands=(0, 9), numerals="words", styles=("statement",)),
    _question("two digits, first digit", "add", operands=(10, 49), answer="each"),
    _question("two digits, second digit", "add", place=1, operands=(10, 49), answer="each"),
    _question("decimals, first digit", "add", operands=(0, 4), decimals=1, answer="each"),
    NamedSet("year spans", {"topic": "year_span", "operations": ("add",), "shots": 4}),
    NamedSet("counting", {"topic": "counting", "operations": ("add",), "shots": 4}),
    NamedSet(PROBLEMS, {"topic": "word_problem", "operations": ("add", "subtract"), "shots": 4}),
    NamedSet("facts", {"topic": "facts", "shots": 4}, control=True),
    NamedSet("grammar", {"topic": "grammar", "shots": 4}, control=True),
    NamedSet("antonyms", {"topic": "antonyms", "shots": 4}, control=True),
    NamedSet("sequences", {"topic": "sequences", "shots": 4}, control=True),
)


@dataclass(frozen=True)
class Asked:
    """A set as it was asked. ``found`` and ``judged`` share no operands; ``found_drawn`` and ``judged_drawn`` are the
    same questions with their whole answers, as they were drawn. ``right`` of ``n`` questions were answered rightly;
    ``probability`` is the answer's mean over those that are used."""

    name: str
    control: bool
    example: str
    n: int
    right: int
    kept_wrong: bool
    found: tuple[PromptPair, ...]
    judged: tuple[PromptPair, ...]
    found_drawn: tuple[PromptPair, ...]
    judged_drawn: tuple[PromptPair, ...]
    probability: float

    @property
    def found_operands(self) -> tuple[str, ...]:
        """What each pair is about: what a bootstrap resamples, as rewordings of one sum are not independent."""
        return operand_sets(self.found_drawn)

    @property
    def judged_operands(self) -> tuple[str, ...]:
        return operand_sets(self.judged_drawn)


def operand_sets(pairs: Sequence[PromptPair]) -> tuple[str, ...]:
    return tuple(operands_of(pair) for pair in pairs)


def ask(model: LoadedModel, row: NamedSet, n: int, a_side: int) -> Asked:
    """Asks ``n`` questions of a set, keeps those that are answered rightly, and splits them by operands into two sides
    of at most ``a_side`` pairs, of as many operands as there are. Where a side has fewer than `LEAST_RIGHT` and fewer
    than half of its questions, wrong answers are kept, too.

    Refuses (``no_prompts``) a set of which nothing can be asked of this model, or all on one side.
    """
    spec = TemplatePrompts.model_validate({"source": "template", "pairs": n, **row.asked})
    pairs = [pair for pair in _at_place(prepare(spec, model.text).pairs, row.place, model) if pair is not None]
    if not pairs:
        raise Refusal("no_prompts", f"No question of the set {row.name!r} can be asked of {model.card.id}.")
    right, probability = answered(model, [pair for _, pair in pairs])
    sides = _sides(pairs)
    if not all(sides):
        detail = f"All {len(pairs)} questions of the set {row.name!r} fall on one side of the split by operands."
        raise Refusal("no_prompts", detail, "Ask for more pairs.")
    kept = [[at for at in side if right[at]] for side in sides]
    kept_wrong = any(len(mine) < min(LEAST_RIGHT, len(side) / 2) for mine, side in zip(kept, sides, strict=True))
    chosen = [_spread(pairs, side)[:a_side] for side in (sides if kept_wrong else kept)]
    (found_drawn, found), (judged_drawn, judged) = (
        tuple(tuple(pairs[at][which] for at in side) for which in (0, 1)) for side in chosen
    )
    return Asked(
        name=row.name,
        control=row.control,
        example=question_text(pairs[0][1].reference),
        n=len(pairs),
        right=sum(right),
        kept_wrong=kept_wrong,
        found=found,
        judged=judged,
        found_drawn=found_drawn,
        judged_drawn=judged_drawn,
        probability=_mean([probability[at] for side in chosen for at in side]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _at_place(
    encoded: Sequence[EncodedPair], place: int | None, model: LoadedModel
) -> list[tuple[PromptPair, PromptPair]]:
    """Each question as it is drawn, and as it is asked: for one token of its answer, those before it given."""
    found: list[tuple[PromptPair, PromptPair]] = []
    given = ""
    for each in encoded:
        given = "" if each.place == 0 else given
        text = each.answer_text.strip()
        if place is None or each.place == place:
            whole = each.pair
            space = answer_space(whole.reference, whole.answer) if given else ""
            asked = PromptPair(whole.reference + space + given, whole.counterfactual + space + given, text, whole.chat)
            # What is given must be read as the same tokens that the whole answer has.
            if _same(asked, each, model):
                found.append((whole, asked))
        given += text
    return found


def _same(asked: PromptPair, each: EncodedPair, model: LoadedModel) -> bool:
    try:
        again = encode_pair(asked, model.text)
    except Refusal:
        return False
    return (again.reference_ids, again.answer_id) == (each.reference_ids, each.answer_id)


Drawn = Sequence[tuple[PromptPair, PromptPair]]


def _sides(pairs: Drawn) -> tuple[list[int], list[int]]:
    """Numbers of the pairs, by the operands of the whole questions: what is given may hide them."""
    first = [on_first_side(whole) for whole, _ in pairs]
    return [at for at, is_first in enumerate(first) if is_first], [at for at, it in enumerate(first) if not it]


def _spread(pairs: Drawn, side: Sequence[int]) -> list[int]:
    """One question of all operands first, then a second one of each, ...: the first n are about as many as can be."""
    seen: Counter[str] = Counter()
    turns = []
    for at in side:
        operands = operands_of(pairs[at][0])
        turns.append(seen[operands])
        seen[operands] += 1
    return [at for _, at in sorted(zip(turns, side, strict=True))]


@torch.no_grad()
def answered(model: LoadedModel, pairs: Sequence[PromptPair]) -> tuple[list[bool], list[float]]:
    """Whether the answer is the top token after each reference prompt, and its probability."""
    encoded = [encode_pair(pair, model.text) for pair in pairs]
    check_fit(model, encoded)
    final = end_states(model, [each.reference_ids for each in encoded]).final
    right: list[bool] = []
    probability: list[float] = []
    for start in range(0, len(encoded), 64):
        logits = all_logits(model, final[start : start + 64])
        answers = torch.tensor([each.answer_id for each in encoded[start : start + 64]], device=logits.device)
        right += (logits.argmax(-1) == answers).tolist()
        mine = logits.gather(1, answers[:, None])[:, 0]
        probability += (mine - logits.logsumexp(-1)).exp().tolist()
    return right, probability
