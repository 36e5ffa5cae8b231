"""Writes the committed copy of the OpenAPI document: ``python -m arithmoscope_api.write_openapi > openapi.json``."""

from __future__ import annotations

import json
import sys

from arithmoscope_api.app import routes_only
from arithmoscope_api.openapi import openapi_document


def main() -> None:
    """Writes the document to standard output, with sorted keys."""
    json.dump(openapi_document(routes_only()), sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
