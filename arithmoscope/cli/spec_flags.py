"""Flags made from the fields of a spec: names, values, limits, defaults and help are those of the field.

Only flags that are given reach the spec, so its own defaults apply.
"""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.errors import PROBLEMS, Refusal
from arithmoscope.contracts.vocabulary import CHOICES, FieldTerms, fields_of

_Model = TypeVar("_Model", bound=Wire)


def add_fields(
    parser: ArgumentParser,
    model: type[Wire],
    names: Iterable[str],
    *,
    prefixes: Mapping[str, str] = {},
    defaults: bool = True,
) -> None:
    """Adds a flag for each of these fields.

    ``prefixes``: put before the names of flags that another model has, too. ``defaults``: whether the help names them.
    """
    fields = fields_of(model)
    for name in names:
        _add_field(parser, fields[name], model.model_fields[name].annotation, prefixes.get(name, "") + name, defaults)


def _add_field(parser: ArgumentParser, field: FieldTerms, annotation: Any, dest: str, with_default: bool) -> None:
    flag = f"--{dest.replace('_', '-')}"
    text = f"{field.help[:1].lower()}{field.help[1:]}{_default_text(field) if with_default else ''}".replace("%", "%%")
    options: dict[str, Any] = {"dest": dest, "default": SUPPRESS, "help": text}
    kinds = _parts(annotation)
    if bool in kinds:
        parser.add_argument(flag, action=BooleanOptionalAction, **options)
    elif field.choices and tuple in kinds:
        parser.add_argument(flag, nargs="+", choices=tuple(CHOICES[field.choices]), **options)
    elif field.choices:
        parser.add_argument(flag, choices=tuple(CHOICES[field.choices]), **options)
    elif field.name == "operands":
        parser.add_argument(flag, nargs=2, type=int, metavar=("LOW", "HIGH"), **options)
    elif tuple in kinds:
        parser.add_argument(flag, type=_names, metavar="LIST", **options)
    else:
        number: Callable[[str], Any] = float if float in kinds else int
        parser.add_argument(flag, type=_or_none(number) if type(None) in kinds else number, metavar="N", **options)


def _parts(annotation: Any) -> set[Any]:
    """The types that a field's annotation is made of, without those inside a list."""
    origin = get_origin(annotation)
    if origin is tuple:
        return {tuple}
    if origin is None:
        return {annotation}
    return set().union(*(_parts(part) for part in get_args(annotation)))


def _default_text(field: FieldTerms) -> str:
    default = field.default
    if field.required or default is None or default == () or isinstance(default, bool):
        return ""
    if isinstance(default, tuple):
        return "" if any(isinstance(each, Wire) for each in default) else f" ({' '.join(map(str, default))})"
    return f" ({default:g})" if isinstance(default, int | float) else f" ({default})"


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.replace(" ", "").split(",")))


def _or_none(number: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text == "none":
            return None
        try:
            return number(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is neither a number nor 'none'") from None

    return parse


def given(args: Namespace, names: Iterable[str], *, prefixes: Mapping[str, str] = {}) -> dict[str, Any]:
    """The fields whose flags were given."""
    flags = {name: prefixes.get(name, "") + name for name in names}
    return {name: getattr(args, flag) for name, flag in flags.items() if flag in args}


def validated(model: type[_Model], values: Mapping[str, Any], command: str) -> _Model:
    """The model with these values.

    Raises:
        Refusal: in the words of the command line: the flag, its value, and what it may be.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(model, error, command) from error


def _refusal(model: type[Wire], error: ValidationError, command: str) -> Refusal:
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if first["type"] in PROBLEMS:
        return Refusal(first["type"], context["detail"], context["way_out"])  # pyright: ignore[reportArgumentType]
    see = f"See arithmoscope {command} --help."
    name = next((part for part in first["loc"] if part in model.model_fields), None)
    if name is None:
        message = _in_flags(first["msg"].removeprefix("Value error, "), model)
        return Refusal("bad_request", f"{message[:1].upper()}{message[1:]}.", see)
    field, flag = fields_of(model)[str(name)], f"--{str(name).replace('_', '-')}"
    if field.name == "components" and first["type"] == "string_pattern_mismatch":
        return Refusal("bad_component", f"{flag}: {str(first['input'])[:40]!r} is not a component's name.")
    given = repr(first["input"]) if isinstance(first["input"], str) else str(first["input"])
    return Refusal("bad_request", f"{flag} is {given[:40]}; {_allowed(field) or first['msg']}.", see)


def _in_flags(message: str, model: type[Wire]) -> str:
    """The message with the flags in place of the fields' names."""
    names = "|".join(model.model_fields)
    return re.sub(rf"\b({names})\b", lambda match: f"--{match[1].replace('_', '-')}", message)


def _allowed(field: FieldTerms) -> str:
    unit = f" {field.unit or ('characters' if field.min_length else '')}".rstrip()
    if field.maximum is not None:
        low = f"{field.minimum:g} to" if field.minimum is not None else f"above {field.above:g} and at most"
        return f"it must be {low} {field.maximum:g}{unit}"
    if field.max_length is not None:
        return f"it must have {field.min_length or 0} to {field.max_length}{unit}"
    return ""
