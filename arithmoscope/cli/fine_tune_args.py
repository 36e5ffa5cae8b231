"""The flags of ``arithmoscope fine-tune``; ``--help`` reads them, too: few imports."""

from __future__ import annotations

from typing import Any, get_args

from arithmoscope.contracts.prompts import MAX_DECIMALS, Numerals, Operation, Style, Topic, Wording
from arithmoscope.contracts.specs import Among
from arithmoscope.contracts.tuning_terms import HeadPart, Schedule, Tuner

# What the path patching that ranks components measures.
_METRICS = ("relative_logit", "logit_difference", "logit")
PUBLIC = ("gsm8k", "svamp", "addsub", "singleeq", "mmlu", "csqa")
# The spec's own numbers, where they are told: (flag, type, default, what it is).
_NUMBERS: tuple[tuple[str, Any, Any, str], ...] = (
    ("steps", int, 80, "steps of the optimiser"),
    ("batch-size", int, 32, "questions a step"),
    ("learning-rate", float, 5e-4, "at its highest"),
    ("warmup", float, 0.05, "share of the steps over which it rises"),
    ("weight-decay", float, 0.0, "AdamW's"),
    ("clip", float, 1.0, "the longest gradient; 0 for any"),
    ("accumulate", int, 1, "parts that a batch is run in, to save memory"),
    ("validate-every", int, 10, "steps between looks at the validation questions"),
    ("seed", int, 0, "of the order of the questions"),
)


def add_fine_tune(commands: Any) -> None:
    """The command's flags."""
    tune = commands.add_parser("fine-tune", help="train only the components that matter, and see what else changed")
    tune.add_argument("--model", default="smollm2-135m", metavar="ID", help="model (smollm2-135m)")
    chosen = tune.add_mutually_exclusive_group()
    chosen.add_argument("--components", metavar="LIST", help="which: L14H2,MLP19")
    chosen.add_argument(
        "--top-k", type=int, default=10, metavar="K", help="those that matter most, by path patching first (10)"
    )
    tune.add_argument("--among", choices=get_args(Among), default="any", help="what --top-k is taken among (any)")
    tune.add_argument("--metric", choices=_METRICS, default="logit_difference", help="what ranks them")
    tune.add_argument("--tuner", choices=get_args(Tuner), default="precise", help="what moves (precise)")
    tune.add_argument("--topic", choices=get_args(Topic), default="question", help="(question)")
    tune.add_argument("--operations", nargs="+", choices=get_args(Operation), default=["add"])
    tune.add_argument("--styles", nargs="+", choices=get_args(Style), default=["equation"])
    tune.add_argument("--wording", choices=get_args(Wording), default="plain", help="(plain)")
    tune.add_argument("--numerals", choices=get_args(Numerals), default="digits", help="(digits)")
    tune.add_argument("--decimals", type=int, choices=range(MAX_DECIMALS + 1), default=0)
    size = tune.add_mutually_exclusive_group()
    size.add_argument("--digits", type=int, choices=range(1, 5), default=2, help="of both operands (2)")
    size.add_argument("--operands", nargs=2, type=int, metavar=("LOW", "HIGH"))
    tune.add_argument("--pairs", type=int, default=1000, help="questions, split in three by their operands (1000)")
    tune.add_argument("--shots", type=int, default=2, help="solved examples before a question (2)")
    tune.add_argument("--file", metavar="FILE", help="own questions instead, as CSV or JSON lines")
    tune.add_argument("--public", choices=PUBLIC, help="FILE is this public set, as it is published")
    for name, kind, default, said in _NUMBERS:
        tune.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{said} ({default})")
    tune.add_argument("--schedule", choices=get_args(Schedule), default="cosine", help="(cosine)")
    tune.add_argument(
        "--tune", nargs="+", choices=get_args(HeadPart), help="of each head (q o, or all where it is free)"
    )
    tune.add_argument("--biases", action="store_true", help="those of the chosen components, too")
    tune.add_argument("--head-scale", action="store_true", help="the paper's H/h, on the heads' learning rate")
    tune.add_argument("--checkpointing", action="store_true", help="compute layers twice, to save memory")
    tune.add_argument("--save", metavar="FILE", help="write what changed to FILE (safetensors)")
    tune.add_argument("--export", metavar="FOLDER", help="write the tuned model, as transformers loads it")
    tune.add_argument("--adapter", metavar="FOLDER", help="write what changed as an adapter for PEFT")
    tune.add_argument("--csv", metavar="FILE", help="write every judged question to FILE, a row each")
    tune.add_argument("--json", action="store_true", help="print the whole result as JSON")
    tune.add_argument("--benchmarks", metavar="LIST", help="public ones, before and after, by lm-eval: gsm8k,arc_easy")
