"""What is asked of a model: prompt pairs, prompt sets, and tokens with their roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import Refusal

Operation = Literal["add", "subtract", "multiply", "divide", "power"]
Style = Literal["equation", "statement", "question"]
Corruption = Literal["null_operator", "operand_swap", "operand_swap_same_answer", "operator_swap"]
# What a set asks about. The last four have no arithmetic in them: the control.
Topic = Literal["question", "year_span", "counting", "word_problem", "facts", "grammar", "antonyms", "sequences"]
Wording = Literal["plain", "varied"]
Numerals = Literal["digits", "words"]
# Components are found on the one half of the operands and judged on the other.
Half = Literal["first", "second"]
# An answer of several tokens is refused, measured at its first token, or at each one with those before it given.
AnswerTokens = Literal["whole", "first", "each"]
Role = Literal["first", "shot", "operand_a", "operator", "operand_b", "equals", "other"]

MAX_PAIRS = 10_000
MAX_PROMPT_CHARACTERS = 4_000
MAX_PROMPT_TOKENS = 1_024
MAX_SHOTS = 8
MAX_OPERAND = 9_999
MAX_DECIMALS = 2


@dataclass(frozen=True, slots=True)
class PromptPair:
    """A reference prompt with a calculation, a counterfactual prompt without it, and the right answer.

    The prompts need not have the same number of tokens: they are compared at the last position only.

    Attributes:
        reference: The prompt that is analysed, such as ``"2 + 3 = 5\\n3 + 5 ="``.
        counterfactual: The prompt without the calculation, such as ``"2 + 3 = 5\\n3 @ 5 ="``.
        answer: The right answer, such as ``"8"``.
        chat: Run both prompts as a user's turn through the model's chat template.

    Raises:
        Refusal: ``bad_request`` if a prompt or the answer is not a string.

    Example:
        >>> pair = am.PromptPair("2 + 3 = 5\\n3 + 5 =", "2 + 3 = 5\\n3 @ 5 =", "8")
        >>> effects = am.path_patching(model, [pair])
    """

    reference: str
    counterfactual: str
    answer: str
    chat: bool = False

    def __post_init__(self) -> None:
        for name in ("reference", "counterfactual", "answer"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise Refusal(
                    "bad_request",
                    f"The {name} of a PromptPair is a text, not {type(value).__name__}.",
                    f"Write it in quotes: {name}={str(value)[:40]!r}.",
                )


class CustomPair(Wire):
    """A typed prompt; the counterfactual and the answer are computed if they are left out."""

    reference: str = Field(max_length=MAX_PROMPT_CHARACTERS)
    counterfactual: str | None = Field(default=None, max_length=MAX_PROMPT_CHARACTERS)
    answer: str | None = Field(default=None, max_length=64)


class CustomPrompts(Wire):
    """A set of typed prompts.

    Wrongly answered ones are kept by default. ``chat``: run through the model's chat template.
    """

    source: Literal["custom"]
    pairs: tuple[CustomPair, ...] = Field(min_length=1, max_length=MAX_PAIRS)
    shots: int = Field(default=0, ge=0, le=MAX_SHOTS)
    corruption: Corruption = "null_operator"
    chat: bool = False
    answer: AnswerTokens = "whole"
    keep_wrong: bool = True


class TemplatePrompts(Wire):
    """A set of prompts drawn from templates without replacement.

    Wrongly answered ones are dropped and counted. ``chat``: run through the model's chat template. ``half``: only
    questions whose operands fall on that side of one fixed split, so that two sets share none. The options that each
    ``topic`` allows: docs/prompts.md.
    """

    source: Literal["template"]
    topic: Topic = "question"
    wording: Wording = "plain"
    numerals: Numerals = "digits"
    decimals: int = Field(default=0, ge=0, le=MAX_DECIMALS)
    answer: AnswerTokens = "whole"
    operations: tuple[Operation, ...] = Field(default=("add",), min_length=1, max_length=5)
    styles: tuple[Style, ...] = Field(default=("equation",), min_length=1, max_length=3)
    operands: tuple[Annotated[int, Field(ge=0, le=MAX_OPERAND)], Annotated[int, Field(ge=0, le=MAX_OPERAND)]] = (1, 9)
    pairs: int = Field(default=64, ge=1, le=MAX_PAIRS)
    shots: int = Field(default=2, ge=0, le=MAX_SHOTS)
    corruption: Corruption = "null_operator"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    chat: bool = False
    keep_wrong: bool = False
    half: Half | None = None

    @model_validator(mode="after")
    def _ordered_and_distinct(self) -> TemplatePrompts:
        if self.operands[0] > self.operands[1]:
            raise ValueError("operands must be [smallest, largest]")
        if len(set(self.operations)) < len(self.operations) or len(set(self.styles)) < len(self.styles):
            raise ValueError("operations and styles must not repeat")
        return self


PromptsSpec = Annotated[CustomPrompts | TemplatePrompts, Field(discriminator="source")]


class UploadProblem(Wire):
    """What is wrong with one row of a file. Rows count from 1, the header of a CSV included."""

    row: int
    reason: str


class Upload(Wire):
    """``POST /api/prompts/upload``: the usable pairs of a file in its order, at most 10 000, and what is wrong with
    other rows. Where rows after those are left out, the last of the ``problems`` names the first of them and says how
    many they are, as a note does. ``n_rows`` counts all rows, without empty ones and the header."""

    pairs: tuple[CustomPair, ...]
    problems: tuple[UploadProblem, ...]
    notes: tuple[str, ...] = ()
    n_rows: int


class Token(Wire):
    """One token of a prompt: its text as a person reads it, its id, and the part it plays."""

    text: str
    id: int
    role: Role


class PreviewRequest(Wire):
    """``POST /api/prompts/preview``."""

    model: str = Field(min_length=1, max_length=200)
    prompts: PromptsSpec


class PreviewItem(Wire):
    """How one pair will be read. With a ``problem`` the pair cannot run, and what could be read is still shown.

    ``place`` of the answer's ``places`` tokens is the one asked for, from 0: ``answer_id``.
    """

    reference: tuple[Token, ...]
    counterfactual: tuple[Token, ...]
    answer: str | None
    answer_id: int | None
    problem: str | None
    place: int = 0
    places: int = 1


class Preview(Wire):
    """A prompt set as a model's tokenizer reads it.

    ``items`` holds at most the first 64 pairs; ``n_distinct`` counts all questions of the set.
    """

    items: tuple[PreviewItem, ...]
    n_distinct: int
    notes: tuple[str, ...] = ()
