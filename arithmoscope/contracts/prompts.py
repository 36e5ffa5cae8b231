"""Prompt pairs, prompt sets, uploads, previews, and tokens with their roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from arithmoscope.contracts.arguments import flag, text
from arithmoscope.contracts.base import PublicWire, Wire
from arithmoscope.contracts.prompt_terms import (
    DEFAULT_SHOTS,
    MAX_ANSWER_CHARACTERS,
    MAX_DECIMALS,
    MAX_OPERAND,
    MAX_PAIRS,
    MAX_PROMPT_CHARACTERS,
    MAX_SHOTS,
    OPERATION_CHOICES,
    STYLE_CHOICES,
    AnswerTokens,
    Corruption,
    Half,
    Numerals,
    Operation,
    Role,
    Style,
    Topic,
    Wording,
)
from arithmoscope.contracts.terms import MAX_MODEL_ID, MAX_SEED


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
        Refusal: ``bad_request`` if a prompt or the answer is not a text, or ``chat`` is neither True nor False.

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
            text(name, getattr(self, name))
        object.__setattr__(self, "chat", flag("chat", self.chat))


class CustomPair(PublicWire):
    """A prompt pair as typed by a user; an omitted counterfactual or answer is computed."""

    reference: str = Field(
        max_length=MAX_PROMPT_CHARACTERS, title="Prompt", description='Prompt with the calculation, such as "3 + 5 ="'
    )
    counterfactual: str | None = Field(
        default=None,
        max_length=MAX_PROMPT_CHARACTERS,
        title="Counterfactual",
        description="Prompt without the calculation; if omitted, made from the prompt by the set's corruption",
    )
    answer: str | None = Field(
        default=None,
        max_length=MAX_ANSWER_CHARACTERS,
        title="Answer",
        description="Right answer; if omitted, computed from the prompt, whose arithmetic must then be readable",
    )


_Shots = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_SHOTS,
        title="Worked examples",
        description="Solved examples before each question; small models need them to answer at all",
        json_schema_extra={"unit": "examples"},
    ),
]
_Corruption = Annotated[
    Corruption, Field(title="Counterfactual made by", description="Change that turns a prompt into its counterfactual")
]
_Chat = Annotated[
    bool,
    Field(
        title="Chat template",
        description="Ask as a user's turn through the model's chat template; worked examples become turns",
    ),
]
_Answer = Annotated[
    AnswerTokens,
    Field(title="Answers of several tokens", description="Treatment of answers longer than one token of the model"),
]
_KeepWrong = Annotated[
    bool,
    Field(
        title="Keep wrong answers",
        description="Keep prompts that the model answers wrongly; otherwise they are dropped and counted",
    ),
]
_Operand = Annotated[int, Field(ge=0, le=MAX_OPERAND)]


class CustomPrompts(PublicWire):
    """A prompt set of typed or uploaded pairs."""

    source: Literal["custom"] = Field(title="Source", description="Typed or uploaded prompts")
    pairs: tuple[CustomPair, ...] = Field(
        min_length=1,
        max_length=MAX_PAIRS,
        title="Pairs",
        description="The prompts",
        json_schema_extra={"unit": "pairs"},
    )
    shots: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SHOTS,
        title="Worked examples",
        description=f"Solved examples before each question; if omitted, {DEFAULT_SHOTS} before one-line questions, "
        "none before others",
        json_schema_extra={"unit": "examples"},
    )
    corruption: _Corruption = "null_operator"
    chat: _Chat = False
    answer: _Answer = "whole"
    keep_wrong: _KeepWrong = True


class TemplatePrompts(PublicWire):
    """A prompt set drawn from templates, without replacement. docs/prompts.md lists the options of each ``topic``."""

    source: Literal["template"] = Field(title="Source", description="Prompts drawn from templates")
    topic: Topic = Field(
        default="question", title="Topic", description="Subject of the questions; the last four contain no arithmetic"
    )
    wording: Wording = Field(
        default="plain", title="Wordings", description="A few common wordings of a question, or all of them"
    )
    numerals: Numerals = Field(default="digits", title="Numbers", description="Numbers in digits or in words")
    decimals: int = Field(
        default=0, ge=0, le=MAX_DECIMALS, title="Decimals", description="Decimal places of the operands"
    )
    answer: _Answer = "whole"
    operations: tuple[Operation, ...] = Field(
        default=("add",),
        min_length=1,
        max_length=len(OPERATION_CHOICES),
        title="Operations",
        description="Operations of the questions",
    )
    styles: tuple[Style, ...] = Field(
        default=("equation",),
        min_length=1,
        max_length=len(STYLE_CHOICES),
        title="Styles",
        description="Forms of the questions",
    )
    operands: tuple[_Operand, _Operand] = Field(
        default=(1, 9), title="Range of operands", description="Smallest and largest operand"
    )
    pairs: int = Field(
        default=64,
        ge=1,
        le=MAX_PAIRS,
        title="Pairs",
        description="Questions drawn; fewer if fewer exist",
        json_schema_extra={"unit": "pairs"},
    )
    shots: _Shots = DEFAULT_SHOTS
    corruption: _Corruption = "null_operator"
    seed: int = Field(
        default=0, ge=0, le=MAX_SEED, title="Seed", description="Another seed draws other questions of the same kind"
    )
    chat: _Chat = False
    keep_wrong: _KeepWrong = False
    half: Half | None = Field(
        default=None,
        title="Half of the operands",
        description="Only questions with operands in one half of a fixed split; the halves share no operands",
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

    model: str = Field(min_length=1, max_length=MAX_MODEL_ID)
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
