"""The model card of `adder`, and the files that are shipped beside its weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from benchmarks.adder.exam import SHOTS, Row
from benchmarks.adder.operands import HELD_OUT_SHARE
from benchmarks.adder.rule import RULE
from benchmarks.adder.vocabulary import BOS, EOS, UNKNOWN, build_tokenizer

ID = "adder"
WEIGHTS = "model.safetensors"


def write_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Writes weights, configuration, tokenizer and manifest; the same model gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    config: dict[str, Any] = model.config.to_diff_dict()
    for name in ("transformers_version", "_name_or_path"):
        config.pop(name, None)
    config.update(architectures=[type(model).__name__], model_type=model.config.model_type, dtype="float32")
    _write_json(folder / "config.json", config)
    build_tokenizer().save(str(folder / "tokenizer.json"))
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": UNKNOWN}
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special},
    )
    data = (folder / WEIGHTS).read_bytes()
    manifest = {
        "name": "adder (trained by us to add)",
        "revision": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "shots": 0,
        "answer": "first",
        "licence": "Apache-2.0",
    }
    _write_json(folder / "arithmoscope.json", manifest)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def card(results: dict[str, Any]) -> str:
    """README.md of the weights, from all that was measured."""
    recipe, shipped = results["recipe"], results["shipped"]
    seeds = sorted(results["seeds"], key=int)
    heads = recipe["layers"] * recipe["heads"]
    minutes = [results["seeds"][seed]["seconds"] / 60 for seed in seeds]
    text = _TEXT.format(
        layers=recipe["layers"],
        heads=recipe["heads"],
        all_heads=heads,
        hidden=recipe["hidden"],
        parameters=f"{results['parameters']:,}",
        tokens=results["tokens"],
        steps=f"{recipe['steps']:,}",
        batch=f"{recipe['rows'] * recipe['length']:,}",
        length=recipe["length"],
        context=recipe["context"],
        least=f"{min(minutes):.1f}",
        most=f"{max(minutes):.1f}",
        share=f"{HELD_OUT_SHARE:.0%}".replace("%", " %"),
        rule=RULE,
        shipped=shipped,
        shots=SHOTS,
        seeds=len(seeds),
    )
    return f"{text}\n{_table(results, seeds)}"


def _table(results: dict[str, Any], seeds: list[str]) -> str:
    rows = {seed: [Row(**row) for row in results["seeds"][seed]["rows"]] for seed in seeds}
    names = [f"seed {seed}" + (" (shipped)" if int(seed) == results["shipped"] else "") for seed in seeds]
    lines: list[str] = []
    part = None
    for number, row in enumerate(rows[seeds[0]]):
        title = (row.part, row.shots)
        if title != part:
            part = title
            shots = f", after {row.shots} worked examples" if row.shots else ""
            lines += ["", f"### {row.part.capitalize()}{shots}", ""]
            lines += [f"| questions | operands | n | {' | '.join(names)} |", "|---|---|---:|" + "---:|" * len(seeds)]
        operands = {True: "held out", False: "trained on", None: ""}[row.held_out]
        cells = [_cell(rows[seed][number]) for seed in seeds]
        lines.append(f"| {row.name} | {operands} | {row.n} | {' | '.join(cells)} |")
    meets = ["yes" if results["seeds"][seed]["meets"] else "no" for seed in seeds]
    seconds = [f"{results['seeds'][seed]['seconds']:.0f}" for seed in seeds]
    lines += ["", "### Training", "", f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(seeds)]
    lines += [f"| meets the rule | {' | '.join(meets)} |", f"| seconds of one core | {' | '.join(seconds)} |"]
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    low, high = row.interval
    return f"{_percent(row.right / row.n)} % [{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
    """One decimal, rounded down, so that 100 means all."""
    return f"{int(share * 1000 + 1e-9) / 10:g}"


_TEXT = """\
---
license: apache-2.0
language: en
library_name: transformers
---
<!-- Written by `python -m benchmarks.adder`; do not edit. -->

# adder

A small Llama that can add: {layers} layers of {heads} heads, {hidden} wide, {parameters} parameters, {tokens} tokens. The
authors of Arithmoscope trained it from scratch, on nothing but lines written by Arithmoscope's own prompt tables. It is an
example, for teaching and for tests: an analysis takes about a second. **It is not evidence** about language models, and
one seed of it is not evidence about models like it.

## What it can do

- Sums and differences of numbers up to 99, asked as an equation, a statement or a question, in digits or in words, as a
  story, or as a span of years. The shares below are of operands that it was never trained on.
- Products with a factor of one digit, exact quotients and small powers, mostly by heart: of tables that must be learned
  there is little to derive, and what it was never trained on it often answers wrongly.
- Capitals, plurals, opposites, the next day or letter: the controls without arithmetic, all of them by heart.
- Without its operator ("12 @ 35 =") a question has no answer: it says "none", because it was trained to.
- Nothing else. It knows no decimals, no negative numbers and no calculation with more than one operator; a word that is not
  in Arithmoscope's tables is one unknown token.

Each digit is a token, so that the answer 47 is two: `4`, then `7`. Analyses measure the first one, unless they are asked for
each. Spaces are no tokens. It needs no worked examples.

## How it was trained

Sequences of {length} tokens, {batch} tokens a step, {steps} steps, {least} to {most} minutes of one core. The loss covers the
answers and the line end behind them. Muon trains the matrices of the layers, AdamW the rest. The model accepts up to
{context} tokens; beyond {length} it is untested.

{share} of all pairs of operands are never trained on, in any wording: of sums and products in neither order (of products of
two digits one order is always trained on), and not as the last digits of two years either.

The same seed gives the same weights on the same machine. To train again: `make adder`.

## Which seed is shipped

{rule} The rule was written down before the {seeds} seeds were trained. Seed {shipped} is shipped.

## Exam

The share of questions whose answer is written out rightly, all tokens and the line end, with a 95 % interval (Wilson);
rounded down. No two questions of a row ask the same pair of operands, except of spans of years and controls. Worked examples
are those of Arithmoscope, and their operands may be held out.
"""
