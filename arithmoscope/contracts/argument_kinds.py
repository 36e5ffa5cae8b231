"""Kinds of argument values: in words, and as a function that reads one or says what is wrong with it.

A kind comes from an annotation: `kind_of`. Scalars of numpy, pandas and torch become Python numbers, iterables lists.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, is_typeddict

from arithmoscope.contracts.argument_words import CODES, PLURALS, WAYS, WORDS, WRAPPED, Range, scalar
from arithmoscope.contracts.errors import Code


class Mismatch(Exception):
    """A value that is not of a kind. Caught inside this module."""

    def __init__(
        self, value: Any, allowed: str, way_out: str | None = None, where: str = "", code: Code | None = None
    ) -> None:
        super().__init__()
        self.value, self.allowed, self.way_out, self.where = value, allowed, way_out, where
        self.code: Code | None = code


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: in words, and the function that reads one or raises `Mismatch`."""

    allowed: str
    read: Callable[[Any], Any]


def kind_of(hint: Any, allowed: Range) -> Kind | None:
    """The kind of value that an annotation allows; None if it allows anything."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return None
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if hint is int:
        return whole(allowed)
    if hint is float:
        return _number(allowed)
    if origin is Literal:
        return _option(args)
    if origin in (Union, UnionType):
        if any(get_origin(each) is os.PathLike for each in args):
            args = [each for each in args if each is not str]
        return _either([kind_of(each, allowed) for each in args])
    if origin is Callable:
        return _function(args[0])
    if origin is os.PathLike:
        return _PATH
    if origin is tuple and Ellipsis not in args:
        return _fixed([kind_of(each, allowed) for each in args])
    if origin in (Sequence, Iterable, tuple):
        return _several(args[0], kind_of(args[0], allowed))
    if origin is Mapping:
        return _named(kind_of(args[1], allowed))
    return _instance(hint) if isinstance(hint, type) and hint is not object and not is_typeddict(hint) else None


def whole(allowed: Range) -> Kind:
    words = f"a whole number {allowed}".rstrip()

    def read(value: Any) -> int:
        number = scalar(value)
        if isinstance(number, bool) or not isinstance(number, int):
            raise Mismatch(value, words, _rounded(number, allowed))
        if number not in allowed:
            raise Mismatch(value, words)
        return int(number)

    return Kind(words, read)


def _rounded(value: Any, allowed: Range) -> str | None:
    if not isinstance(value, float) or not math.isfinite(value) or round(value) not in allowed:
        return None
    return f"Write {{name}}={round(value)}."


def _number(allowed: Range) -> Kind:
    words = f"a number {allowed}" if str(allowed) else "a finite number"

    def read(value: Any) -> float:
        number = scalar(value)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise Mismatch(value, words)
        if number not in allowed or not math.isfinite(result := _float(number)):
            raise Mismatch(value, words)
        return result

    return Kind(words, read)


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # a whole number beyond the range of floats
        return math.inf


def _option(options: Sequence[str]) -> Kind:
    words = f"one of {', '.join(map(repr, options))}" if len(options) > 1 else repr(options[0])

    def read(value: Any) -> str:
        if isinstance(value, str) and value in options:
            return str(value)
        near = difflib.get_close_matches(str(value).lower(), options, 1) if isinstance(value, str) else []
        raise Mismatch(value, words, f"Did you mean {{name}}={near[0]!r}?" if near else "Choose one of them.")

    return Kind(words, read)


def _either(kinds: Sequence[Kind | None]) -> Kind | None:
    """Any of several kinds; anything if one of them is."""
    several = [kind for kind in kinds if kind is not None]
    if len(several) < len(kinds):
        return None
    words = " or ".join(dict.fromkeys(kind.allowed for kind in sorted(several, key=lambda each: each is _NOTHING)))

    def read(value: Any) -> Any:
        problems: list[Mismatch] = []
        for kind in several:
            try:
                return kind.read(value)
            except Mismatch as problem:
                problems.append(problem)
        inner = next((each for each in problems if each.where), None)
        if inner is not None:
            raise inner
        way_out = next((each.way_out for each in problems if each.way_out), None)
        raise Mismatch(value, words, way_out, code=next((each.code for each in problems if each.code), None))

    return Kind(words, read)


def _inside(where: str, kind: Kind | None, value: Any) -> Any:
    """The value of an element at ``where`` of a list or a mapping."""
    try:
        return value if kind is None else kind.read(value)
    except Mismatch as problem:
        problem.where = f"{where}{problem.where}"
        raise


def _several(hint: Any, item: Kind | None) -> Kind:
    components = "Component" in str(hint)
    name = "Component" if components else getattr(hint, "__name__", "") if isinstance(hint, type) else ""
    words = f"a list of {PLURALS.get(name) or (name and f'{name} results') or 'values'}"
    if get_origin(hint) is Literal and item is not None:
        words = f"a list, each item {item.allowed}"
    code: Code = "bad_component" if components else "bad_request"

    def read(value: Any) -> list[Any]:
        if not _is_list(value):
            raise Mismatch(value, words, _listed(value, item), code=code)
        return [_inside(f"[{number}]", item, each) for number, each in enumerate(value)]

    return Kind(words, read)


def _is_list(value: Any) -> bool:
    """Whether a value is a sequence of items in an order: no text, set or mapping, nothing with rows and columns."""
    if isinstance(value, str | bytes | bytearray | Mapping | set | frozenset | type) or hasattr(value, "columns"):
        return False
    return isinstance(value, Iterable) and getattr(cast(Any, value), "ndim", 1) == 1


def _listed(value: Any, item: Kind | None) -> str | None:
    """The way out for a value that is no list: the list of it, if it is one item."""
    if hasattr(value, "columns"):
        return "Write {name}=[am.PromptPair(*row) for row in table[['reference', 'counterfactual', 'answer']].values]."
    if isinstance(value, set | frozenset):
        return "Write {name}=sorted({name}): a set has no order."
    try:
        if item is not None:
            item.read(value)
            return "Write {name}=[" + (repr(value) if isinstance(value, str) else "...") + "], with brackets."
    except Mismatch:
        pass
    return None


def _fixed(items: Sequence[Kind | None]) -> Kind:
    each = " and ".join(dict.fromkeys(item.allowed if item else "a value" for item in items))
    words = f"{len(items)} values, each {each}"

    def read(value: Any) -> tuple[Any, ...]:
        if not _is_list(value) or len(values := list(value)) != len(items):
            raise Mismatch(value, words)
        return tuple(
            _inside(f"[{number}]", item, each) for number, (item, each) in enumerate(zip(items, values, strict=True))
        )

    return Kind(words, read)


def _named(item: Kind | None) -> Kind:
    words = f"a dict of names and {item.allowed if item else 'values'}"

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Mismatch(value, words, "Write {name}={'a name': ...}.")
        mapping = cast(Mapping[Any, Any], value)
        for name in mapping:
            if not isinstance(name, str):
                raise Mismatch(name, "a text", "Name each set by a text.", " as a name")
        return {str(name): _inside(f"[{name!r}]", item, each) for name, each in mapping.items()}

    return Kind(words, read)


def _function(parameters: Sequence[Any]) -> Kind:
    count = len(parameters)
    words = f"a function of {count or 'no'} argument{'' if count == 1 else 's'}"

    def read(value: Any) -> Any:
        if isinstance(value, type) or not callable(value):
            raise Mismatch(value, words)
        try:
            inspect.signature(value).bind(*parameters)
        except TypeError as error:
            raise Mismatch(value, words, f"It cannot be called like that: {error}.") from error
        except ValueError:  # a builtin without a signature
            pass
        return value

    return Kind(words, read)


def _instance(kind: type) -> Kind:
    name = kind.__name__
    words = WORDS.get(name, f"a {name}")

    def read(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        unwrapped = getattr(value, WRAPPED.get(name, ""), None)
        if unwrapped is not None and isinstance(unwrapped, kind):
            return unwrapped
        way_out = WAYS.get((name, type(value).__name__)) or WAYS.get((name, ""))
        text = reprlib.repr(value) if isinstance(value, str) else "..."
        raise Mismatch(value, words, way_out and way_out.replace("{text}", text), code=CODES.get(name))

    return Kind(words, read)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        example = value.decode(errors="replace") if isinstance(value, bytes) else scalar(value)
        plain = isinstance(example, str | int | float)
        raise Mismatch(
            value, "a text", f"Write {{name}}={str(example)[:40]!r}." if plain else "Write {name} in quotes."
        )
    return str(value)


def _read_path(value: Any) -> Any:
    if isinstance(value, bytes) or not isinstance(value, str | os.PathLike):
        raise Mismatch(value, "a path", "Write {name} as a text in quotes, or as a pathlib.Path.")
    try:
        encoded = os.fsencode(cast("os.PathLike[str] | str", value))
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise Mismatch(str(cast(Any, value)), "the path of a file or folder", "Name a file or folder.")
    return cast(Any, value)


def _read_flag(value: Any) -> bool:
    flag = scalar(value)
    if not isinstance(flag, bool):
        raise Mismatch(value, "True or False")
    return flag


def _read_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Mismatch(value, "bytes", "Read a file with pathlib.Path(...).read_bytes().")
    return bytes(cast(Any, value))


def _read_none(value: Any) -> None:
    if value is not None:
        raise Mismatch(value, "None")


TEXT = Kind("a text", _read_text)
FLAG = Kind("True or False", _read_flag)
_NOTHING = Kind("None", _read_none)
_PATH = Kind("a path", _read_path)
_SIMPLE: dict[Any, Kind] = {
    str: TEXT,
    bool: FLAG,
    bytes: Kind("bytes", _read_bytes),
    NoneType: _NOTHING,
    None: _NOTHING,
}
