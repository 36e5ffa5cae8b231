"""The check of a template set against the options of its topic."""

from __future__ import annotations

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.options import refuse_excluded
from arithmoscope.contracts.prompts import MAX_OPERAND, TemplatePrompts
from arithmoscope.contracts.topics import TEMPLATE_EXCLUSIONS

# Largest operand of questions with decimals, in units of the last decimal.
_MOST_UNITS = 10 * MAX_OPERAND
_PLAIN = dict(TemplatePrompts(source="template"))


def refuse_impossible_set(spec: TemplatePrompts) -> None:
    """Raises Refusal (``impossible_options``) if the topic lacks an option of the set; the way out names valid ones."""
    refuse_excluded(TEMPLATE_EXCLUSIONS, dict(spec), _PLAIN)
    if spec.decimals and spec.operands[1] * 10**spec.decimals > _MOST_UNITS:
        most = _MOST_UNITS // 10**spec.decimals
        raise Refusal(
            "impossible_options",
            f"With {spec.decimals} decimals operands go up to {most}.",
            "Choose smaller operands or fewer decimals.",
        )
