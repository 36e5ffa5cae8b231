"""Writes the page's vocabulary and the tables of options in docs and README from the specs: ``make vocabulary``.

``--check`` writes nothing, lists the files that are out of date, and then ends with status 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds import KINDS
from arithmoscope.contracts.kinds.transfer import EVALUATED_ON, FOUND_ON, NAMED_SETS
from arithmoscope.contracts.options import Choice, Exclusion
from arithmoscope.contracts.terms import DEFAULT_METRIC, DEFAULT_TOP_K
from arithmoscope.contracts.topics import CONTROL_TOPICS, TOPICS
from arithmoscope.contracts.tuning_terms import IGNORED_OPTIONS, WHOLE_TUNERS
from arithmoscope.contracts.vocabulary import CHOICES, EXCLUSIONS, LIMITS, MODELS, FieldTerms, fields_of

ROOT = Path(__file__).resolve().parents[1]
TYPESCRIPT = ROOT / "frontend" / "src" / "api" / "vocabulary.ts"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
# Line length of the page's formatter.
_WIDTH = 120
# A generated part of a page: "<!-- generated: options of knockout -->", a table, "<!-- end -->".
_PART = re.compile(r"(?P<start><!-- generated: (?P<table>.+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Writes the files that are out of date, or with ``--check`` lists them."""
    wanted = {TYPESCRIPT: typescript(), **{page: with_tables(page.read_text("utf-8")) for page in PAGES}}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        if "--check" not in arguments:
            path.write_text(wanted[path], "utf-8")
    return int("--check" in arguments and bool(stale))


# ---- TypeScript


def typescript() -> str:
    """The text of vocabulary.ts, as the page's formatter leaves it."""
    constants: tuple[tuple[str, str, Any], ...] = (
        ("KINDS", "The kinds of experiment.", {k.name: {"label": k.title, "help": k.help} for k in KINDS.values()}),
        (
            "FIELDS",
            "The fields of each spec and prompt set. `choices` is a table of `CHOICES`.",
            {model: {name: _field(field) for name, field in fields_of(cls).items()} for model, cls in MODELS.items()},
        ),
        ("CHOICES", "The values of each option. Labels are lower case, as inside a sentence.", _choices()),
        (
            "EXCLUSIONS",
            "Values of an option that need certain values of others; without `values`, all but the default.",
            {model: [_exclusion(row) for row in rows] for model, rows in EXCLUSIONS.items()},
        ),
        ("CONTROL_TOPICS", "Topics without arithmetic.", list(CONTROL_TOPICS)),
        ("TOPIC_OPERATIONS", "The operations of each topic.", {t: list(row.operations) for t, row in TOPICS.items()}),
        ("WHOLE_TUNERS", "Tuners that need no components.", list(WHOLE_TUNERS)),
        (
            "IGNORED_OPTIONS",
            "The options that a tuner ignores.",
            {tuner: list(names) for tuner, names in IGNORED_OPTIONS.items()},
        ),
        ("NAMED_SETS", "Prompt sets to choose from.", {name: _plain(each) for name, each in NAMED_SETS.items()}),
        ("FOUND_ON", "The sets that heads are found on by default.", list(FOUND_ON)),
        ("EVALUATED_ON", "The sets that they are knocked out on by default.", list(EVALUATED_ON)),
        ("LIMITS", "Limits that no single field has.", LIMITS),
        ("DEFAULT_TOP_K", "Components of a knockout that names none.", DEFAULT_TOP_K),
        ("DEFAULT_METRIC", "Metric that ranks components wherever the first k of them are meant.", DEFAULT_METRIC),
    )
    parts = ["// Generated from arithmoscope/contracts: `make vocabulary`. Do not edit.\n"]
    for name, comment, value in constants:
        head, tail = f"export const {name} = ", " as const;\n" if isinstance(value, dict | list) else ";\n"
        parts.append(f"\n/** {comment} */\n{head}{_literal(value, '', len(head) + len(tail) - 1)}{tail}")
    return "".join(parts)


def _field(field: FieldTerms) -> dict[str, Any]:
    parts = {
        "label": field.label,
        "help": field.help,
        "unit": field.unit or None,
        "integer": field.integer or None,
        "min": field.minimum,
        "above": field.above,
        "max": field.maximum,
        "minLength": field.min_length,
        "maxLength": field.max_length,
        "choices": field.choices,
    }
    present = {name: value for name, value in parts.items() if value is not None}
    return present if field.required else {**present, "default": _plain(field.default)}


