"""`make bench`: measures everything in one run and writes RESULTS.md, results.json and the README's figures.

`python -m benchmarks --quick` is a smoke test of all parts that takes a minute; `--only main growth` measures some
parts. Such a run is printed and, with `--out`, written elsewhere. Only a whole run is written where the figures are
kept; a part in `STANDALONE` measured by itself joins them with its own machine and day.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from arithmoscope import LoadedModel, load_model
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.folders import DEMO_ID, default_models_dir
from arithmoscope.prompts import generate
from benchmarks.cases import COMPETITOR_CASES
from benchmarks.competitors import COMPETITORS, ROOT, compare
from benchmarks.environment import FOLDER, install_competitors, python_of
from benchmarks.gpu import measure_gpu
from benchmarks.growth import measure_growth, rows_of
from benchmarks.knockout import measure_knockout
from benchmarks.loops import Prompts
from benchmarks.path_patching import measure
from benchmarks.report import page_of, readme_with
from benchmarks.tuning import measure_tuning

HERE = Path(__file__).parent
README = ROOT / "README.md"
PARTS = ("main", "competitors", "growth", "gpu", "knockout", "tuning")
# Parts that need no figure of the others (`--only knockout` measures nothing else and joins the kept figures), and
# their sizes in a quick run.
STANDALONE: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "knockout": (measure_knockout, {"pairs": 8, "k": 4, "draws": 2, "sample": 2}),
    "tuning": (measure_tuning, {"heads": 4, "steps": 2, "batch_size": 4}),
}


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """All requested figures."""
    start = time.perf_counter()

    def log(line: str) -> None:
        print(f"[{time.perf_counter() - start:6.0f} s] {line}", flush=True)

    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_model(options.model, device="cpu")
    results: dict[str, Any] = {
        **_machine(),
        "model": model.card.name,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    if set(options.only) <= set(STANDALONE):
        return results | {part: _measure_standalone(part, model, options, log) for part in options.only}
    pairs = generate(operands=(0, 9), pairs=options.pairs, tokenizer=model.text)
    figures, effects = measure(model, pairs, sample=options.sample, repeats=options.repeats, log=log)
    results |= figures
    if "competitors" in options.only:
        seconds = {row["case"]: row["seconds"] for row in results["effects"]}
        problem = install_competitors()
        if problem:
            log(f"the other tools cannot be installed: {problem}")
            results["competitors"] = [{"name": tool.name, "problem": problem} for tool in COMPETITORS.values()]
        else:
            folder = Catalogue(default_models_dir()).locate(options.model).path
            log(f"{len(COMPETITORS)} other tools, {len(COMPETITOR_CASES)} effects each")
            results["competitors"] = compare(
                model,
                folder,
                Prompts(model, pairs),
                effects,
                seconds,
                python=python_of(FOLDER),
                sample=options.others_sample,
                log=log,
            )
    results |= {part: _measure_standalone(part, model, options, log) for part in STANDALONE if part in options.only}
    del model, effects
    if "growth" in options.only:
        results["growth"] = measure_growth(rows_of(options.model, torch.get_num_threads(), quick=options.quick), log)
    if "gpu" in options.only:
        results["gpu"] = measure_gpu(log)
    return results


def _machine() -> dict[str, str]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "software": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


def _measure_standalone(
    part: str, model: LoadedModel, options: argparse.Namespace, log: Callable[[str], None]
) -> dict[str, Any]:
    """One part in `STANDALONE`, with its machine and day, which may differ from the rest's."""
    measure_part, small = STANDALONE[part]
    return (
        measure_part(model, log, **(small if options.quick else {}))
        | _machine()
        | {"day": datetime.now(UTC).date().isoformat()}
    )


def merge_results(kept: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """The kept figures, with the separately measured parts in `STANDALONE` replaced."""
    return kept | {part: measured[part] for part in STANDALONE if part in measured}


def write(results: dict[str, Any], folder: Path, readme: Path | None) -> None:
    """Writes results.json and RESULTS.md, and the README's figures, once all of them have been produced."""
    texts = {folder / "results.json": json.dumps(results, indent=1) + "\n", folder / "RESULTS.md": page_of(results)}
    if readme is not None:
        texts[readme] = readme_with(results, readme.read_text(encoding="utf-8"))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="parts besides the main figures; knockout and tuning can be measured alone and join the kept figures",
    )
    parser.add_argument("--quick", action="store_true", help="smoke test: few passes and rows")
    parser.add_argument("--model", default=DEMO_ID)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--sample", type=int, default=30, help="timed passes of the plain loop")
    parser.add_argument("--others-sample", type=int, default=12, help="timed passes of the other tools")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="torch threads (default: torch's own choice)")
    parser.add_argument("--out", type=Path, default=None, help="folder to write to, besides printing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.sample, options.others_sample, options.repeats = 2, 2, 2, 1
    return options


def is_whole(options: argparse.Namespace) -> bool:
    """True if nothing was left out or shortened: the kept figures are taken from such a run."""
    defaults = vars(parse([]))
    return all(value == defaults[name] for name, value in vars(options).items() if name not in ("threads", "out"))


def is_standalone(options: argparse.Namespace) -> bool:
    """True if only parts in `STANDALONE` were measured, and not shortened: such a run joins the kept figures."""
    whole = argparse.Namespace(**{**vars(options), "only": PARTS})
    return set(options.only) <= set(STANDALONE) and is_whole(whole)


def main() -> None:
    options = parse()
    results = measure_all(options)
    if set(options.only) <= set(STANDALONE):
        results = merge_results(json.loads((HERE / "results.json").read_text(encoding="utf-8")), results)
    print(page_of(results))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write(results, options.out, None)
    elif is_whole(options) or is_standalone(options):
        write(results, HERE, README)
    else:
        print("A partial run: nothing was written. Use --out FOLDER to keep it.")


if __name__ == "__main__":
    main()
