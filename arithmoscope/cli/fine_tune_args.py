"""Flags of ``arithmoscope fine-tune``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.cli.experiment_args import RANKING_METRICS, add_model
from arithmoscope.contracts.prompts import MAX_DECIMALS, Numerals, Operation, Style, Topic, Wording
from arithmoscope.contracts.terms import Among
from arithmoscope.contracts.tuning_terms import HeadPart, Schedule, Tuner

PUBLIC = ("gsm8k", "svamp", "addsub", "singleeq", "mmlu", "csqa")
# Numeric fields of the spec: flag, type, default, help.
_NUMBERS: tuple[tuple[str, Any, Any, str], ...] = (
    ("steps", int, 80, "optimiser steps"),
    ("batch-size", int, 32, "questions per step"),
    ("learning-rate", float, 5e-4, "peak learning rate"),
    ("warmup", float, 0.05, "share of the steps over which the learning rate rises"),
    ("weight-decay", float, 0.0, "weight decay (AdamW)"),
    ("clip", float, 1.0, "gradient clipping (max norm); 0 turns it off"),
    ("accumulate", int, 1, "gradient accumulation steps: the batch in N parts, to save memory"),
    ("validate-every", int, 10, "steps between validations"),
    ("seed", int, 0, "random seed"),
)


def add_fine_tune(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        "fine-tune",
        help="train only the key components and test the model before and after",
        description="Trains only the components with the largest effects, or those that you name, and prints the "
        "accuracy on held-out questions, other arithmetic and plain text before and after.",
    )
    add_model(parser)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--components", metavar="LIST", help="components to train: L14H2,MLP19")
    chosen.add_argument(
        "--top-k",
        type=int,
        default=10,
        metavar="K",
        help="train the K components with the largest effects, found by path patching (10)",
    )
    parser.add_argument(
        "--among", choices=get_args(Among), default="any", help="components that --top-k ranks: heads or any (any)"
    )
    parser.add_argument(
        "--metric",
        choices=RANKING_METRICS,
        default="logit_difference",
        help="metric that ranks the components (logit_difference)",
    )
    parser.add_argument("--tuner", choices=get_args(Tuner), default="precise", help="parameters trained (precise)")
    parser.add_argument("--topic", choices=get_args(Topic), default="question", help="topic of the prompts (question)")
    parser.add_argument(
        "--operations", nargs="+", choices=get_args(Operation), default=["add"], help="operations (add)"
    )
    parser.add_argument(
        "--styles", nargs="+", choices=get_args(Style), default=["equation"], help="styles of the questions (equation)"
    )
    parser.add_argument(
        "--wording", choices=get_args(Wording), default="plain", help="a few wordings, or all of them (plain)"
    )
    parser.add_argument(
        "--numerals", choices=get_args(Numerals), default="digits", help="numbers in digits or in words (digits)"
    )
    parser.add_argument(
        "--decimals", type=int, choices=range(MAX_DECIMALS + 1), default=0, help="decimal places of the operands (0)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--digits", type=int, choices=range(1, 5), default=2, help="digits of both operands (2)")
    size.add_argument("--operands", nargs=2, type=int, metavar=("LOW", "HIGH"), help="range of the operands")
    parser.add_argument(
        "--pairs", type=int, default=1000, help="questions, split by operands into train, validation and test (1000)"
    )
    parser.add_argument("--shots", type=int, default=2, help="solved examples before each question (2)")
    parser.add_argument("--file", metavar="FILE", help="use your own questions: CSV or JSON lines")
    parser.add_argument("--public", choices=PUBLIC, help="FILE is this public data set, as published")
    for name, kind, default, description in _NUMBERS:
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{description} ({default})")
    parser.add_argument(
        "--schedule", choices=get_args(Schedule), default="cosine", help="learning rate after the warm-up (cosine)"
    )
    parser.add_argument(
        "--tune",
        nargs="+",
        choices=get_args(HeadPart),
        help="projections of each head to train (q o under grouped-query attention, otherwise q k v o)",
    )
    parser.add_argument("--biases", action="store_true", help="train the biases of the chosen components, too")
    parser.add_argument(
        "--head-scale", action="store_true", help="multiply the heads' learning rate by H/h, as in the paper"
    )
    parser.add_argument("--checkpointing", action="store_true", help="activation checkpointing: less memory, more time")
    parser.add_argument("--save", metavar="FILE", help="write the weight changes to FILE (safetensors)")
    parser.add_argument("--export", metavar="FOLDER", help="write the tuned model, as transformers loads it")
    parser.add_argument("--adapter", metavar="FOLDER", help="write the weight changes as an adapter for PEFT")
    parser.add_argument("--csv", metavar="FILE", help="write every evaluated question to FILE, one row each")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument(
        "--benchmarks", metavar="LIST", help="public benchmarks before and after, by lm-eval: gsm8k,arc_easy"
    )
