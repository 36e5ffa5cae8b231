"""Options of a prompt set that its spec leaves open: worked examples, and answers of several tokens."""

from __future__ import annotations

from typing import TypeVar, cast

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompt_terms import DEFAULT_SHOTS
from arithmoscope.contracts.prompts import CustomPrompts, PromptsSpec, TemplatePrompts
from arithmoscope.prompts.language.parse_question import parse_question

_SETS = (CustomPrompts, TemplatePrompts)
_Spec = TypeVar("_Spec", bound=Wire)


def shots_of(prompts: PromptsSpec) -> int:
    """The number of worked examples before each question.

    If the spec leaves it open, `DEFAULT_SHOTS` before questions that are each one line and can be read: models rarely
    answer a bare one. None before other prompts, for which there are no examples or which have their own.
    """
    if prompts.shots is not None:
        return prompts.shots
    bare = isinstance(prompts, TemplatePrompts) or all(_is_bare(pair.reference) for pair in prompts.pairs)
    return DEFAULT_SHOTS if bare else 0


def with_shots(prompts: PromptsSpec) -> PromptsSpec:
    """The prompt set with its number of worked examples written into it."""
    return prompts if prompts.shots is not None else prompts.model_copy(update={"shots": shots_of(prompts)})


def with_model_defaults(prompts: PromptsSpec, card: ModelCard) -> PromptsSpec:
    """The prompt set with the model's number of worked examples and treatment of long answers, where it says none."""
    changes: dict[str, object] = {}
    if "answer" not in prompts.model_fields_set:
        changes["answer"] = card.answer
    if prompts.shots is None or "shots" not in prompts.model_fields_set:
        changes["shots"] = card.shots if shots_of(prompts) else 0
    return prompts.model_copy(update=changes)


def with_defaults_everywhere(spec: _Spec, card: ModelCard) -> _Spec:
    """A spec with the model's defaults written into each of its prompt sets, so that equal questions are equal
    specs."""
    changes: dict[str, object] = {}
    for name in type(spec).model_fields:
        value: object = getattr(spec, name)
        if isinstance(value, _SETS):
            changes[name] = with_model_defaults(value, card)
        elif isinstance(value, tuple):
            members = cast("tuple[object, ...]", value)
            changes[name] = tuple(
                with_model_defaults(each, card) if isinstance(each, _SETS) else each for each in members
            )
    return spec.model_copy(update=changes)


def _is_bare(prompt: str) -> bool:
    return "\n" not in prompt.strip() and parse_question(prompt) is not None
