"""The prompt sets of the replication, answered by a model and split by operands."""

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

# If a side of the split has fewer correct answers than this, and fewer than half of its questions, wrong ones are kept,
# too, and the report says so.
LEAST_RIGHT = 10


@dataclass(frozen=True)
class SetSpec:
    """A named set. ``template``: the fields of its template. ``control``: it contains no arithmetic. ``place``: the
    answer token to predict, with those before it given; None: each of them.
    """

    name: str
    template: dict[str, Any]
    control: bool = False
    place: int | None = 0


def _question(name: str, operation: str, place: int = 0, **template: Any) -> SetSpec:
    return SetSpec(name, {"operations": (operation,), "shots": 4, **template}, place=place)


ADDITION = "addition"
POWERS = "powers"
PROBLEMS = "word problems"
SETS: tuple[SetSpec, ...] = (
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
    SetSpec("year spans", {"topic": "year_span", "operations": ("add",), "shots": 4}),
    SetSpec("counting", {"topic": "counting", "operations": ("add",), "shots": 4}),
    SetSpec(PROBLEMS, {"topic": "word_problem", "operations": ("add", "subtract"), "shots": 4}),
    SetSpec("facts", {"topic": "facts", "shots": 4}, control=True),
    SetSpec("grammar", {"topic": "grammar", "shots": 4}, control=True),
    SetSpec("antonyms", {"topic": "antonyms", "shots": 4}, control=True),
    SetSpec("sequences", {"topic": "sequences", "shots": 4}, control=True),
)


@dataclass(frozen=True)
class AnsweredSet:
    """A set with the model's answers.

    selection_pairs       pairs that components are selected on
    evaluation_pairs      pairs that they are evaluated on; the two sides share no operands
    selection_questions   the same questions as drawn, with whole answers
    evaluation_questions  likewise
    right                 number of correct answers to the ``n`` questions
    probability           mean probability of the answer over the pairs used
    """

    name: str
    control: bool
    example: str
    n: int
    right: int
    kept_wrong: bool
    selection_pairs: tuple[PromptPair, ...]
    evaluation_pairs: tuple[PromptPair, ...]
    selection_questions: tuple[PromptPair, ...]
    evaluation_questions: tuple[PromptPair, ...]
    probability: float

    @property
    def selection_operands(self) -> tuple[str, ...]:
        """Operands of each pair: the unit of the bootstrap, since rewordings of one sum are not independent."""
        return operand_sets(self.selection_questions)

    @property
    def evaluation_operands(self) -> tuple[str, ...]:
        return operand_sets(self.evaluation_questions)


def operand_sets(pairs: Sequence[PromptPair]) -> tuple[str, ...]:
    return tuple(operands_of(pair) for pair in pairs)


def answer_set(model: LoadedModel, spec: SetSpec, n: int, a_side: int) -> AnsweredSet:
    """Runs ``n`` questions of a set on the model, keeps those it answers correctly, and splits them by operands into
    two sides of at most ``a_side`` pairs with as many different operands as possible. If a side has fewer than
    `LEAST_RIGHT` correct answers and fewer than half of its questions, wrong answers are kept, too.

    Raises Refusal (``no_prompts``) if no question fits this model, or all fall on one side.
    """
    prompts = TemplatePrompts.model_validate({"source": "template", "pairs": n, **spec.template})
    pairs = [pair for pair in _at_place(prepare(prompts, model.text).pairs, spec.place, model) if pair is not None]
    if not pairs:
        raise Refusal("no_prompts", f"No question of the set {spec.name!r} can be run on {model.card.id}.")
    right, probability = answered(model, [pair for _, pair in pairs])
    sides = _sides(pairs)
    if not all(sides):
        detail = f"All {len(pairs)} questions of the set {spec.name!r} fall on one side of the split by operands."
        raise Refusal("no_prompts", detail, "Ask for more pairs.")
    kept = [[index for index in side if right[index]] for side in sides]
    kept_wrong = any(len(mine) < min(LEAST_RIGHT, len(side) / 2) for mine, side in zip(kept, sides, strict=True))
    chosen = [_spread(pairs, side)[:a_side] for side in (sides if kept_wrong else kept)]
    (selection_questions, selection_pairs), (evaluation_questions, evaluation_pairs) = (
        tuple(tuple(pairs[index][which] for index in side) for which in (0, 1)) for side in chosen
    )
    return AnsweredSet(
        name=spec.name,
        control=spec.control,
        example=question_text(pairs[0][1].reference),
        n=len(pairs),
        right=sum(right),
        kept_wrong=kept_wrong,
        selection_pairs=selection_pairs,
        evaluation_pairs=evaluation_pairs,
        selection_questions=selection_questions,
        evaluation_questions=evaluation_questions,
        probability=_mean([probability[index] for side in chosen for index in side]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _at_place(
    encoded: Sequence[EncodedPair], place: int | None, model: LoadedModel
) -> list[tuple[PromptPair, PromptPair]]:
    """Each question as drawn, and as posed: for one token of its answer, with those before it given."""
    posed: list[tuple[PromptPair, PromptPair]] = []
    given = ""
    for each in encoded:
        given = "" if each.place == 0 else given
        text = each.answer_text.strip()
        if place is None or each.place == place:
            whole = each.pair
            space = answer_space(whole.reference, whole.answer) if given else ""
            question = PromptPair(
                whole.reference + space + given, whole.counterfactual + space + given, text, whole.chat
            )
            # The given tokens must be encoded as in the whole answer.
            if _same_tokens(question, each, model):
                posed.append((whole, question))
        given += text
    return posed


def _same_tokens(question: PromptPair, each: EncodedPair, model: LoadedModel) -> bool:
    try:
        again = encode_pair(question, model.text)
    except Refusal:
        return False
    return (again.reference_ids, again.answer_id) == (each.reference_ids, each.answer_id)


Drawn = Sequence[tuple[PromptPair, PromptPair]]


def _sides(pairs: Drawn) -> tuple[list[int], list[int]]:
    """Indices of the pairs by the operands of the whole questions: given answer tokens may hide them."""
    first = [on_first_side(whole) for whole, _ in pairs]
    return [index for index, is_first in enumerate(first) if is_first], [
        index for index, it in enumerate(first) if not it
    ]


def _spread(pairs: Drawn, side: Sequence[int]) -> list[int]:
    """One question for each operand pair, then a second one, ...: the first n cover as many operands as possible."""
    seen: Counter[str] = Counter()
    rounds = []
    for index in side:
        operands = operands_of(pairs[index][0])
        rounds.append(seen[operands])
        seen[operands] += 1
    return [index for _, index in sorted(zip(rounds, side, strict=True))]


@torch.no_grad()
def answered(model: LoadedModel, pairs: Sequence[PromptPair]) -> tuple[list[bool], list[float]]:
    """For each reference prompt: is the answer the top token, and its probability."""
    encoded = [encode_pair(pair, model.text) for pair in pairs]
    check_fit(model, encoded)
    final = end_states(model, [each.reference_ids for each in encoded]).final
    right: list[bool] = []
    probability: list[float] = []
    for start in range(0, len(encoded), 64):
        logits = all_logits(model, final[start : start + 64])
        answers = torch.tensor([each.answer_id for each in encoded[start : start + 64]], device=logits.device)
        right += (logits.argmax(-1) == answers).tolist()
        answer_logits = logits.gather(1, answers[:, None])[:, 0]
        probability += (answer_logits - logits.logsumexp(-1)).exp().tolist()
    return right, probability
