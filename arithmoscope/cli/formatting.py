"""Numbers and counts in terminal reports."""

from __future__ import annotations

from arithmoscope.contracts.kinds.knockout import KnockoutResult
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.contracts.prompts import TemplatePrompts


def number(value: float | None, form: str = ".3f") -> str:
    """The number in this format, or "n/a" for None and NaN."""
    return "n/a" if value is None or float(value) != float(value) else format(float(value), form)


def interval(low: float | None, high: float | None, form: str = ".3f") -> str:
    """ "LOW to HIGH", or "n/a" if there is no interval."""
    return "n/a" if "n/a" in (number(low, form), number(high, form)) else f"{number(low, form)} to {number(high, form)}"


def plural(count: int, noun: str) -> str:
    """ "1 prompt", "3 prompts"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def answered(result: PathPatchingResult | KnockoutResult) -> str:
    """Counts of the prompts that exist and of those measured: "46 of 53 measured; 53 of 64 asked for exist"."""
    kept = result.n_pairs if isinstance(result, KnockoutResult) else len(result.pairs)
    text = f"{kept} of {plural(result.n_asked, 'prompt')} measured"
    if isinstance(result, PathPatchingResult):
        text = f"{result.n_correct} of {plural(result.n_asked, 'prompt')} answered right"
        if kept != result.n_correct:
            text += f", {kept} measured"
    prompts = result.spec.prompts
    if isinstance(prompts, TemplatePrompts) and prompts.pairs > result.n_distinct:
        text += f"; {result.n_distinct} of {prompts.pairs} asked for exist"
    return text
