"""Checks of the arguments of public functions: read from their annotations, before anything is computed.

`check_arguments` decorates a function. An argument of another type, out of range or with an unknown option is refused
with one sentence that names the argument, what was given, what is allowed and the way out. Scalars of numpy, pandas and
torch become Python numbers, and iterables become lists. A missing or unexpected argument stays Python's TypeError.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar, Unpack, cast, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from arithmoscope.contracts.argument_kinds import FLAG, TEXT, Kind, Mismatch, kind_of, whole
from arithmoscope.contracts.argument_words import Range, shown
from arithmoscope.contracts.errors import PROBLEMS, Code, Refusal

F = TypeVar("F", bound=Callable[..., Any])

_MAX_SEED = 2**63 - 1


def check_arguments(**checks: Range | Callable[[Any], Any]) -> Callable[[F], F]:
    """A decorator that checks a function's arguments against its annotations.

    Args:
        checks: By the name of an argument, its allowed numbers, or a function that reads it and raises Refusal.

    Returns:
        The decorator. The function keeps its signature and docstring.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        # The name of `**options`, if there is one.
        options = next((each.name for each in signature.parameters.values() if each.kind is each.VAR_KEYWORD), None)

        @functools.cache
        def kinds() -> dict[str, Kind]:  # on the first call, when every annotation is defined
            return _kinds_of(function, signature, checks)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                bound = None
            if bound is None:
                return function(*args, **kwargs)  # raises the TypeError in Python's own words
            given = bound.arguments
            for name, kind in kinds().items():
                if name in given:
                    given[name] = _read(name, given[name], kind, signature.parameters[name].default)
                elif options is not None and name in given.get(options, {}):
                    given[options][name] = _read(name, given[options][name], kind, inspect.Parameter.empty)
            return function(*bound.args, **bound.kwargs)

        return cast(F, call)

    return decorate


def whole_number(name: str, value: Any, allowed: Range, default: Any = inspect.Parameter.empty) -> int:
    """The whole number that was given as the argument ``name``.

    Raises:
        Refusal: ``bad_request`` for another type or a number out of range.
    """
    return _read(name, value, whole(allowed), default)


def text(name: str, value: Any) -> str:
    """The text that was given as the argument ``name``.

    Raises:
        Refusal: ``bad_request`` for another type.
    """
    return _read(name, value, TEXT, inspect.Parameter.empty)


def flag(name: str, value: Any) -> bool:
    """The value of the argument ``name``, which is True or False.

    Raises:
        Refusal: ``bad_request`` for any other value.
    """
    return _read(name, value, FLAG, False)


def refuse(name: str, value: Any, allowed: str, way_out: str, code: Code = "bad_request") -> Refusal:
    """The refusal of an argument: its name, what was given, what is allowed, and the way out."""
    return Refusal(code, f"{name} is {shown(value)}; it must be {allowed}.", way_out)


def refusal_of(error: ValidationError) -> Refusal:
    """The refusal of the first wrong field of a model: with the code of a validator that has one, else
    ``bad_request``."""
    first = error.errors(include_url=False)[0]
    if first["type"] in PROBLEMS:
        context: Any = first.get("ctx", {})
        return Refusal(first["type"], context["detail"], context["way_out"])
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
    message = "at least one is needed" if first["type"] == "too_short" else first["msg"].removeprefix("Value error, ")
    if not where:
        return Refusal("bad_request", f"{message}.")
    if first["type"] in ("missing", "extra_forbidden"):
        state = "is missing" if first["type"] == "missing" else "does not exist"
        return Refusal("bad_request", f"The field {where} {state}.", f"See help(am.{error.title}).")
    detail = f"{where} is {shown(first['input'])}: {message[:1].lower()}{message[1:]}."
    return Refusal("bad_request", detail, f"Choose another value of {where}.")


def _read(name: str, value: Any, kind: Kind, default: Any) -> Any:
    try:
        return kind.read(value)
    except Mismatch as problem:
        where = f"{name}{problem.where}"
        way_out = problem.way_out and problem.way_out.replace("{name}", where)
        if not way_out and default is not inspect.Parameter.empty and not problem.where:
            example = f"Write for example {name}={default!r}."
            way_out = f"Correct it, or leave {name} out." if default is None else example
        way_out = way_out or f"Correct {where}."
        raise refuse(where, problem.value, problem.allowed, way_out, problem.code or "bad_request") from None


def _hints_of(function: Any, signature: inspect.Signature) -> dict[str, Any]:
    """The annotation of each argument that has one, and of each key of ``**options: Unpack[...]``."""
    hints: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            options = _evaluated(parameter.annotation, function)
            hints |= get_type_hints(get_args(options)[0]) if get_origin(options) is Unpack else {}
        elif parameter.annotation is not inspect.Parameter.empty and name not in ("self", "cls"):
            hints[name] = parameter.annotation
    return hints


def _evaluated(hint: Any, function: Any) -> Any:
    """The type that an annotation names. Not all can be told: some are imported for type checkers alone."""
    holder = SimpleNamespace(__annotations__={"hint": hint})
    return get_type_hints(holder, inspect.unwrap(function).__globals__)["hint"]


def _kinds_of(
    function: Any, signature: inspect.Signature, checks: Mapping[str, Range | Callable[[Any], Any]]
) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, hint in _hints_of(function, signature).items():
        check = checks.get(name, Range(0, _MAX_SEED) if name == "seed" else Range())
        if not isinstance(check, Range):
            kinds[name] = Kind("", check)
            continue
        kind = kind_of(_evaluated(hint, function), check)
        if kind is not None:
            kinds[name] = kind
    if unknown := set(checks) - set(kinds):
        raise ValueError(f"{function.__qualname__} has no such arguments: {unknown}")
    return kinds
