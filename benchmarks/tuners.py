"""Precise fine-tuning compared with its controls: the same data, steps and seeds, one training per process.

`make tuners` measures and writes docs/tuning/<model>.md, its figure and all numbers. It takes hours on a small machine;
an interrupted run continues with the remaining trainings (`--work FOLDER` keeps the finished ones).

Every training is the product's own (`engine.experiments.fine_tune`), so that page and command line give the same.
Components are found by path patching on operands that nothing is evaluated on. Costs are measured separately, each
tuner in its own process, as in `benchmarks.tuning`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from arithmoscope import LoadedModel, load_model, path_patching
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.prompts import PromptPair, TemplatePrompts
from arithmoscope.contracts.tuning_terms import Tuner
from arithmoscope.engine.experiments.fine_tune import run_fine_tune
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.prompts import prepare
from arithmoscope.replication.plain_numbers import plain
from benchmarks.competitors import ROOT, last_line
from benchmarks.tuners_page import figure_of, page_of
from benchmarks.tuning import Run, measure_in_process

FOLDER = ROOT / "docs" / "tuning"
RATE = 5e-4
SEEDS = (0, 1, 2)
# The compared tuners; full fine-tuning at a tenth of the others' rate, which suits it better.
_RATES: dict[Tuner, float] = {"precise": RATE, "random": RATE, "lora": RATE, "full": RATE / 10}
RUNS: tuple[tuple[Tuner, float, int], ...] = tuple(
    (tuner, rate, seed) for seed in SEEDS for tuner, rate in _RATES.items()
)
HEADS = 32
PROMPTS: dict[str, Any] = {
    "source": "template",
    "operations": ["add", "subtract"],
    "operands": [10, 99],
    "pairs": 3_000,
    "shots": 1,
}
TRAINING: dict[str, Any] = {"steps": 80, "batch_size": 32, "validate_every": 20}
# Pairs per operation that the components are found on.
FOUND_ON = 32
_COST_STEPS = 6
_QUICK: dict[str, Any] = {"steps": 2, "batch_size": 4, "validate_every": 1}


def key_heads(model: LoadedModel, heads: int, pairs: int) -> tuple[str, ...]:
    """The heads whose removal hurts most by logit difference at the answer's first token, over one half of the
    operands: the half that contains no test question.
    """
    prompt_pairs: list[PromptPair] = []
    for operation in PROMPTS["operations"]:
        fields = {**PROMPTS, "operations": [operation], "pairs": pairs, "half": "first", "answer": "first"}
        prompt_pairs += [
            replace(each.pair, answer=each.answer_text.strip())
            for each in prepare(TemplatePrompts.model_validate(fields), model.text).pairs
        ]
    ranking = path_patching(model, prompt_pairs).ranking("logit_difference")
    return tuple(row.component for row in ranking if row.kind == "head")[:heads]


def spec_of(model_id: str, tuner: Tuner, rate: float, seed: int, components: tuple[str, ...], quick: bool) -> Any:
    prompts = {**PROMPTS, "pairs": 60} if quick else PROMPTS
    fields = {"kind": "fine_tune", "model": model_id, "tuner": tuner, "components": components, "prompts": prompts}
    return FineTuneSpec.model_validate(
        {**fields, **TRAINING, **(_QUICK if quick else {}), "learning_rate": rate, "seed": seed}
    )


def train_one(spec: FineTuneSpec) -> dict[str, Any]:
    """One training and its results."""
    output = run_fine_tune(
        load_model(spec.model, device="cpu"),
        spec,
        f"{spec.tuner}{spec.seed}",
        saved_chunks={},
        save_chunk=lambda _number, _data: None,
        on_progress=lambda _progress: None,
        on_partial=lambda _curve: None,
        should_stop=lambda: False,
    )
    if output is None:
        raise RuntimeError("the training ended without a result")
    result = output.result.model_dump(mode="json")
    evaluation = result["evaluation"] or {}
    return plain(
        {
            "tuner": spec.tuner,
            "rate": spec.learning_rate,
            "seed": spec.seed,
            "ended": result["ended"],
            "problem": result["problem"],
            "tunable": result["tunable"],
            "split": result["split"],
            "notes": result["notes"],
            "validation": result["curve"]["validation"],
            "deltas_bytes": result["deltas_bytes"],
            "held_out": evaluation.get("held_out"),
            "sets": evaluation.get("sets"),
            "neutral": evaluation.get("neutral"),
            "seconds": result["provenance"]["seconds"],
        }
    )


def measure(options: argparse.Namespace, log: Callable[[str], None]) -> dict[str, Any]:
    """All measurements; those already in ``options.work`` are taken from there."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    heads, pairs = (4, 4) if options.quick else (HEADS, FOUND_ON)

    def find_components() -> dict[str, Any]:
        model = load_model(options.model, device="cpu")
        facts = {name: getattr(model.card, name) for name in ("id", "name", "revision", "layers")}
        return {"model": facts, "components": list(key_heads(model, heads, pairs))}

    start = _cached(work / "components.json", find_components)
    components = tuple(start["components"])
    log(f"{len(components)} heads: {' '.join(components)}")
    runs = []
    for tuner, rate, seed in RUNS:
        if options.quick and seed != SEEDS[0]:
            continue
        spec = spec_of(options.model, tuner, rate, seed, components, options.quick)
        runs.append(_cached(work / f"{tuner}-{rate:g}-{seed}.json", lambda spec=spec: _train_in_process(spec)))
        held_out = runs[-1]["held_out"]
        outcome = runs[-1]["problem"] or f"{held_out['before']['mean']:.3f} -> {held_out['after']['mean']:.3f}"
        log(f"{tuner} {rate:g}, seed {seed}: {outcome}")
    costs = _cached(work / "costs.json", lambda: _costs(options, components, log))
    return {
        **start,
        "prompts": PROMPTS,
        "training": TRAINING,
        "found_on": pairs,
        "quick": options.quick,
        "runs": runs,
        **costs,
    }


