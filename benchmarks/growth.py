"""Growth of cost with pairs, tokens, layers and heads. Each row runs in its own process, so that its
peak memory is its own.

Pairs and tokens on the demo model, layers and heads on random models of Llama's kind (their time does not depend on
their weights). The prompts are subtractions of equal length behind solved examples. Where pairs grow, all share two
examples; where tokens grow, each has its own examples, so that only the equal beginnings of a pair's own two runs
can be shared, which is the costly case.

Expected before measuring. Time is proportional to the pairs. Tokens: the two runs grow with them; the waves of
`through_mlps` and of `total` at END follow one position, and grow only with the keys that it attends to; `total` at all
positions follows the 6 tokens from the operator on, however long the prompt. Layers: components times the layers behind
them, so the waves grow with the square. Heads, at equal width: with the number of components. Memory: states and
perturbations grow with all four until they reach the budget, and then stay under it: chunks get smaller instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from arithmoscope import load_model
from benchmarks.cases import Case, timed_once
from benchmarks.competitors import ROOT, last_line
from benchmarks.loops import Prompts
from benchmarks.models import random_llama, subtractions
from benchmarks.peak import peak_memory, touch

BUDGET = 512 * 2**20
_LIMIT_SECONDS = 3_600
_WAVES = (Case("direct"), Case("through_mlps"), Case("total"))
_RANDOM = {"hidden_size": 512, "intermediate_size": 1408, "vocab_size": 1024, "tie_word_embeddings": True}


@dataclass(frozen=True)
class Row:
    """One row: ``model`` is a name, or the configuration of a random Llama."""

    table: str
    model: str | dict[str, Any]
    pairs: int
    examples: int
    shared: bool
    case: Case
    memory: int
    threads: int

    @classmethod
    def parse(cls, text: str) -> Row:
        fields = json.loads(text)
        return cls(**{**fields, "case": Case(**fields["case"])})


def rows_of(demo: str, threads: int, memory: int = BUDGET, quick: bool = False) -> list[Row]:
    """Every row of the four tables; ``quick``: the first row of each."""
    rows: list[Row] = []

    def add(table: str, model: str | dict[str, Any], pairs: int, examples: int, shared: bool, cases: Any) -> None:
        rows.extend(Row(table, model, pairs, examples, shared, case, memory, threads) for case in cases)

    for pairs in (8, 64, 512)[: 1 if quick else None]:
        add("pairs", demo, pairs, 2, True, _WAVES)
    for examples in (0, 7, 63)[: 1 if quick else None]:
        add("tokens", demo, 8, examples, False, (*_WAVES, Case("total", "all")))
    for layers in (4, 8, 16, 32)[: 1 if quick else None]:
        add("layers", _llama(layers, 8), 32, 2, True, _WAVES)
    for heads in (4, 8, 16, 32)[: 1 if quick else None]:
        add("heads", _llama(8, heads), 32, 2, True, _WAVES)
    return rows


def _llama(layers: int, heads: int) -> dict[str, Any]:
    return {**_RANDOM, "num_hidden_layers": layers, "num_attention_heads": heads}


def measure_row(row: Row) -> dict[str, Any]:
    """Measures one row here. Its peak is meaningful only in a fresh process."""
    torch.set_num_threads(row.threads)
    model = load_model(row.model, device="cpu") if isinstance(row.model, str) else random_llama(**row.model)
    pairs = subtractions(row.pairs, row.examples, shared=row.shared)
    prompts = Prompts(model, pairs)
    touch(model.hf)
    with peak_memory(model.device) as peak:
        seconds, _ = timed_once(partial(row.case.run, model, pairs, row.memory))
    return {
        "table": row.table,
        "case": str(row.case),
        "pairs": prompts.pairs,
        "tokens": prompts.tokens,
        "layers": model.layout.layers,
        "heads": model.layout.heads,
        "seconds": round(seconds, 2),
        "peak_bytes": peak.bytes,
    }


def measure_growth(rows: list[Row], log: Callable[[str], None]) -> dict[str, Any]:
    """All rows, one process after another. A failed row has a ``problem``."""
    results = []
    for number, row in enumerate(rows, start=1):
        answer = _measure_in_process(row)
        if "problem" in answer:
            outcome = answer["problem"]
        else:
            shape = f"{answer['tokens']} tokens, {answer['layers']} layers of {answer['heads']} heads"
            outcome = f"{shape}: {answer['seconds']} s"
        results.append(answer)
        log(f"growth {number} of {len(rows)}: {row.table}, {row.case}: {row.pairs} pairs, {outcome}")
    return {"budget_bytes": rows[0].memory if rows else BUDGET, "rows": results}


def _measure_in_process(row: Row) -> dict[str, Any]:
    """A row measured by a fresh process, or its ``problem``."""
    command = [sys.executable, "-m", "benchmarks.growth", json.dumps(asdict(row))]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        problem = last_line(str(error))
    else:
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        problem = last_line(done.stderr)
    return {"table": row.table, "case": str(row.case), "pairs": row.pairs, "problem": problem}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one row; started by `make bench`.")
    parser.add_argument("row", type=Row.parse)
    print(json.dumps(measure_row(parser.parse_args().row)))


if __name__ == "__main__":
    main()
