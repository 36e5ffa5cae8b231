"""Cost of path patching, against two plain forward passes and against the plain hook loop.

Same prompts, same model in memory, same threads; the numbers compared are checked to be the same.

Expected before measuring (operations of the matrix products, SmolLM2-135M, 32 pairs of 22 tokens, 16 of them shared by
all; a token costs 2.1e8 in a pass). Two passes over 704 tokens each: 3.0e11.

- `direct` runs 16 + 2 * 32 * 6 = 400 tokens instead of 1408, 0.28 of two passes, and reads out 301 * 32 rows for next
  to nothing.
- `through_mlps` adds 4 650 * 32 evaluations of one MLP (5.3e6): 7.9e11, 2.9 times two passes at the same rate.
- `total` at END adds 4 350 * 32 evaluations of one layer (7.1e6) and some MLPs, at one position: 1.0e12, 3.7 times two
  passes. A single query attends to 22 keys that each pair has for itself: small products, so rather more in time.
- `total` at all positions follows the 5 tokens from the operator on, 5.2e12: 17 times two passes; with `zero` all 22,
  2.3e13: 76 times.
- The loop runs 300 passes of 704 tokens: 4.5e13, 150 times two passes. So at equal rates the ratios are 500, 47, 40,
  8.7 and 1.97. The last ratio cannot be larger without approximating: nothing is shared there, and the loop
  recomputes on average only twice the layers that have to be.

Bytes: the wave holds 301 * 32 perturbations of 576 numbers, 22 MB a position, and the two runs' states.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from arithmoscope import LoadedModel, PatchingEffects, PromptPair
from benchmarks.cases import CASES, Case, timed
from benchmarks.loops import PlainLoop, Prompts, loop_row, sample_components

Log = Callable[[str], None]
# Rows of the timed products: as in the engine's wave on a CPU.
_PRODUCT_ROWS = 2_048


def product_rate(model: LoadedModel, repeats: int) -> float:
    """Operations per second of the wave's own matrix products alone."""
    mlp: Any = model.hf.model.layers[0].mlp  # pyright: ignore
    options: Any = {"device": model.device, "dtype": model.dtype}
    x = torch.randn(_PRODUCT_ROWS, model.layout.hidden, **options)
    inner = torch.empty(_PRODUCT_ROWS, mlp.gate_proj.out_features, **options)
    out = torch.empty_like(x)

    def products() -> None:
        torch.mm(x, mlp.gate_proj.weight.T, out=inner)
        torch.mm(x, mlp.up_proj.weight.T, out=inner)
        torch.mm(inner, mlp.down_proj.weight.T, out=out)

    with torch.no_grad():
        seconds = timed(products, 5 * repeats).seconds
    return _mlp_operations(model) * _PRODUCT_ROWS / seconds


def _mlp_operations(model: LoadedModel) -> int:
    """Operations of one evaluation of an MLP of Llama's kind at one position."""
    mlp: Any = model.hf.model.layers[0].mlp  # pyright: ignore
    return 2 * 3 * model.layout.hidden * mlp.gate_proj.out_features


def wave_operations(model: LoadedModel, pairs: int) -> int:
    """Operations of the MLP evaluations that `through_mlps` needs, its control row included."""
    heads = model.layout.heads
    evaluations = sum(1 + (heads + 1) * layer + heads for layer in range(model.layout.layers))
    return _mlp_operations(model) * pairs * evaluations


def measure(
    model: LoadedModel, pairs: list[PromptPair], *, sample: int, repeats: int, log: Log
) -> tuple[dict[str, Any], dict[Case, PatchingEffects]]:
    """The main figures, and the effects that the other tools are compared with."""
    prompts = Prompts(model, pairs)
    loop = PlainLoop(model, prompts)
    components = sample_components(model.layout.layers, model.layout.heads, sample)
    rate = product_rate(model, repeats)
    results: dict[str, Any] = {
        "pairs": prompts.pairs,
        "tokens": prompts.tokens,
        "shared_tokens": prompts.shared,
        "layers": model.layout.layers,
        "heads": model.layout.heads,
        "components": model.layout.layers * (model.layout.heads + 1),
        "repeats": repeats,
        "product_gflops": round(rate / 1e9, 1),
    }
    both = timed(lambda: (loop.forward(prompts.reference), loop.forward(prompts.source)), repeats).seconds
    results["two_passes_s"] = round(both, 3)
    log(f"two plain passes {both:.2f} s")
    rows, effects = [], {}
    seconds: dict[Case, float] = {}
    for case in CASES:
        ours = timed(partial(case.run, model, pairs), repeats)
        effects[case], seconds[case] = ours.value, ours.seconds
        loop_s, checked = loop_row(loop, case, ours.value, components)
        row = {
            "case": str(case),
            "seconds": round(ours.seconds, 3),
            "runs": ours.runs,
            "of_two_passes": round(ours.seconds / both, 2),
            "loop_s": round(loop_s, 1),
            "faster_than_loop": round(loop_s / ours.seconds, 1),
            **checked,
        }
        rows.append(row)
        log(f"{case}: {ours.seconds:.2f} s, {row['faster_than_loop']} times faster than the loop")
    results["effects"] = rows
    wave = seconds[Case("through_mlps")] - seconds[Case("direct")]
    results["wave_share_of_product_rate"] = round(wave_operations(model, prompts.pairs) / wave / rate, 2)
    return results, effects
