"""Flags of ``arithmoscope transfer``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any

from arithmoscope.cli.experiment_args import add_ablation

_SETS = ("addition", "subtraction", "multiplication", "division", "facts", "grammar")


def add_transfer(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        "transfer",
        help="test whether the heads found on one prompt set matter on others",
        description="Finds the heads with the largest effects on one half of every prompt set, removes them on the "
        "other half of every set, and prints the probability of the answer next to random controls.",
    )
    parser.add_argument(
        "--sets", nargs="+", default=list(_SETS), metavar="NAME", help=f"prompt sets ({', '.join(_SETS)})"
    )
    parser.add_argument("--top-k", type=int, default=10, metavar="K", help="heads to find on each set (10)")
    add_ablation(parser)
