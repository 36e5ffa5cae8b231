"""``make adder``: trains the seeds, examines them, and writes the model that the rule chooses into the package.

About ten minutes of one core a seed. A seed that was trained before is not trained again, as long as the recipe is the
same (``--work FOLDER`` keeps them); ``--quick`` is a smoke test of 20 steps whose results mean nothing and are not
shipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM

from benchmarks.adder.card import card, write_manifest, write_model
from benchmarks.adder.exam import Row, examine, plain_row
from benchmarks.adder.rule import SEEDS, meets, shipped_seed
from benchmarks.adder.training import Recipe, train

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "arithmoscope" / "adder"
RESULTS = Path(__file__).with_name("results.json")
_WORK = ROOT / "build" / "adder"
_QUICK_STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adder", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), metavar="N")
    parser.add_argument("--work", type=Path, default=_WORK, metavar="FOLDER", help="keeps the models (build/adder)")
    parser.add_argument("--quick", action="store_true", help="smoke test; the results mean nothing")
    parser.add_argument("--no-ship", action="store_true", help="train and examine only")
    args = parser.parse_args()
    recipe = replace(Recipe(), steps=_QUICK_STEPS) if args.quick else Recipe()
    for seed in args.seeds:
        trained = seed_results(recipe, seed, args.work)
        print(f"seed {seed}: {trained['seconds']:.0f} s, {'meets' if trained['meets'] else 'misses'} the rule")
    if not args.quick and not args.no_ship:
        print(ship(recipe, args.work))


def seed_results(recipe: Recipe, seed: int, work: Path) -> dict[str, Any]:
    """Results of one seed: trained now, or read from the work folder."""
    folder = work / f"seed-{seed}"
    file = folder / "exam.json"
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["recipe"] == asdict(recipe):
            return found
    losses: list[float] = []

    def report(step: int, loss: float, _model: LlamaForCausalLM) -> None:
        losses.append(loss)
        if step % 100 == 0:
            print(f"seed {seed}, step {step} of {recipe.steps}: loss {sum(losses[-100:]) / 100:.3f}", flush=True)

    model, seconds = train(recipe, seed, report)
    rows = examine(model)
    write_model(model, folder)
    results = {
        "recipe": asdict(recipe),
        "seconds": round(seconds),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": model.config.vocab_size,
        "meets": meets(rows),
        "rows": [plain_row(row) for row in rows],
    }
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def ship(recipe: Recipe, work: Path) -> str:
    """Copies the chosen model into the package and writes its card; says which one it is."""
    seeds = {
        seed: seed_results(recipe, seed, work) for seed in SEEDS if (work / f"seed-{seed}" / "exam.json").is_file()
    }
    chosen = shipped_seed({seed: [Row(**row) for row in each["rows"]] for seed, each in seeds.items()})
    if chosen is None:
        return "No seed meets the rule: the shipped model stays as it is."
    results = {
        "recipe": asdict(recipe),
        "shipped": chosen,
        "parameters": seeds[chosen]["parameters"],
        "tokens": seeds[chosen]["tokens"],
        "seeds": {
            str(seed): {name: each[name] for name in ("seconds", "meets", "rows")} for seed, each in seeds.items()
        },
    }
    PACKAGE.mkdir(exist_ok=True)
    for path in (work / f"seed-{chosen}").iterdir():
        if path.name != "exam.json":
            shutil.copyfile(path, PACKAGE / path.name)
    write_manifest(PACKAGE)
    shutil.copyfile(ROOT / "LICENSE", PACKAGE / "LICENSE")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (PACKAGE / "README.md").write_text(card(results), encoding="utf-8")
    return f"Seed {chosen} is shipped: {PACKAGE}"


if __name__ == "__main__":
    main()
