"""Cost of a step of precise fine-tuning, against full fine-tuning of the same model on the same batches.

Expected before measuring. A step of full fine-tuning is a forward pass and twice as much backward: one product for the
gradient of a layer's input, one for that of its weight. Precise fine-tuning needs the second almost nowhere, and the
first only down to the lowest tuned layer: of 3 units 1 + s are left, s being the share of layers from that one on. So
by counting products it is at most 3 / (1 + s) times faster, 1.5 times if the lowest is the first layer. On top, AdamW
reads and writes 16 bytes per tuned parameter, which full fine-tuning pays for every parameter: on a CPU with small
batches that is a good part of its step, and the bound by products may be exceeded.

Memory beyond the weights: full fine-tuning holds a gradient and two moments of every parameter, 12 bytes in float32,
precise fine-tuning those of the selection alone, and activations from the lowest tuned layer on.

Each tuner runs in its own process, so that its peak memory is its own. The tuner's copy of what it tunes counts as
weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from arithmoscope import LoadedModel, fine_tune, load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.tuning_terms import Tuner
from arithmoscope.engine.models.loading import Dtype
from arithmoscope.engine.tuning.selection import parameters_of, select
from arithmoscope.engine.tuning.weight_slices import projection_names
from arithmoscope.prompts import generate
from benchmarks.competitors import ROOT, last_line
from benchmarks.models import random_llama, subtractions
from benchmarks.peak import peak_memory, touch

TUNED: tuple[Tuner, ...] = ("precise", "full_matrices", "full")
_HEADS = 32
# Pairs that the components are chosen on: enough for heads of the usual kind.
_CHOSEN_ON = 16
_LIMIT_SECONDS = 3_600


@dataclass(frozen=True)
class Run:
    """One tuner's training. ``model``: a name, or the configuration of a random Llama, which is then built on
    ``device`` in ``dtype``.
    """

    tuner: Tuner
    model: str | dict[str, Any]
    components: tuple[str, ...]
    steps: int
    batch_size: int
    examples: int
    threads: int
    device: str = "cpu"
    dtype: Dtype = "float32"
    checkpointing: bool = False

    @classmethod
    def parse(cls, text: str) -> Run:
        fields = json.loads(text)
        return cls(**{**fields, "components": tuple(fields["components"])})


def measure_run(run: Run) -> dict[str, Any]:
    """Median seconds of a step, without the first, and the peak. Meaningful only in a fresh process."""
    torch.set_num_threads(run.threads)
    if isinstance(run.model, str):
        model = load_model(run.model, device=run.device, dtype=run.dtype)  # pyright: ignore[reportArgumentType]
    else:
        model = random_llama(device=run.device, dtype=getattr(torch, run.dtype), **run.model)
    pairs = subtractions(run.batch_size * 2, run.examples, shared=True)
    touch(model.hf)
    with peak_memory(model.device) as peak:
        tuned = fine_tune(
            model,
            run.components,
            pairs,
            steps=run.steps,
            learning_rate=1e-5,
            batch_size=run.batch_size,
            tuner=run.tuner,  # pyright: ignore[reportArgumentType]
            checkpointing=run.checkpointing,
        )
    return {
        "tuner": run.tuner,
        "step_s": round(median(step.seconds for step in tuned.history.steps[1:]), 4),
        "parameters": parameters_of(model),
        "weights_bytes": sum(weight.numel() * weight.element_size() for weight in model.hf.parameters()),
        "trained": tuned.trained,
        "optimiser_bytes": 8 * tuned.trained,
        "peak_bytes": None if peak.bytes is None else max(0, peak.bytes - _copied_bytes(model, run)),
    }


def _copied_bytes(model: LoadedModel, run: Run) -> int:
    """Bytes of the parameters that the tuner copies: whole ones, of those it tunes."""
    weights = dict(model.hf.named_parameters())
    if run.tuner == "full":
        names = set(weights)
    elif run.tuner == "full_matrices":
        names = {f"{name}.weight" for name in projection_names(model)}
    elif run.tuner == "lora":
        names = set[str]()
    else:
        names = {each.name for each in select(model, run.components).slices}
    return sum(weights[name].numel() * weights[name].element_size() for name in names)


def measure_tuning(
    model: LoadedModel,
    log: Callable[[str], None],
    *,
    heads: int = _HEADS,
    steps: int = 8,
    batch_size: int = 32,
    examples: int = 2,
) -> dict[str, Any]:
    """Precise against full fine-tuning of a catalogue model, on its own most negative heads; and of LLaMA-2-7B's shape
    if there is a GPU.
    """
    prompt_pairs = generate(("add", "subtract"), operands=(0, 9), pairs=_CHOSEN_ON, tokenizer=model.text)
    ranking = path_patching(model, prompt_pairs).ranking("logit_difference")
    chosen = tuple(row.component for row in ranking if row.kind == "head")[:heads]
    runs = [Run(tuner, model.card.id, chosen, steps, batch_size, examples, torch.get_num_threads()) for tuner in TUNED]
    rows = []
    for run in runs:
        rows.append(measure_in_process(run))
        outcome = rows[-1].get("problem") or f"{rows[-1]['step_s']} s per step"
        log(f"tuning, {run.tuner}: {outcome}")
    results = _comparison(model, chosen, rows)
    results |= {"batch_size": batch_size, "steps": steps, "examples": examples}
    return results | {"large": measure_large(log)}


def _comparison(model: LoadedModel, chosen: tuple[str, ...], rows: list[dict[str, Any]]) -> dict[str, Any]:
    selection = select(model, chosen)
    above = (model.layout.layers - selection.lowest) / model.layout.layers
    results = {
        "heads": len(chosen),
        "tune": "".join(selection.tune),
        "share": round(selection.share, 4),
        "lowest": selection.lowest,
        "layers": model.layout.layers,
        "bound": round(3 / (1 + above), 2),
        "rows": rows,
    }
    by_tuner = {row["tuner"]: row for row in rows if "problem" not in row}
    if {*TUNED} <= {*by_tuner}:
        ours, full = by_tuner["precise"], by_tuner["full"]
        gain = full["step_s"] / ours["step_s"]
        results |= {"gain": round(gain, 2), "gain_of_bound": round(gain / results["bound"], 2)}
        if ours["peak_bytes"] is not None:
            results["peak_of_full"] = round(ours["peak_bytes"] / full["peak_bytes"], 3)
    return results


def measure_large(log: Callable[[str], None], **config: Any) -> dict[str, Any] | None:
    """LLaMA-2-7B's shape with random weights in bfloat16 on a GPU, 32 heads of its upper half; None without one.

    Full fine-tuning of it is not run: with float32 copies, gradients and moments it takes 18 bytes per parameter.
    """
    if not torch.cuda.is_available():
        return None
    components = tuple(f"L{16 + index // 2}H{index % 2}" for index in range(_HEADS))
    run = Run("precise", config, components, 6, 64, 2, torch.get_num_threads(), "cuda", "bfloat16")
    results = {"device": torch.cuda.get_device_name(), "heads": _HEADS, "batch_size": run.batch_size}
    try:
        row = measure_run(run)
    except (torch.OutOfMemoryError, Refusal) as error:
        return results | {"problem": last_line(str(error))}
    log(f"tuning a 7B shape: {row['step_s']} s per step")
    return results | row | {"full_bytes": 18 * row["parameters"]}


def measure_in_process(run: Run) -> dict[str, Any]:
    """A run measured by a fresh process, or its ``problem``."""
    command = [sys.executable, "-m", "benchmarks.tuning", json.dumps(asdict(run))]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        return {"tuner": run.tuner, "problem": last_line(str(error))}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {"tuner": run.tuner, "problem": last_line(done.stderr)}


def tuning_section(results: dict[str, Any]) -> str:
    """The section of RESULTS.md."""
    title = "## A step of precise fine-tuning\n\n"
    tuning = results.get("tuning")
    if not tuning:
        return title + "Not measured in this run."
    rows = []
    for row in tuning["rows"]:
        if "problem" in row:
            rows.append(f"| `{row['tuner']}` | failed: {row['problem']} | | | |")
            continue
        peak = "not measured here" if row["peak_bytes"] is None else _mib(row["peak_bytes"])
        moments = _mib(row["optimiser_bytes"])
        rows.append(f"| `{row['tuner']}` | {row['trained']:,} | {row['step_s']} | {moments} | {peak} |")
    table = "\n".join(rows)
    gain = ""
    if "gain" in tuning:
        gain = f"""

