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
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """Writes the file that gives the catalogue the model's name, revision and defaults."""
    weights = folder / WEIGHTS
    weights.chmod(0o644)
    data = weights.read_bytes()
    manifest = {
        "name": "adder (tiny, trained to add)",
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
        minutes=_range(minutes),
        share=f"{HELD_OUT_SHARE:.0%}".replace("%", " %"),
        rule=RULE,
        shipped=shipped,
        shots=SHOTS,
        seeds=", ".join(seeds),
        summary=_summary([Row(**row) for row in results["seeds"][str(shipped)]["rows"]]),
    )
    return f"{text}\n{_table(results, seeds)}"


_SUMMARY = (
    ("plain wordings", "plain wordings"),
    ("varied wordings", "rarer wordings"),
    ("stories", "stories and spans of years"),
    ("numbers in words", "numbers in words"),
)


def _summary(rows: list[Row]) -> str:
    lines: list[str] = []
    for part, name in _SUMMARY:
        pooled = [
            row
            for row in rows
            if (row.part, row.shots, row.held_out) == (part, 0, True)
            and {"add", "subtract"} & set(row.name.replace(",", "").split())
        ]
        both = Row(part, name, True, 0, sum(row.n for row in pooled), sum(row.right for row in pooled))
        lines.append(f"| {name} | {_cell(both)}, n = {both.n:,} |")
    return "\n".join(lines)


def _table(results: dict[str, Any], seeds: list[str]) -> str:
    rows = {seed: [Row(**row) for row in results["seeds"][seed]["rows"]] for seed in seeds}
    names = [f"seed {seed}" + (" (shipped)" if int(seed) == results["shipped"] else "") for seed in seeds]
    lines: list[str] = []
    part = None
    parts = list(dict.fromkeys(row.part for row in rows[seeds[0]]))
    in_order = sorted(enumerate(rows[seeds[0]]), key=lambda each: (parts.index(each[1].part), each[1].shots))
    for number, row in in_order:
        if (row.part, row.shots) != part:
            part = row.part, row.shots
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


def _range(values: list[float]) -> str:
    """The least and the most of some numbers, one of them if they are the same."""
    texts = (f"{each:.1f}" for each in (min(values), max(values)))
    return " to ".join(dict.fromkeys(texts))


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

A small Llama that can add: {layers} layers of {heads} heads, {hidden} wide, {parameters} parameters, {tokens} tokens.
The authors of Arithmoscope trained it from scratch, on nothing but lines written by Arithmoscope's own prompt tables.
It is an example, for teaching and for tests: an analysis takes about a second. **It is not evidence** about language
models, and one seed of it is not evidence about models like it.

## What it can do

Shares of right answers, sums and differences together, of operands that it was never trained on:

| asked | share |
|---|---:|
{summary}

- It really adds and subtracts numbers up to 99 in the plain wordings: an equation, a statement or a question in digits.
  Rarer wordings, stories and spans of years share the operands, and it answers most of them; with numbers written in
  words it is weak.
- Products with a factor of one digit, exact quotients and small powers it knows by heart: of tables that must be
  learned there is little to derive, and what it was never trained on it often answers wrongly.
- Capitals, plurals, opposites, the next day or letter, the controls without arithmetic, it knows by heart.
- Without its operator ("12 @ 35 =") a question has no answer: it says "none", because it was trained to.
- Nothing else. It knows no decimals, no negative numbers and no calculation with more than one operator; a word that
  is not in Arithmoscope's tables is one unknown token.

Each digit is a token, so that the answer 47 is two: `4`, then `7`. Analyses measure the first one, unless they are
asked for each. Spaces are no tokens. It needs no worked examples.

## How it was trained

Sequences of {length} tokens, {batch} tokens a step, {steps} steps, {minutes} minutes of one core. The loss
covers the answers and the line end behind them. Muon trains the matrices of the layers, AdamW the rest. The model
accepts up to {context} tokens; beyond {length} it is untested.

{share} of all pairs of operands are never trained on, in any wording: of sums and products in neither order (of the
table up to 9 x 9 one order is always trained on), and not as the last digits of two years either.

The same seed gives the same weights on the same machine. To train again: `make adder`.

## Which seed is shipped

{rule} The rule was written down before any of the seeds was trained ({seeds}). Seed {shipped} is shipped.

## Exam

The share of questions whose answer is written out rightly, all tokens and the line end, with a 95 % interval
(Wilson); rounded down. No two questions of a row ask the same pair of operands, except of spans of years and
controls. Worked examples are those of Arithmoscope, and their operands may be held out.
"""