def _plain(value: Any) -> Any:
    """A default as JSON; a prompt set with its own options alone."""
    if isinstance(value, Wire):
        return {"source": "template", **value.model_dump(mode="json", exclude_defaults=True)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _choices() -> dict[str, Any]:
    return {name: {value: _choice(choice) for value, choice in rows.items()} for name, rows in CHOICES.items()}


def _choice(choice: Choice) -> dict[str, str]:
    more = {name: value for name in ("example", "unit") if (value := getattr(choice, name))}
    return {"label": choice.label, "help": choice.help, **more}


def _exclusion(row: Exclusion) -> dict[str, Any]:
    values = {} if row.values is None else {"values": row.values}
    return {"option": row.option, **values, "needs": dict(row.needs), "reason": row.reason, "wayOut": row.way_out}


def _literal(value: Any, indent: str, taken: int) -> str:
    """A value as TypeScript, in the page's format. ``taken``: characters that its first line has besides."""
    if not isinstance(value, dict | list | tuple):
        return _scalar(value)
    flat = _flat(value)
    if flat is not None and len(indent) + taken + len(flat) <= _WIDTH:
        return flat
    inner = indent + "  "
    lines = (
        [f"{inner}{_property(_key(key), item, inner)},\n" for key, item in value.items()]
        if isinstance(value, dict)
        else [f"{inner}{_literal(item, inner, 1)},\n" for item in value]
    )
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{''.join(lines)}{indent}{end}"


def _property(key: str, item: Any, indent: str) -> str:
    text = _literal(item, indent, len(key) + 3)
    if isinstance(item, str) and len(indent) + len(key) + len(text) + 3 > _WIDTH:
        return f"{key}:\n{indent}  {text}"
    return f"{key}: {text}"


def _flat(value: Any) -> str | None:
    """A value on one line; None for a list of several objects, which the formatter always breaks."""
    if isinstance(value, dict):
        items = [(key, _flat(item)) for key, item in value.items()]
        if any(text is None for _, text in items):
            return None
        return "{ " + ", ".join(f"{_key(key)}: {text}" for key, text in items) + " }" if items else "{}"
    if isinstance(value, list | tuple):
        if len(value) > 1 and all(isinstance(item, dict) and len(item) > 1 for item in value):
            return None
        texts = [_flat(item) for item in value]
        return None if None in texts else f"[{', '.join(filter(None, texts))}]"
    return _scalar(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_]\w*", key) else _scalar(key)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        quote = '"' if value.count("'") > value.count('"') else "'"
        return quote + value.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
    return f"{value:g}" if isinstance(value, float) and value != int(value) else str(int(value))


# ---- Tables in Markdown


def with_tables(text: str) -> str:
    """A page with its generated tables written again."""
    return _PART.sub(lambda part: part["start"] + _table(part["table"]) + part["end"], text)


def _table(name: str) -> str:
    kind, _, subject = name.partition(" of ")
    rows = _TABLES[kind](subject)
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *body)]
    return "".join([lines[0], "|---" * len(head) + "|\n", *lines[1:]])


def _options(model: str) -> Iterable[list[str]]:
    yield ["option", "values", "default", "meaning"]
    for name, field in fields_of(MODELS[model]).items():
        if not _is_tag(model, name):
            yield [f"`{name}`", _range(field, MODELS[model]), _default(field), field.help]


def _is_tag(model: str, name: str) -> bool:
    """True for a field with one value, which tells the models of a union apart."""
    return len(get_args(MODELS[model].model_fields[name].annotation)) == 1


def _range(field: FieldTerms, model: type[Wire]) -> str:
    """The values of a field: its choices, or its limits and unit."""
    if field.choices:
        return ", ".join(f"`{value}`" for value in CHOICES[field.choices])
    unit = f" {field.unit}" if field.unit else ""
    if field.maximum is not None:
        low = f"{_number(field.minimum)} to" if field.minimum is not None else f"above {_number(field.above)}, up to"
        return f"{low} {_number(field.maximum)}{unit}"
    if field.max_length is not None:
        low = f"{field.min_length} to" if field.min_length else "up to"
        return f"{low} {_number(field.max_length)}{unit or ' characters'}"
    annotation = model.model_fields[field.name].annotation
    if annotation is bool:
        return "`true`, `false`"
    if field.name == "operands":
        return f"two numbers, 0 to {LIMITS['operand']}"
    return "an experiment's id" if field.name == "parent" else "a prompt set"


def _default(field: FieldTerms) -> str:
    if field.required:
        return "required"
    if field.name in _SETS and field.default is not None:
        return _SETS[field.name]
    default = f"{field.default:g}" if isinstance(field.default, float) else json.dumps(field.default)
    return f"`{default}`".replace('`"', "`").replace('"`', "`")


# Defaults that are prompt sets, in words.
_SETS = {
    "found_on": f"{len(FOUND_ON)} sets with arithmetic",
    "evaluated_on": "the same, and two controls",
    "prompts": "sums and differences of two-digit numbers",
}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.10g}".replace(",", " ") if value >= 10_000 else f"{value:g}"


def _choice_rows(name: str) -> Iterable[list[str]]:
    rows = CHOICES[name]
    examples = any(choice.example for choice in rows.values())
    yield ["value", "label", "meaning", *(["example"] if examples else [])]
    for value, choice in rows.items():
        yield [f"`{value}`", choice.label, choice.help, *([f"`{choice.example}`"] if examples else [])]


def _topics(_subject: str) -> Iterable[list[str]]:
    yield ["topic", "operations", "styles", "decimals", "words", "no corruption by", "example"]
    for topic, row in TOPICS.items():
        has = ("yes" if each else "no" for each in (row.styles, row.decimals, row.words))
        operations, impossible = (", ".join(names) or "-" for names in (row.operations, row.impossible))
        yield [f"`{topic}`", operations, *has, impossible, f"`{CHOICES['Topic'][topic].example}`"]


_TABLES: dict[str, Callable[[str], Iterable[list[str]]]] = {
    "options": _options,
    "choices": _choice_rows,
    "topics": _topics,
}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
