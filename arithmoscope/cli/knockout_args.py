"""Flags of ``arithmoscope knockout``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.cli.experiment_args import RANKING_METRICS, add_ablation
from arithmoscope.contracts.knockout_terms import KnockPositions
from arithmoscope.contracts.prompts import (
    MAX_DECIMALS,
    AnswerTokens,
    Corruption,
    Numerals,
    Operation,
    Style,
    Topic,
    Wording,
)
from arithmoscope.contracts.terms import Among


def add_knockout(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        "knockout",
        help="remove the key components one by one and measure the accuracy",
        description="Finds the components with the largest effects on one half of the operands, removes them one after "
        "the other on the other half, and prints accuracy and probability of the answer next to random controls.",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--components", metavar="LIST", help="components to remove, in this order: L14H2,MLP19")
    chosen.add_argument(
        "--top-k", type=int, default=10, metavar="K", help="remove the K components with the largest effects (10)"
    )
    parser.add_argument(
        "--among", choices=get_args(Among), default="head", help="components that --top-k ranks: heads or any (head)"
    )
    parser.add_argument(
        "--metric",
        choices=RANKING_METRICS,
        default="logit_difference",
        help="metric that ranks the components (logit_difference)",
    )
    parser.add_argument(
        "--positions",
        choices=get_args(KnockPositions),
        default="end",
        help="positions at which they are removed: the last, all, or all but the first (end)",
    )
    parser.add_argument("--topic", choices=get_args(Topic), default="question", help="topic of the prompts (question)")
    parser.add_argument(
        "--wording", choices=get_args(Wording), default="plain", help="a few wordings, or all of them (plain)"
    )
    parser.add_argument(
        "--numerals", choices=get_args(Numerals), default="digits", help="numbers in digits or in words (digits)"
    )
    parser.add_argument(
        "--corruption",
        choices=get_args(Corruption),
        default="null_operator",
        help="how the counterfactual differs from the prompt (null_operator)",
    )
    parser.add_argument(
        "--operations", nargs="+", choices=get_args(Operation), default=["add"], help="operations (add)"
    )
    parser.add_argument(
        "--styles", nargs="+", choices=get_args(Style), default=["equation"], help="styles of the questions (equation)"
    )
    parser.add_argument(
        "--operands", nargs=2, type=int, metavar=("LOW", "HIGH"), default=[0, 9], help="range of the operands (0 9)"
    )
    parser.add_argument(
        "--decimals", type=int, choices=range(MAX_DECIMALS + 1), default=0, help="decimal places of the operands (0)"
    )
    parser.add_argument(
        "--answer",
        choices=get_args(AnswerTokens),
        default="whole",
        help="answers of several tokens: leave them out, measure the first token, or measure each (whole)",
    )
    parser.add_argument(
        "--answer-tokens", type=int, metavar="N", help="generate up to N tokens and score whole answers as well"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    add_ablation(parser)
