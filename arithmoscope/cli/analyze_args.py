"""Flags of ``arithmoscope analyze``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.cli.experiment_args import add_model
from arithmoscope.contracts.terms import Direction, Effect, Positions

_SOURCES = ("counterfactual", "zero")  # mean and resample need several prompts


def add_analyze(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        "analyze",
        help='rank heads and MLPs by their effect on one prompt: analyze "3 + 5 ="',
        description="Measures the effect of every head and MLP on the answer to one prompt by path patching, and "
        "prints the components with the largest effects.",
    )
    parser.add_argument("prompt", help='a calculation such as "3 + 5 ="')
    add_model(parser)
    parser.add_argument(
        "--effect",
        choices=get_args(Effect),
        default="through_mlps",
        help="paths to the output: direct, also through later MLPs, or all (through_mlps)",
    )
    parser.add_argument(
        "--positions",
        choices=get_args(Positions),
        default="end",
        help="patched positions: the last one, or all, which needs --effect total (end)",
    )
    parser.add_argument(
        "--source",
        choices=_SOURCES,
        default="counterfactual",
        help="origin of the patched-in activations (counterfactual); mean and resample need a set of prompts: use the "
        "web page, the API or Python",
    )
    parser.add_argument(
        "--direction",
        choices=get_args(Direction),
        default="noising",
        help="take the prompt's activations away, or restore them in the counterfactual (noising)",
    )
    parser.add_argument(
        "--shots", type=int, metavar="N", help="solved examples before the prompt (default: the model's own setting)"
    )
    parser.add_argument("--chat", action="store_true", help="use the model's chat template")
    parser.add_argument(
        "--csv", metavar="FILE", help="write the ranking to FILE, and its description to FILE-metadata.json"
    )
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
