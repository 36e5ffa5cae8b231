"""The flags of ``arithmoscope inspect``; ``--help`` reads them, too: few imports."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.contracts.prompts import Operation
from arithmoscope.contracts.views import ViewKind


def add_look(commands: Any) -> None:
    """The command's flags."""
    look = commands.add_parser(
        "inspect", help="key components, attention, roles, lens, stages or writes of an analysis"
    )
    look.add_argument("view", choices=get_args(ViewKind), help="what to see")
    look.add_argument("prompt", nargs="?", help='one calculation such as "3 + 5 ="; a set of them if left out')
    look.add_argument("--file", metavar="FILE", help="own prompts instead, as CSV or JSON lines")
    look.add_argument("--operations", nargs="+", choices=get_args(Operation), default=["add"])
    look.add_argument("--operands", nargs=2, type=int, metavar=("LOW", "HIGH"), default=[0, 9])
    look.add_argument("--pairs", type=int, default=64, help="questions of the set (64)")
    look.add_argument("--shots", type=int, default=2, help="solved examples before a question (2)")
    look.add_argument("--seed", type=int, default=0)
    look.add_argument("--number", type=int, default=0, metavar="N", help="which prompt, for attention and lens (0)")
    look.add_argument("--layer", type=int, default=0, metavar="L", help="which layer, for attention (0)")
    look.add_argument("--component", metavar="C", help="which component, for writes: MLP19")
    look.add_argument("--model", default="smollm2-135m", metavar="ID", help="model (smollm2-135m)")
    look.add_argument("--json", action="store_true", help="print it as JSON")
    look.add_argument("--out", metavar="FILE", help="write the JSON to FILE")
