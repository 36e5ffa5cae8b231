"""Words of refused arguments: allowed numbers, values that were given, and ways out by type."""

from __future__ import annotations

import math
import numbers
import reprlib
import sys
from collections.abc import Sized
from dataclasses import dataclass
from types import NoneType
from typing import Any, cast

from arithmoscope.contracts.errors import Code


@dataclass(frozen=True, slots=True)
class Range:
    """Allowed numbers: from ``low`` to ``high``, without the ends if ``inside``, without ``low`` if ``above``."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    inside: bool = False

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above or self.inside else value >= self.low
        return low and (value < self.high if self.inside else value <= self.high)

    def __str__(self) -> str:
        if self.inside:
            return f"between {self.low:g} and {self.high:g}"
        high = "" if self.high > sys.maxsize // 2 else f" to {self.high:g}"
        if self.low == -math.inf:
            return ""
        if self.above:
            return f"above {self.low:g}" + (high and f" and at most{high.removeprefix(' to')}")
        return f"from {self.low:g}{high}" if high else f"of at least {self.low:g}"


def shown(value: Any) -> str:
    """A value as text: numbers and texts shortened, everything else by its type."""
    value = scalar(value)
    if isinstance(value, str | bytes | bool | float | complex | NoneType):
        return reprlib.repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() < 80 else f"a number of {value.bit_length()} bits"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(cast(object, value)).__name__
    if isinstance(value, Sized) and not hasattr(value, "ndim") and not len(value):
        return f"an empty {name}"
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def scalar(value: Any) -> Any:
    """The Python value of a scalar of numpy, pandas or torch; any other value as it is."""
    if isinstance(value, numbers.Number) and not isinstance(value, int | float | complex):
        return getattr(value, "item", lambda: value)()
    if getattr(value, "ndim", None) == 0 or getattr(value, "shape", None) == ():
        return getattr(value, "item", lambda: value)()
    return value


PLURALS = {
    "Component": "components such as 'L14H2' and 'MLP19'",
    "PromptPair": "prompt pairs",
    "int": "whole numbers",
    "str": "texts",
}
WORDS = {"MeasuredEffects": "the result of path_patching", "LoadedModel": "a model that am.load_model returned"}
# Attribute of a wrapper that holds an instance: the tokenizer inside transformers' own, and inside a model.
WRAPPED = {"Tokenizer": "backend_tokenizer"}
CODES: dict[str, Code] = {"Tokenizer": "bad_tokenizer", "Component": "bad_component"}
_COMPUTED = "Compute it with am.path_patching(model, pairs)."
# Ways out by the expected type and that of the value; "" for any other.
WAYS: dict[tuple[str, str], str] = {
    ("LoadedModel", "str"): "Load it first: model = am.load_model({text}).",
    ("LoadedModel", ""): "Load it first: model = am.load_model(...), with the tokenizer for a transformers model.",
    ("PromptPair", "tuple"): "Write am.PromptPair(*pair) for each.",
    ("PromptPair", "list"): "Write am.PromptPair(*pair) for each.",
    ("PromptPair", "dict"): "Write am.PromptPair(**pair) for each.",
    ("PromptPair", "EncodedPair"): "Write [each.pair for each in ...].",
    ("PromptPair", ""): "Write am.PromptPair(reference=..., counterfactual=..., answer=...).",
    ("Component", ""): "Write a head as 'L14H2' and an MLP as 'MLP19'.",
    ("PatchingEffects", ""): _COMPUTED,
    ("MeasuredEffects", ""): _COMPUTED,
    ("ChatFrame", ""): "Pass model.chat, or leave it out.",
    ("Tokenizer", ""): "Pass the model's tokenizer: model.text or model.tokenizer.",
    ("TemplatePrompts", "dict"): "Write am.TemplatePrompts(**spec).",
    (
        "TemplatePrompts",
        "",
    ): "Write am.TemplatePrompts(source='template', ...) or am.CustomPrompts(source='custom', ...).",
    ("ModelCard", ""): "Pass model.card.",
}
