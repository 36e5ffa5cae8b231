"""The words and limits of every option, read off the wire models and the tables beside their values.

The page's ``vocabulary.ts``, the tables in docs and README (``make vocabulary``) and the flags of the command line come
from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from arithmoscope.contracts import experiments, knockout_terms, prompt_terms, terms, tuning_terms
from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds import KINDS, fine_tune, knockout, path_patching
from arithmoscope.contracts.options import Choice, Exclusion
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts, TemplatePrompts
from arithmoscope.contracts.topics import TEMPLATE_EXCLUSIONS

Choices = Mapping[Any, Choice]

# Options with a fixed list of values: name, type, and its choices.
_OPTIONS: tuple[tuple[str, Any, Choices], ...] = (
    ("Effect", terms.Effect, terms.EFFECT_CHOICES),
    ("Positions", terms.Positions, terms.POSITION_CHOICES),
    ("Source", terms.Source, terms.SOURCE_CHOICES),
    ("Direction", terms.Direction, terms.DIRECTION_CHOICES),
    ("Metric", terms.Metric, terms.METRIC_CHOICES),
    ("Among", terms.Among, terms.AMONG_CHOICES),
    ("Ablation", knockout_terms.Ablation, knockout_terms.ABLATION_CHOICES),
    ("KnockPositions", knockout_terms.KnockPositions, knockout_terms.KNOCK_POSITION_CHOICES),
    ("KnockMetric", knockout_terms.KnockMetric, knockout_terms.KNOCK_METRIC_CHOICES),
    ("Tuner", tuning_terms.Tuner, tuning_terms.TUNER_CHOICES),
    ("HeadPart", tuning_terms.HeadPart, tuning_terms.HEAD_PART_CHOICES),
    ("Schedule", tuning_terms.Schedule, tuning_terms.SCHEDULE_CHOICES),
    ("Outcome", tuning_terms.Outcome, tuning_terms.OUTCOME_CHOICES),
    ("Topic", prompt_terms.Topic, prompt_terms.TOPIC_CHOICES),
    ("Operation", prompt_terms.Operation, prompt_terms.OPERATION_CHOICES),
    ("Style", prompt_terms.Style, prompt_terms.STYLE_CHOICES),
    ("Wording", prompt_terms.Wording, prompt_terms.WORDING_CHOICES),
    ("Numerals", prompt_terms.Numerals, prompt_terms.NUMERAL_CHOICES),
    ("Corruption", prompt_terms.Corruption, prompt_terms.CORRUPTION_CHOICES),
    ("AnswerTokens", prompt_terms.AnswerTokens, prompt_terms.ANSWER_TOKENS_CHOICES),
    ("Half", prompt_terms.Half, prompt_terms.HALF_CHOICES),
    ("State", experiments.State, experiments.STATE_CHOICES),
    ("Priority", experiments.Priority, experiments.PRIORITY_CHOICES),
)
# The values of each option's type, and its choices, by the name of the type.
VALUES: dict[str, tuple[Any, ...]] = {name: get_args(values) for name, values, _ in _OPTIONS}
CHOICES: dict[str, Choices] = {name: choices for name, _, choices in _OPTIONS}

# The wire models whose fields a user fills in: the specs by their kind, and the prompt sets by their source.
MODELS: dict[str, type[Wire]] = {
    **{name: kind.spec for name, kind in KINDS.items()},
    "custom": CustomPrompts,
    "template": TemplatePrompts,
    "pair": CustomPair,
}
# Exclusions between options, by model. A name in `needs` that is no field is a fact: whether there are
# ``several_prompts``, and the ``answer`` of the prompts that a knockout measures on.
EXCLUSIONS: dict[str, tuple[Exclusion, ...]] = {
    "path_patching": path_patching.EXCLUSIONS,
    "knockout": (*knockout.EXCLUSIONS, *knockout.GENERATION_EXCLUSIONS, *knockout.REPLACEMENT_EXCLUSIONS),
    "fine_tune": fine_tune.EXCLUSIONS,
    "template": TEMPLATE_EXCLUSIONS,
}
# Limits that no single field has.
LIMITS: dict[str, int] = {
    "pairs": prompt_terms.MAX_PAIRS,
    "prompt_tokens": prompt_terms.MAX_PROMPT_TOKENS,
    "operand": prompt_terms.MAX_OPERAND,
    "name": experiments.MAX_NAME,
    "notes": experiments.MAX_NOTES,
}


@dataclass(frozen=True, slots=True)
class FieldTerms:
    """Words and limits of a field.

    Attributes:
        name: The field.
        label: Its label, as on paper.
        help: One line without a full stop.
        unit: Unit of its number, or of the items of its list.
        required: Whether it has no default.
        default: Its default.
        integer: Whether it is a whole number.
        minimum: The smallest number.
        above: The number that it must exceed, where there is no smallest one.
        maximum: The largest number.
        min_length: The fewest items, or characters.
        max_length: The most items, or characters.
        choices: Name of its table in `CHOICES`.
    """

    name: str
    label: str
    help: str
    unit: str
    required: bool
    default: Any
    integer: bool
    minimum: int | float | None
    above: int | float | None
    maximum: int | float | None
    min_length: int | None
    max_length: int | None
    choices: str | None


def fields_of(model: type[Wire]) -> dict[str, FieldTerms]:
    """The words and limits of a model's fields, by field."""
    return {name: _terms(name, field) for name, field in model.model_fields.items()}


def _terms(name: str, field: FieldInfo) -> FieldTerms:
    limits: dict[str, Any] = {}
    for mark in field.metadata:
        for limit in ("ge", "gt", "le", "min_length", "max_length"):
            if (value := getattr(mark, limit, None)) is not None:
                limits[limit] = value
    extra: Any = field.json_schema_extra or {}
    values = _values(field.annotation)
    return FieldTerms(
        name=name,
        label=field.title or "",
        help=field.description or "",
        unit=extra.get("unit", ""),
        required=field.is_required(),
        default=None if field.is_required() else field.default,
        integer=int in (field.annotation, *get_args(field.annotation)),
        minimum=limits.get("ge"),
        above=limits.get("gt"),
        maximum=limits.get("le"),
        min_length=limits.get("min_length"),
        max_length=limits.get("max_length"),
        choices=next((option for option, each in VALUES.items() if each == values), None),
    )


def _values(annotation: Any) -> tuple[Any, ...] | None:
    """The values of a field's Literal, alone, optional, or as the items of a list; None if it has none."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    for part in get_args(annotation):
        if part not in (NoneType, Ellipsis) and (values := _values(part)) is not None:
            return values
    return None
