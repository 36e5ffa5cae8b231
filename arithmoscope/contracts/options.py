"""Options in plain words: a choice per value, and the rows that say which choices exclude each other.

Labels are lower case, as inside a sentence; a page capitalises them where they stand alone. Help is one line without a
full stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic_core import PydanticCustomError

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import Code, Refusal

_Spec = TypeVar("_Spec", bound=Wire)


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of an option.

    Attributes:
        label: Its name, as on paper.
        help: One line for a reader who does not know the code.
        example: A prompt or number of this kind, if that says more than words.
        unit: What follows a number of this kind.
    """

    label: str
    help: str
    example: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Values of an option that are possible only with certain values of other options.

    The option is the one that gives way: a form offers every value of the others, and disables these values of it.

    Attributes:
        option: The option.
        values: The values; None: all but the default. Of a list, any item counts.
        needs: The values that other options must have, by option. A name that is no field of the spec is a fact about
            it, such as ``several_prompts``.
        reason: Why, in a few words, for a disabled choice.
        detail: Why, as the sentence of a refusal. ``{name}`` is the value of that option, of a list the excluded items.
        way_out: The way out, as a sentence.
        code: Code of the refusal.
    """

    option: str
    values: tuple[Any, ...] | None
    needs: Mapping[str, tuple[Any, ...]]
    reason: str
    detail: str
    way_out: str
    code: Code = "impossible_options"

    def hits(self, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of the option that the other options exclude; none if the options are possible."""
        value = options[self.option]
        if self.values is None:
            chosen = () if value == defaults[self.option] else (value,)
        elif value in self.values:
            chosen = (value,)
        else:
            items = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ()
            chosen = tuple(item for item in items if item in self.values)
        allowed = all(options[name] in values for name, values in self.needs.items())
        return () if allowed else chosen

    def refusal(self, options: Mapping[str, Any], hits: tuple[Any, ...]) -> Refusal:
        """The refusal of these values."""
        words = {**options, self.option: " or ".join(map(str, hits))}
        return Refusal(self.code, self.detail.format_map(words), self.way_out.format_map(words))


def refuse_excluded(
    rows: Iterable[Exclusion], options: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> None:
    """Raises the Refusal of the first row that excludes these options.

    Args:
        rows: The rows, in the order in which they are checked.
        options: Every option and fact that the rows name, with its value.
        defaults: The defaults of the options of rows whose ``values`` is None.
    """
    for row in rows:
        if hits := row.hits(options, defaults or {}):
            raise row.refusal(options, hits)


def possible(spec: _Spec, rows: Iterable[Exclusion], **facts: Any) -> _Spec:
    """The spec, if no row excludes its options: for a validator of its model.

    Args:
        spec: The spec.
        rows: The rows, in the order in which they are checked.
        facts: The facts that the rows name.

    Raises:
        PydanticCustomError: The refusal of the first row. Its code and its way out survive inside the validation error,
            for the API and the command line to report.
    """
    try:
        refuse_excluded(rows, {**dict(spec), **facts})
    except Refusal as refusal:
        context = {"detail": refusal.detail, "way_out": refusal.way_out}
        raise PydanticCustomError(refusal.code, "{detail}", context) from None  # pyright: ignore[reportArgumentType]
    return spec
