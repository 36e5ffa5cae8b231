"""``python -m arithmoscope_api.write_openapi > openapi.json``: the committed copy of the OpenAPI document."""

from __future__ import annotations

import json
import sys

from arithmoscope_api.app import routes_only
from arithmoscope_api.openapi import openapi_document


def main() -> None:
    """Write the document to standard output, in a stable order."""
    json.dump(openapi_document(routes_only()), sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
