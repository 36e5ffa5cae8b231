"""Renders a chat template in a process of its own: JSON on standard input, JSON on standard output.

A chat template is a program that comes with a model. `chat_template` runs this file, and hands it nothing else; it gets
Jinja's sandbox, no files, no network, two seconds and little memory, and can spoil nothing but itself.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MOST_CHARACTERS = 20_000
_SECONDS = 2
_BYTES = 512 * 2**20
# Some templates write today's date into their system prompt. The same question must give the same numbers tomorrow.
_TODAY = datetime(2025, 1, 1)


class _Generation(Extension):
    """``{% generation %}``, with which templates mark what an assistant says, and which writes nothing by itself."""

    tags: ClassVar[set[str]] = {"generation"}  # pyright: ignore[reportIncompatibleVariableOverride]

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PlainNamespace(Namespace):
    """Takes no name that means something to Python."""

    def __init__(self, **values: Any) -> None:
        for name in values:
            _check(name)
        super().__init__(**values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


def _check(name: object) -> None:
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no {name}")


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    known = {name: options[name] for name in ("indent", "separators", "sort_keys") if name in options}
    return json.dumps(value, ensure_ascii=ensure_ascii, **known)


def _environment() -> jinja2.Environment:
    """What templates expect to find: they are written for transformers."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.pop("lipsum", None)
    environment.globals.update(
        raise_exception=_raise,
        strftime_now=lambda shape: _TODAY.strftime(shape),
        namespace=_PlainNamespace,
        dict=lambda **values: dict(**values),
    )
    return environment


def _confine(environment: jinja2.Environment) -> None:
    """From here on: little time and memory, no file, no socket, nothing written but to the pipe that is open."""
    # What reading a template and telling of an error would load, when nothing can be opened any more.
    environment.from_string(r"{{ '\n' }}").render()
    importlib.import_module("jinja2.debug")
    if sys.platform == "win32":
        return
    import resource

    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(spent.ru_utime + spent.ru_stime) + _SECONDS
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, _BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        with suppress(OSError, ValueError):  # macOS knows no limit of memory
            resource.setrlimit(what, (most, most))


def _written(render: Callable[..., Any], variables: dict[str, Any]) -> dict[str, str]:
    parts: list[str] = []
    size = 0
    try:
        for part in render(**variables):
            parts.append(part)
            size += len(part)
            if size > MOST_CHARACTERS:
                return {"error": f"it writes more than {MOST_CHARACTERS} characters"}
    except Exception as error:  # noqa: BLE001  (foreign code may raise anything)
        return {"error": _said(error)}
    return {"text": "".join(parts)}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def main() -> None:
    """``{template, chats: [variables]}`` -> ``[{text} or {error}]``, one for each chat."""
    asked = json.load(sys.stdin)
    environment = _environment()
    _confine(environment)
    try:
        template = environment.from_string(asked["template"])
    except Exception as error:  # noqa: BLE001  (foreign code may raise anything)
        written = [{"error": _said(error)} for _ in asked["chats"]]
    else:
        written = [_written(template.generate, variables) for variables in asked["chats"]]
    sys.stdout.write(json.dumps(written))


if __name__ == "__main__":
    main()
