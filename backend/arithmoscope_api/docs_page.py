"""``/api/docs``: the OpenAPI document as one plain page, made on the server, loading nothing."""

from __future__ import annotations

import json
from html import escape
from typing import Any

_STYLE = """
body{font:1rem/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
code,pre{font:.875rem/1.5 ui-monospace,monospace}
pre{overflow:auto;padding:.75rem;border:1px solid #8884;border-radius:.4rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .75rem .25rem 0;vertical-align:top}
details{margin:.5rem 0}summary{cursor:pointer}section{border-top:1px solid #8884;padding-top:.5rem}
"""


def docs_page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    calls = "".join(
        _call(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(
        f'<details id="{name}"><summary><code>{name}</code></summary>{_code(schema)}</details>'
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])} "
        'The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{calls}<h2>Data</h2>{schemas}</body></html>"
    )


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"]
    parts.append(f"<p>{escape(operation.get('description', operation['summary']))}</p>")
    parameters = operation.get("parameters", [])
    if parameters:
        parts.append("<h3>Parameters</h3>" + _table(_parameter(each) for each in parameters))
    body = operation.get("requestBody")
    if body:
        for media_type, content in body["content"].items():
            parts.append(f"<h3>Body: {escape(media_type)}</h3>{_code(content['schema'])}")
    answers = operation["responses"].items()
    parts.append("<h3>Answers</h3>" + _table(_answer(status, answer) for status, answer in answers))
    return "".join(parts) + "</section>"


def _parameter(parameter: dict[str, Any]) -> tuple[str, str]:
    needed = "" if parameter.get("required") else " (optional)"
    said = escape(parameter.get("description", ""))
    return (
        f"<code>{escape(parameter['name'])}</code> in {escape(parameter['in'])}{needed}",
        f"{said} {_inline(parameter['schema'])}",
    )


def _answer(status: str, answer: dict[str, Any]) -> tuple[str, str]:
    kinds = "; ".join(
        f"{escape(media)} {_inline(content.get('schema', {}))}" for media, content in answer.get("content", {}).items()
    )
    return f"<code>{status}</code>", f"{escape(answer['description'])}. {kinds}"


def _table(rows: Any) -> str:
    return "<table>" + "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows) + "</table>"


def _inline(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    if name:
        return f'<a href="#{escape(name)}"><code>{escape(name)}</code></a>'
    return f"<code>{escape(json.dumps(schema))}</code>" if schema else ""


def _code(schema: dict[str, Any]) -> str:
    if set(schema) == {"$ref"}:
        return f"<p>{_inline(schema)}</p>"
    return f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
