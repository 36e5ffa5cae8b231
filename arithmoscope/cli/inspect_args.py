"""Flags of ``arithmoscope inspect``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.cli.experiment_args import add_model
from arithmoscope.contracts.prompts import Operation
from arithmoscope.contracts.views import ViewKind


def add_inspect(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        "inspect",
        help="show key components, attention, roles, logit lens, stages or component outputs",
        description="Runs path patching on a prompt, on a file of prompts or on a set drawn from templates, and prints "
        "one view of the result.",
    )
    parser.add_argument(
        "view",
        choices=get_args(ViewKind),
        help="key: key components; attention: attention patterns; roles: attention by token role; lens: logit lens; "
        "stages: emergence of the answer by layer; writes: output of one component as logits",
    )
    parser.add_argument("prompt", nargs="?", help='a calculation such as "3 + 5 ="; if left out, a set of prompts')
    parser.add_argument("--file", metavar="FILE", help="use your own prompts: CSV or JSON lines")
    parser.add_argument(
        "--operations", nargs="+", choices=get_args(Operation), default=["add"], help="operations of the set (add)"
    )
    parser.add_argument(
        "--operands", nargs=2, type=int, metavar=("LOW", "HIGH"), default=[0, 9], help="range of the operands (0 9)"
    )
    parser.add_argument("--pairs", type=int, default=64, help="number of questions in the set (64)")
    parser.add_argument("--shots", type=int, default=2, help="solved examples before each question (2)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the set (0)")
    parser.add_argument(
        "--number", type=int, default=0, metavar="N", help="attention, lens: number of the prompt, from 0 (0)"
    )
    parser.add_argument("--layer", type=int, default=0, metavar="L", help="attention: layer, from 0 (0)")
    parser.add_argument("--component", metavar="C", help="writes: component, such as MLP19")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print the view as JSON")
    parser.add_argument("--out", metavar="FILE", help="write the view as JSON to FILE")
