"""Prompt pairs, prompt sets, uploads, previews, and tokens with their roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import Refusal

Operation = Literal["add", "subtract", "multiply", "divide", "power"]
Style = Literal["equation", "statement", "question"]
Corruption = Literal["null_operator", "operand_swap", "operand_swap_same_answer", "operator_swap"]
# Subject of a template set. The last four contain no arithmetic: they are controls.
Topic = Literal["question", "year_span", "counting", "word_problem", "facts", "grammar", "antonyms", "sequences"]
Wording = Literal["plain", "varied"]
Numerals = Literal["digits", "words"]
# Half of the operands: components are found on one and evaluated on the other.
Half = Literal["first", "second"]
# Treatment of an answer of several tokens: refused, measured at its first token, or measured at each token with the
# tokens before it given.
AnswerTokens = Literal["whole", "first", "each"]
Role = Literal["first", "shot", "operand_a", "operator", "operand_b", "equals", "other"]

MAX_PAIRS = 10_000
MAX_PROMPT_CHARACTERS = 4_000
MAX_PROMPT_TOKENS = 1_024
MAX_SHOTS = 8
# Worked examples before a calculation, unless a spec sets its own number: without them models answer almost nothing.
DEFAULT_SHOTS = 2
MAX_OPERAND = 9_999
MAX_DECIMALS = 2

_SHOTS = "Solved examples before each question"
_CORRUPTION = "Change that turns the reference into the counterfactual"
_CHAT = "Ask through the model's chat template"
_ANSWER = (
    "Answers of several tokens: refused (whole), measured at their first token (first), or at every token with those "
    "before it given (each)"
)
_KEEP_WRONG = "Keep prompts that the model answers wrongly; otherwise they are dropped and counted"


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
    """A prompt pair as typed by a user; an omitted counterfactual or answer is computed."""

    reference: str = Field(max_length=MAX_PROMPT_CHARACTERS, description='Prompt with the calculation: "3 + 5 ="')
    counterfactual: str | None = Field(
        default=None,
        max_length=MAX_PROMPT_CHARACTERS,
        description="Prompt without it; if omitted, made from the reference by the set's corruption",
    )
    answer: str | None = Field(
        default=None,
        max_length=64,
        description="Right answer; if omitted, computed from the reference, whose arithmetic must then be readable",
    )


class CustomPrompts(Wire):
    """A prompt set of typed or uploaded pairs."""

    source: Literal["custom"]
    pairs: tuple[CustomPair, ...] = Field(min_length=1, max_length=MAX_PAIRS)
    shots: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SHOTS,
        description=f"{_SHOTS}; if omitted, {DEFAULT_SHOTS} before questions of one line, none before other prompts",
    )
    corruption: Corruption = Field(default="null_operator", description=_CORRUPTION)
    chat: bool = Field(default=False, description=_CHAT)
    answer: AnswerTokens = Field(default="whole", description=_ANSWER)
    keep_wrong: bool = Field(default=True, description=_KEEP_WRONG)


class TemplatePrompts(Wire):
    """A prompt set drawn from templates, without replacement. docs/prompts.md lists the options of each ``topic``."""

    source: Literal["template"]
    topic: Topic = Field(default="question", description="Subject of the questions; the last four have no arithmetic")
    wording: Wording = Field(default="plain", description="A few common wordings (plain), or all of them (varied)")
    numerals: Numerals = Field(default="digits", description="Numbers in digits or in words")
    decimals: int = Field(default=0, ge=0, le=MAX_DECIMALS, description="Decimal places of the operands")
    answer: AnswerTokens = Field(default="whole", description=_ANSWER)
    operations: tuple[Operation, ...] = Field(default=("add",), min_length=1, max_length=5)
    styles: tuple[Style, ...] = Field(default=("equation",), min_length=1, max_length=3)
    operands: tuple[Annotated[int, Field(ge=0, le=MAX_OPERAND)], Annotated[int, Field(ge=0, le=MAX_OPERAND)]] = Field(
        default=(1, 9), description="Smallest and largest operand"
    )
    pairs: int = Field(default=64, ge=1, le=MAX_PAIRS, description="Number of questions")
    shots: int = Field(default=DEFAULT_SHOTS, ge=0, le=MAX_SHOTS, description=_SHOTS)
    corruption: Corruption = Field(default="null_operator", description=_CORRUPTION)
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the drawing")
    chat: bool = Field(default=False, description=_CHAT)
    keep_wrong: bool = Field(default=False, description=_KEEP_WRONG)
    half: Half | None = Field(
        default=None,
        description="Only questions whose operands fall in this half of one fixed split: two halves share none",
    )

    @model_validator(mode="after")
    def _ordered_and_distinct(self) -> TemplatePrompts:
        if self.operands[0] > self.operands[1]:
            raise ValueError("operands must be [smallest, largest]")
        if len(set(self.operations)) < len(self.operations) or len(set(self.styles)) < len(self.styles):
            raise ValueError("operations and styles must not repeat")
        return self


PromptsSpec = Annotated[CustomPrompts | TemplatePrompts, Field(discriminator="source")]


class UploadProblem(Wire):
    """An unusable row of an uploaded file. Rows count from 1, including the header of a CSV."""

    row: int
    reason: str


class Upload(Wire):
    """Answer of ``POST /api/prompts/upload``: the usable pairs in file order, at most 10 000, and the unusable rows.

    If rows beyond the limit are left out, the last of the ``problems`` names the first of them and their number, and
    so does a note. ``n_rows`` counts all rows except empty ones and the header.
    """

    pairs: tuple[CustomPair, ...]
    problems: tuple[UploadProblem, ...]
    notes: tuple[str, ...] = ()
    n_rows: int


class Token(Wire):
    """One token of a prompt: its text as displayed, its id, and its role in the question."""

    text: str
    id: int
    role: Role


class PreviewRequest(Wire):
    """Body of ``POST /api/prompts/preview``."""

    model: str = Field(min_length=1, max_length=200)
    prompts: PromptsSpec


class PreviewItem(Wire):
    """Tokens and answer of one pair. A pair with a ``problem`` cannot run; the readable part is still shown."""

    reference: tuple[Token, ...]
    counterfactual: tuple[Token, ...]
    answer: str | None
    answer_id: int | None = Field(description="Id of the answer token that is measured")
    problem: str | None
    place: int = Field(default=0, description="Place of the measured token among the answer's tokens, from 0")
    places: int = Field(default=1, description="Number of the answer's tokens")


class Preview(Wire):
    """A prompt set as a model's tokenizer reads it.

    ``items`` holds at most the first 64 pairs; ``n_distinct`` counts all questions of the set.
    """

    items: tuple[PreviewItem, ...]
    n_distinct: int
    notes: tuple[str, ...] = ()
    shots: int = Field(default=0, description="Worked examples before each question")
