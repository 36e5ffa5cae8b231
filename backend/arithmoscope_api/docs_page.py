"""The page ``/api/docs``: the OpenAPI document as plain HTML, rendered on the server, without external files."""

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
    """An OpenAPI document as an HTML page."""
    operations_html = "".join(
        _operation(method, path, operation)
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
        'Machine-readable: <a href="openapi.json">openapi.json</a>.</p>'
        f"{operations_html}<h2>Data</h2>{schemas}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"]
    parts.append(f"<p>{escape(operation.get('description', operation['summary']))}</p>")
    parameters = operation.get("parameters", [])
    if parameters:
        parts.append("<h3>Parameters</h3>" + _table(_parameter(parameter) for parameter in parameters))
    body = operation.get("requestBody")
    if body:
        for media_type, content in body["content"].items():
            parts.append(f"<h3>Body: {escape(media_type)}</h3>{_code(content['schema'])}")
    responses = operation["responses"].items()
    parts.append("<h3>Responses</h3>" + _table(_response(status, response) for status, response in responses))
    return "".join(parts) + "</section>"


def _parameter(parameter: dict[str, Any]) -> tuple[str, str]:
    optional = "" if parameter.get("required") else " (optional)"
    description = escape(parameter.get("description", ""))
    return (
        f"<code>{escape(parameter['name'])}</code> in {escape(parameter['in'])}{optional}",
        f"{description} {_inline(parameter['schema'])}",
    )


def _response(status: str, response: dict[str, Any]) -> tuple[str, str]:
    contents = "; ".join(
        f"{escape(media_type)} {_inline(content.get('schema', {}))}"
        for media_type, content in response.get("content", {}).items()
    )
    return f"<code>{status}</code>", f"{escape(response['description'])}. {contents}"


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