Precise against full: {tuning["gain"]} times faster. The bound from counting products is {tuning["bound"]}, since the
lowest tuned layer is number {tuning["lowest"]} of {tuning["layers"]}, counted from 0; any gain beyond it is the
optimiser's."""
    measured = f"\n\nMeasured on {tuning['day']}: {tuning['machine']}; {tuning['software']}." if "day" in tuning else ""
    what = f"{tuning['heads']} heads ({tuning['tune']}), {tuning['share']:.2%} of the model"
    return f"""{title}{what}; {tuning["batch_size"]} subtractions per step behind {tuning["examples"]} solved examples.
Medians of {tuning["steps"] - 1} steps, each tuner in a process of its own.

| tuner | parameters trained | seconds per step | optimiser moments | peak beyond the weights |
|---|---|---|---|---|
{table}{gain}{_large(tuning)}{measured}"""


def _large(tuning: dict[str, Any]) -> str:
    large = tuning["large"]
    if not large:
        return "\n\nLLaMA-2-7B's shape: no GPU available."
    if "problem" in large:
        return f"\n\nLLaMA-2-7B's shape on {large['device']}: {large['problem']}"
    what = f"{large['heads']} heads, {large['batch_size']} prompts per step"
    return f"""

LLaMA-2-7B's shape in bfloat16 on {large["device"]}, {what}: {large["step_s"]} s per step,
{_mib(large["weights_bytes"])} of weights and {_mib(large["peak_bytes"])} beyond them. Full fine-tuning would take
{_mib(large["full_bytes"])} plus activations."""


def _mib(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one tuner; started by `make bench`.")
    parser.add_argument("run", type=Run.parse)
    print(json.dumps(measure_run(parser.parse_args().run)))


if __name__ == "__main__":
    main()