def _costs(options: argparse.Namespace, components: tuple[str, ...], log: Callable[[str], None]) -> dict[str, Any]:
    """Seconds per step and memory of each tuner by itself, on the machine as it is now."""
    steps, batch = (2, 4) if options.quick else (_COST_STEPS, TRAINING["batch_size"])
    rows = []
    tuners: dict[Tuner, None] = dict.fromkeys(tuner for tuner, _, _ in RUNS)
    for tuner in tuners:
        run = Run(tuner, options.model, components, steps, batch, PROMPTS["shots"], torch.get_num_threads())
        rows.append(measure_in_process(run))
        log(f"cost of {tuner}: {rows[-1].get('problem') or rows[-1]['step_s']}")
    return {
        "costs": rows,
        "cost_steps": steps,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "software": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "day": datetime.now(UTC).date().isoformat(),
    }


def _cached(path: Path, make: Callable[[], Any]) -> Any:
    if not path.exists():
        text = json.dumps(make())
        path.with_suffix(".part").write_text(text, encoding="utf-8")
        path.with_suffix(".part").replace(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _train_in_process(spec: FineTuneSpec) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tuners", "--one", spec.model_dump_json()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(last_line(done.stderr[-2_000:]))
    return json.loads(done.stdout.splitlines()[-1])


def write(results: dict[str, Any], folder: Path) -> Path:
    """Writes the page, its figure and the numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    name = results["model"]["id"].rpartition("/")[2]
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.svg").write_text(figure_of(results), encoding="utf-8")
    page = folder / f"{name}.md"
    page.write_text(page_of(results), encoding="utf-8")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuners", description=__doc__)
    parser.add_argument("--model", default=DEMO_ID)
    parser.add_argument(
        "--work", type=Path, default=ROOT / "test-output" / "tuners", help="folder of finished trainings"
    )
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--quick", action="store_true", help="smoke test: two steps of each; give --work and --out")
    parser.add_argument("--one", type=FineTuneSpec.model_validate_json, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(train_one(options.one)))
        return
    start = time.perf_counter()
    results = measure(options, lambda line: print(f"[{time.perf_counter() - start:6.0f} s] {line}", flush=True))
    print(write(results, options.out))


if __name__ == "__main__":
    main()
