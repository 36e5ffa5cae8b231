"""Renders a chat template in a separate process: JSON on standard input, JSON on standard output.

A chat template is a program shipped with a model, hence untrusted. `chat_template` runs this file as a script. The
template gets Jinja's sandbox, no files, no network, two seconds of CPU time and 512 MiB of memory, so that it can harm
nothing but its own process.
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

MAX_CHARACTERS = 20_000
_SECONDS = 2
_BYTES = 512 * 2**20
# Some templates write today's date into their system prompt; a fixed date keeps results reproducible.
_TODAY = datetime(2025, 1, 1)


class _Generation(Extension):
    """``{% generation %}``, which marks the assistant's text in a template and writes nothing itself."""

    tags: ClassVar[set[str]] = {"generation"}  # pyright: ignore[reportIncompatibleVariableOverride]

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PlainNamespace(Namespace):
    """A namespace that rejects names with a leading underscore."""

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
    allowed = {name: options[name] for name in ("indent", "separators", "sort_keys") if name in options}
    return json.dumps(value, ensure_ascii=ensure_ascii, **allowed)


def _environment() -> jinja2.Environment:
    """A sandboxed Jinja environment with the extensions, filters and globals of transformers."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.pop("lipsum", None)
    environment.globals.update(
        raise_exception=_raise,
        strftime_now=lambda date_format: _TODAY.strftime(date_format),
        namespace=_PlainNamespace,
        dict=lambda **values: dict(**values),
    )
    return environment


def _confine(environment: jinja2.Environment) -> None:
    """Limits this process from here on: CPU time, memory, no new file or socket, output only to the open pipe."""
    # Import now what parsing a template and formatting an error would import later, when no file can be opened.
    environment.from_string(r"{{ '\n' }}").render()
    importlib.import_module("jinja2.debug")
    if sys.platform == "win32":
        return
    import resource

    spent = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(spent.ru_utime + spent.ru_stime) + _SECONDS
    for resource_id, limit in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, _BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        with suppress(OSError, ValueError):  # macOS has no memory limit
            resource.setrlimit(resource_id, (limit, limit))


def _render(render: Callable[..., Any], variables: dict[str, Any]) -> dict[str, str]:
    parts: list[str] = []
    size = 0
    try:
        for part in render(**variables):
            parts.append(part)
            size += len(part)
            if size > MAX_CHARACTERS:
                return {"error": f"it writes more than {MAX_CHARACTERS} characters"}
    except Exception as error:  # noqa: BLE001  (untrusted code may raise anything)
        return {"error": _message(error)}
    return {"text": "".join(parts)}


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def main() -> None:
    """Reads ``{template, chats: [variables]}``, writes ``[{text} or {error}]``, one per chat."""
    request = json.load(sys.stdin)
    environment = _environment()
    _confine(environment)
    try:
        template = environment.from_string(request["template"])
    except Exception as error:  # noqa: BLE001  (untrusted code may raise anything)
        rendered = [{"error": _message(error)} for _ in request["chats"]]
    else:
        rendered = [_render(template.generate, variables) for variables in request["chats"]]
    sys.stdout.write(json.dumps(rendered))


if __name__ == "__main__":
    main()
