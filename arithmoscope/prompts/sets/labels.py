"""Short names of prompt sets, composed of their topic and the options that distinguish them."""

from __future__ import annotations

from collections.abc import Sequence

from arithmoscope.contracts.prompts import CustomPrompts, PromptsSpec, TemplatePrompts
from arithmoscope.contracts.topics import TOPICS
from arithmoscope.prompts.sets.default_shots import shots_of

_PLAIN = TemplatePrompts(source="template")


def label_of(prompts: PromptsSpec) -> str:
    """A short name of the set's non-default options. It contains no text typed by a user."""
    if isinstance(prompts, CustomPrompts):
        parts = [f"own prompts ({len(prompts.pairs)})"]
    else:
        parts = [*_subject(prompts), *_numbers(prompts)]
        if prompts.wording != _PLAIN.wording:
            parts.append(f"{prompts.wording} wording")
        if prompts.half is not None:
            parts.append(f"{prompts.half} half")
    if prompts.answer != "whole":
        parts.append(f"{prompts.answer} token")
    if prompts.chat:
        parts.append("chat")
    return ", ".join(parts)


def labels_of(sets: Sequence[PromptsSpec]) -> dict[PromptsSpec, str]:
    """A unique label for every set: equal labels are extended by the options in which the sets differ, or numbered."""
    distinct = list(dict.fromkeys(sets))
    labels = [label_of(prompts) for prompts in distinct]
    for option in (_shots, _corruption, _seed, _pairs):
        values = list(map(option, distinct))
        differ = {label: {values[index] for index, other in enumerate(labels) if other == label} for label in labels}
        labels = [
            f"{label}, {value}" if value and len(differ[label]) > 1 else label
            for label, value in zip(labels, values, strict=True)
        ]
    unique: dict[PromptsSpec, str] = {}
    for prompts, label in zip(distinct, labels, strict=True):
        number, name = 1, label
        while name in unique.values():
            number += 1
            name = f"{label} #{number}"
        unique[prompts] = name
    return unique


def has_arithmetic(prompts: PromptsSpec) -> bool:
    """True if the questions are calculations; custom sets count as such. Sets without them are negative controls."""
    return isinstance(prompts, CustomPrompts) or bool(TOPICS[prompts.topic].operations)


def _subject(prompts: TemplatePrompts) -> list[str]:
    topic = TOPICS[prompts.topic]
    parts = [] if prompts.topic == "question" else [prompts.topic.replace("_", " ")]
    if topic.operations and (prompts.topic == "question" or prompts.operations != _PLAIN.operations):
        parts.append(" + ".join(prompts.operations))
    if topic.styles and prompts.styles != _PLAIN.styles:
        parts.append(" + ".join(prompts.styles))
    return parts


def _numbers(prompts: TemplatePrompts) -> list[str]:
    parts: list[str] = []
    if prompts.operands != _PLAIN.operands:
        parts.append(f"{prompts.operands[0]} to {prompts.operands[1]}")
    if prompts.decimals:
        parts.append(f"{prompts.decimals} decimal{'s' if prompts.decimals > 1 else ''}")
    if prompts.numerals != _PLAIN.numerals:
        parts.append("in words")
    return parts


def _shots(prompts: PromptsSpec) -> str:
    shots = shots_of(prompts)
    return f"{shots} shot{'' if shots == 1 else 's'}"


def _corruption(prompts: PromptsSpec) -> str:
    return prompts.corruption.replace("_", " ")


def _seed(prompts: PromptsSpec) -> str:
    return "" if isinstance(prompts, CustomPrompts) else f"seed {prompts.seed}"


def _pairs(prompts: PromptsSpec) -> str:
    return "" if isinstance(prompts, CustomPrompts) else f"{prompts.pairs} pairs"
