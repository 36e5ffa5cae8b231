"""`make bench`: measures everything in one run and writes RESULTS.md, results.json and the README's figures.

`python -m benchmarks --quick` looks whether all parts run, in a minute; `--only main growth` measures some parts. Such
a run is printed and, with `--out`, written elsewhere; only a whole run is written where the figures are kept, and a
part of `ALONE` measured by itself, which joins them with its own machine and day.
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
from benchmarks.cases import CASES_OF_OTHERS
from benchmarks.competitors import COMPETITORS, ROOT, compare
from benchmarks.environment import FOLDER, python_of, ready
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
# Parts that need no figure of the others (`--only knockout` measures nothing else, and joins what is kept), and how
# small they are in a quick run.
ALONE: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "knockout": (measure_knockout, {"pairs": 8, "k": 4, "draws": 2, "sample": 2}),
    "tuning": (measure_tuning, {"heads": 4, "steps": 2, "batch_size": 4}),
}


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """All figures that were asked for."""
    began = time.perf_counter()

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - began:6.0f} s] {line}", flush=True)

    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_model(options.model, device="cpu")
    found: dict[str, Any] = {
        **_where(),
        "model": model.card.name,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    if set(options.only) <= set(ALONE):
        return found | {part: _alone(part, model, options, say) for part in options.only}
    pairs = generate(operands=(0, 9), pairs=options.pairs, tokenizer=model.text)
    figures, effects = measure(model, pairs, sample=options.sample, repeats=options.repeats, say=say)
    found |= figures
    if "competitors" in options.only:
        seconds = {row["case"]: row["seconds"] for row in found["effects"]}
        problem = ready()
        if problem:
            say(f"the other tools cannot be installed: {problem}")
            found["competitors"] = [{"name": tool.name, "problem": problem} for tool in COMPETITORS.values()]
        else:
            folder = Catalogue(default_models_dir()).locate(options.model).path
            say(f"{len(COMPETITORS)} other tools, {len(CASES_OF_OTHERS)} effects each")
            found["competitors"] = compare(
                model,
                folder,
                Prompts(model, pairs),
                effects,
                seconds,
                python=python_of(FOLDER),
                sample=options.others_sample,
                say=say,
            )
    found |= {part: _alone(part, model, options, say) for part in ALONE if part in options.only}
    del model, effects
    if "growth" in options.only:
        found["growth"] = measure_growth(rows_of(options.model, torch.get_num_threads(), quick=options.quick), say)
    if "gpu" in options.only:
        found["gpu"] = measure_gpu(say)
    return found


def _where() -> dict[str, str]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "software": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


def _alone(part: str, model: LoadedModel, options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """One part of `ALONE`, with where and when it was measured: it may be another day than the rest."""
    measure_part, small = ALONE[part]
    return (
        measure_part(model, say, **(small if options.quick else {}))
        | _where()
        | {"day": datetime.now(UTC).date().isoformat()}
    )


def joined(kept: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The figures that are kept, with the parts of `ALONE` that were measured by themselves in their places."""
    return kept | {part: found[part] for part in ALONE if part in found}


def write(found: dict[str, Any], folder: Path, readme: Path | None) -> None:
    """results.json and RESULTS.md, and the README's figures: nothing before all of them are made."""
    texts = {folder / "results.json": json.dumps(found, indent=1) + "\n", folder / "RESULTS.md": page_of(found)}
    if readme is not None:
        texts[readme] = readme_with(found, readme.read_text(encoding="utf-8"))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="parts besides the main figures; knockout and tuning may be measured alone, and join the figures kept",
    )
    parser.add_argument("--quick", action="store_true", help="few passes and rows: do all parts run?")
    parser.add_argument("--model", default=DEMO_ID)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--sample", type=int, default=30, help="passes of the plain loop that are timed")
    parser.add_argument("--others-sample", type=int, default=12, help="passes of the other tools that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: its own choice)")
    parser.add_argument("--out", type=Path, default=None, help="a folder to write to, besides printing")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.sample, options.others_sample, options.repeats = 2, 2, 2, 1
    return options


def is_whole(options: argparse.Namespace) -> bool:
    """Whether nothing was left out or shortened: such a run is what the figures are taken from."""
    usual = vars(parse([]))
    return all(value == usual[name] for name, value in vars(options).items() if name not in ("threads", "out"))


def is_alone(options: argparse.Namespace) -> bool:
    """Whether parts were measured that need no others, and nothing was shortened: such a run joins the figures kept."""
    whole = argparse.Namespace(**{**vars(options), "only": PARTS})
    return set(options.only) <= set(ALONE) and is_whole(whole)


def main() -> None:
    options = parse()
    found = measure_all(options)
    alone = set(options.only) <= set(ALONE)
    if alone:
        found = joined(json.loads((HERE / "results.json").read_text(encoding="utf-8")), found)
    print(page_of(found))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write(found, options.out, None)
    elif is_whole(options) or is_alone(options):
        write(found, HERE, README)
    else:
        print("Part of a run: nothing was written. --out FOLDER keeps it.")


if __name__ == "__main__":
    main()
