"""Flags of ``arithmoscope fine-tune``. Building ``--help`` imports this, so imports are few."""

from __future__ import annotations

from typing import Any

from arithmoscope.cli.experiment import add_model, own_fields
from arithmoscope.cli.prompt_flags import add_prompts, prefixes_for
from arithmoscope.cli.spec_flags import add_fields
from arithmoscope.contracts.kinds.base import ExperimentKind
from arithmoscope.contracts.kinds.knockout import KnockoutSpec

PUBLIC = ("gsm8k", "svamp", "addsub", "singleeq", "mmlu", "csqa")
# Options of the search for components, if none are named.
SEARCH = ("top_k", "metric", "among")


def add_fine_tune(commands: Any, kind: ExperimentKind) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser(
        kind.command,
        help=kind.help,
        description="Trains only the components with the largest effects, or those that you name, and prints the "
        "accuracy on held-out questions, other arithmetic and plain text before and after.",
    )
    add_model(parser)
    fields = own_fields(kind)
    add_fields(parser, kind.spec, fields)
    search = parser.add_argument_group("components", "if none are named, they are found by path patching")
    add_fields(search, KnockoutSpec, SEARCH)  # pyright: ignore[reportArgumentType]
    add_prompts(parser, prefixes_for(fields), typed=False)
    parser.add_argument("--public", choices=PUBLIC, help="FILE is this public data set, as published")
    parser.add_argument("--save", metavar="FILE", help="write the weight changes to FILE (safetensors)")
    parser.add_argument("--export", metavar="FOLDER", help="write the tuned model, as transformers loads it")
    parser.add_argument("--adapter", metavar="FOLDER", help="write the weight changes as an adapter for PEFT")
    parser.add_argument("--csv", metavar="FILE", help="write every evaluated question to FILE, one row each")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument(
        "--benchmarks", metavar="LIST", help="public benchmarks before and after, by lm-eval: gsm8k,arc_easy"
    )
