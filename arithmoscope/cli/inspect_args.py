"""Flags of ``arithmoscope inspect``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any

from arithmoscope.cli.experiment import add_model
from arithmoscope.cli.prompt_flags import add_prompts
from arithmoscope.contracts.views import VIEWS


def add_inspect(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        "inspect",
        help="show one view of an analysis: " + ", ".join(row.help for row in VIEWS.values()),
        description="Runs path patching on a prompt, on a file of prompts or on a set drawn from templates, and prints "
        "one view of the result.",
    )
    views = "; ".join(f"{row.name}: {row.help}" for row in VIEWS.values())
    parser.add_argument("view", choices=tuple(VIEWS), help=views)
    add_prompts(parser)
    of_prompts = ", ".join(row.name for row in VIEWS.values() if row.parameter == "prompt")
    of_components = ", ".join(row.name for row in VIEWS.values() if row.parameter == "component")
    parser.add_argument(
        "--number", type=int, default=0, metavar="N", help=f"{of_prompts}: number of the prompt, from 0 (0)"
    )
    parser.add_argument("--layer", type=int, default=0, metavar="L", help="attention: layer, from 0 (0)")
    parser.add_argument("--component", metavar="C", help=f"{of_components}: component, such as MLP19")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print the view as JSON")
    parser.add_argument("--out", metavar="FILE", help="write the view as JSON to FILE")
