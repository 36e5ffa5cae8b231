"""Flags that several commands share. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import get_args

from arithmoscope.contracts.knockout_terms import Ablation

# Metrics of the path patching that ranks components.
RANKING_METRICS = ("relative_logit", "logit_difference", "logit")


def add_model(parser: ArgumentParser) -> None:
    parser.add_argument("--model", default="smollm2-135m", metavar="ID", help="model to run (smollm2-135m)")


def add_ablation(parser: ArgumentParser) -> None:
    """The flags that ``knockout`` and ``transfer`` share."""
    add_model(parser)
    parser.add_argument("--pairs", type=int, default=64, help="number of questions per prompt set (64)")
    parser.add_argument("--shots", type=int, default=4, help="solved examples before each question (4)")
    parser.add_argument(
        "--ablation",
        choices=get_args(Ablation),
        default="mean",
        help="replace a removed output with its mean over other prompts, zero, or another prompt's output (mean)",
    )
    parser.add_argument(
        "--controls", type=int, default=20, metavar="N", help="random controls: sets of components drawn at random (20)"
    )
    parser.add_argument("--csv", metavar="FILE", help="write the numbers to FILE as CSV, one row per number")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument("--out", metavar="FILE", help="write the arrays to FILE (safetensors)")
