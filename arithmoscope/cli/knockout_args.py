"""The flags of ``arithmoscope knockout`` and ``arithmoscope transfer``; ``--help`` reads them, too: few imports."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.contracts.knockout_terms import Ablation, KnockPositions
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
from arithmoscope.contracts.specs import Among

_SETS = ("addition", "subtraction", "multiplication", "division", "facts", "grammar")
# What the path patching that ranks them measures.
_METRICS = ("relative_logit", "logit_difference", "logit")
_WORDS: tuple[tuple[str, Any, str], ...] = (
    ("topic", Topic, "question"),
    ("wording", Wording, "plain"),
    ("numerals", Numerals, "digits"),
    ("corruption", Corruption, "null_operator"),
)


def add_commands(commands: Any) -> None:
    """The two commands' flags."""
    knock = commands.add_parser("knockout", help="what a model still answers with the components that matter out")
    chosen = knock.add_mutually_exclusive_group()
    chosen.add_argument("--components", metavar="LIST", help="which, in this order: L14H2,MLP19")
    chosen.add_argument(
        "--top-k", type=int, default=10, metavar="K", help="those that hurt most on other operands (10)"
    )
    knock.add_argument("--among", choices=get_args(Among), default="head", help="what --top-k is taken among (head)")
    knock.add_argument("--metric", choices=_METRICS, default="logit_difference", help="what ranks them")
    knock.add_argument("--positions", choices=get_args(KnockPositions), default="end", help="where they are out (end)")
    for name, words, default in _WORDS:
        knock.add_argument(f"--{name}", choices=get_args(words), default=default, help=f"({default})")
    knock.add_argument("--operations", nargs="+", choices=get_args(Operation), default=["add"])
    knock.add_argument("--styles", nargs="+", choices=get_args(Style), default=["equation"])
    knock.add_argument("--operands", nargs=2, type=int, metavar=("LOW", "HIGH"), default=[0, 9])
    knock.add_argument("--decimals", type=int, choices=range(MAX_DECIMALS + 1), default=0)
    knock.add_argument(
        "--answer", choices=get_args(AnswerTokens), default="whole", help="of several tokens: the first, or each"
    )
    knock.add_argument("--answer-tokens", type=int, metavar="N", help="write answers of up to N tokens, and judge them")
    knock.add_argument("--seed", type=int, default=0)
    carry = commands.add_parser("transfer", help="whether the heads found on one set of prompts matter on others")
    carry.add_argument("--sets", nargs="+", default=list(_SETS), metavar="NAME", help=f"({', '.join(_SETS)})")
    carry.add_argument("--top-k", type=int, default=10, metavar="K", help="heads of each set (10)")
    for each in (knock, carry):
        each.add_argument("--model", default="smollm2-135m", metavar="ID", help="model (smollm2-135m)")
        each.add_argument("--pairs", type=int, default=64, help="questions asked of a set (64)")
        each.add_argument("--shots", type=int, default=4, help="solved examples before a question (4)")
        each.add_argument("--ablation", choices=get_args(Ablation), default="mean", help="what they write then (mean)")
        each.add_argument("--controls", type=int, default=20, metavar="N", help="random draws beside them (20)")
        each.add_argument("--csv", metavar="FILE", help="write the numbers to FILE, a row a number")
        each.add_argument("--json", action="store_true", help="print all numbers as JSON")
        each.add_argument("--out", metavar="FILE", help="write the arrays to FILE (safetensors)")
