"""What path patching costs, against two plain forward passes and against the plain hook loop, in one run.

Run by `make bench`, which writes RESULTS.md and results.json beside this file. All on the same prompts, the same
model in memory, the same number of threads; the numbers compared are checked to be the same first.

Expected before measuring (operations of the matrix products, SmolLM2-135M, 32 pairs of 22 tokens, 16 of them shared):
two passes over 704 tokens each: 3.0e11. `direct` runs 16 + 2 * 32 * 6 = 400 tokens instead of 1408: 0.28 of that, and
reads out 301 * 32 rows for next to nothing. `through_mlps` adds 4 650 * 32 evaluations of one MLP: 7.9e11, so 2.9 times
two passes at the same rate. The loop runs 300 passes of 704 tokens: 150 times two passes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import transformers

from contracts.components import Component, all_components
from contracts.prompts import PromptPair
from engine import LoadedModel, load_model, path_patching
from engine.capture import encode_all
from engine.catalogue import DEMO_ID
from prompts import generate

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
# The part of the README that is written here.
OPENING = "<!-- benchmark: written by benchmarks/path_patching.py -->"
CLOSING = "<!-- /benchmark -->"
PAIRS = 32
EFFECTS = ("direct", "through_mlps")


def median_seconds(run: Callable[[], Any], repeats: int) -> float:
    """Median wall-clock seconds of a call, after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class PlainLoop:
    """The fastest honest loop: one forward pass per component over all pairs at once, last logits only, no cache."""

    def __init__(self, model: LoadedModel, pairs: list[PromptPair]) -> None:
        self.hf: Any = model.hf
        encoded = encode_all(model, pairs)
        self.reference = torch.tensor([e.reference_ids for e in encoded])
        self.source = torch.tensor([e.counterfactual_ids for e in encoded])
        self.answers = torch.tensor([e.answer_id for e in encoded])[:, None]
        self.width = model.anatomy.head_dim
        self.base, self.ref_z, self.ref_mlp = self._record(self.reference)
        _, self.src_z, self.src_mlp = self._record(self.source)

    @torch.no_grad()
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits = self.hf(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
        return logits.gather(1, self.answers)[:, 0]

    def _record(self, ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        z: list[torch.Tensor] = []
        mlp: list[torch.Tensor] = []
        with ExitStack() as stack:
            for layer in self.hf.model.layers:
                out = layer.self_attn.o_proj
                stack.callback(out.register_forward_pre_hook(lambda _m, a: z.append(a[0][:, -1].clone())).remove)
                stack.callback(layer.mlp.register_forward_hook(lambda _m, _a, o: mlp.append(o[:, -1].clone())).remove)
            logits = self.forward(ids)
        return logits, z, mlp

    def effect(self, component: Component, effect: str) -> torch.Tensor:
        """The component's effect on every pair, in logits, by one forward pass."""

        def heads(index: int) -> Callable[..., Any]:
            def hook(_module: Any, args: Any) -> Any:
                z = args[0].clone()
                z[:, -1] = self.ref_z[index]
                if index == component.layer and component.head is not None:
                    cut = slice(component.head * self.width, (component.head + 1) * self.width)
                    z[:, -1, cut] = self.src_z[index][:, cut]
                return (z,)

            return hook

        def mlp(index: int) -> Callable[..., Any]:
            def hook(_module: Any, _args: Any, out: torch.Tensor) -> torch.Tensor:
                if index == component.layer and component.head is None:
                    out[:, -1] = self.src_mlp[index]
                elif effect == "direct":
                    out[:, -1] = self.ref_mlp[index]
                return out

            return hook

        with ExitStack() as stack:
            for index, layer in enumerate(self.hf.model.layers):
                stack.callback(layer.self_attn.o_proj.register_forward_pre_hook(heads(index)).remove)
                stack.callback(layer.mlp.register_forward_hook(mlp(index)).remove)
            return self.forward(self.reference) - self.base


def product_rate(model: LoadedModel, repeats: int) -> float:
    """Operations per second of the wave's own matrix products, and nothing else."""
    rows, mlp = 2_048, model.hf.model.layers[0].mlp  # pyright: ignore
    x, inner = torch.randn(rows, model.anatomy.hidden), torch.empty(rows, mlp.gate_proj.out_features)
    out = torch.empty_like(x)

    def products() -> None:
        torch.mm(x, mlp.gate_proj.weight.T, out=inner)
        torch.mm(x, mlp.up_proj.weight.T, out=inner)
        torch.mm(inner, mlp.down_proj.weight.T, out=out)

    with torch.no_grad():
        seconds = median_seconds(products, 5 * repeats)
    return 6 * rows * x.shape[1] * inner.shape[1] / seconds


def measure(sample: int, repeats: int) -> dict[str, Any]:
    """All figures of one run."""
    model = load_model(DEMO_ID, device="cpu")
    pairs = generate(operands=(0, 9), pairs=PAIRS, tokenizer=model.text)
    loop = PlainLoop(model, pairs)
    components = all_components(model.anatomy.layers, model.anatomy.heads)
    chosen = random.Random(0).sample(components, min(sample, len(components)))
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "software": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "pairs": len(pairs),
        "tokens": loop.reference.shape[1],
        "components": len(components),
        "loop_sample": len(chosen),
        "repeats": repeats,
        "product_gflops": round(product_rate(model, repeats) / 1e9, 1),
    }
    both = median_seconds(lambda: (loop.forward(loop.reference), loop.forward(loop.source)), repeats)
    found["two_passes_s"] = round(both, 3)
    for effect in EFFECTS:
        effects = path_patching(model, pairs, effect=effect)
        ours = median_seconds(lambda effect=effect: path_patching(model, pairs, effect=effect), repeats)
        start, error = time.perf_counter(), 0.0
        for component in chosen:
            expected = loop.effect(component, effect)
            table = effects.mlps if component.head is None else effects.heads[..., component.head]
            error = max(error, float((table[:, component.layer] - expected).abs().max()))
        looped = (time.perf_counter() - start) / len(chosen) * len(components)
        found[effect] = {
            "seconds": round(ours, 3),
            "of_two_passes": round(ours / both, 2),
            "loop_s": round(looped, 1),
            "faster_than_loop": round(looped / ours, 1),
            "largest_difference": float(f"{error:.1e}"),
        }
    a, b = found["direct"]["seconds"], found["through_mlps"]["seconds"]
    operations = 2 * 3 * 576 * 1536 * PAIRS * sum(1 + 10 * layer + 9 for layer in range(model.anatomy.layers))
    found["wave_share_of_product_rate"] = round(operations / (b - a) / 1e9 / found["product_gflops"], 2)
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """The table that RESULTS.md and the README show."""
    rows = [
        "| effect | seconds | times two plain passes | plain loop, s | faster than the loop | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for effect in EFFECTS:
        row = found[effect]
        rows.append(
            f"| `{effect}` | {row['seconds']} | {row['of_two_passes']} | {row['loop_s']} | "
            f"{row['faster_than_loop']} x | {row['largest_difference']:.0e} logits |"
        )
    return "\n".join(rows)


def page_of(found: dict[str, Any]) -> str:
    return f"""# Measured

Written by `make bench`; not by hand. One run on one machine, medians of {found["repeats"]} after a warm-up.

SmolLM2-135M (30 layers of 9 heads and an MLP: {found["components"]} components), float32 on CPU,
{found["pairs"]} pairs of {found["tokens"]} tokens with two shots, `null_operator`.
{found["machine"]}; {found["software"]}.

Two plain forward passes (both runs, last logits only, no cache, SDPA): {found["two_passes_s"]} s.

{as_markdown(found)}

The loop runs one hooked forward pass per component over all pairs at once; {found["loop_sample"]} of its
{found["components"]} passes were timed and scaled up, and their numbers compared with ours.
The wave of `through_mlps` ran at {found["wave_share_of_product_rate"]} of the rate of its matrix products alone
({found["product_gflops"]} GFLOP/s).
"""


def readme_with(found: dict[str, Any], readme: str) -> str:
    """The README with its figures replaced by these."""
    before, _, rest = readme.partition(OPENING)
    _, _, after = rest.partition(CLOSING)
    return f"{before}{OPENING}\n{as_markdown(found)}\n{CLOSING}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=30, help="passes of the plain loop that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: its own choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    found = measure(options.sample, options.repeats)
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (HERE / "RESULTS.md").write_text(page_of(found), encoding="utf-8")
    README.write_text(readme_with(found, README.read_text(encoding="utf-8")), encoding="utf-8")
    print(page_of(found))


if __name__ == "__main__":
    main()
