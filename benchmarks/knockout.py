"""Cost of a whole knock-out curve, against one forward pass per point and draw.

Expected before measuring (operations of the matrix products, SmolLM2-135M, 100 pairs of 22 tokens, k = 0..32, 20 random
draws next to the chosen heads, mean ablation at END; a layer takes 7.1e6 for one position, the unembedding 5.7e7).

- One forward pass per point and draw: 673 passes of 2 200 tokens with 100 unembeddings each: 673 * (2 200 * 2.1e8 +
  5.7e9) = 3.2e14.
- Ours: a row forks from the row with one head less at that head's layer. 21 draws of 32 heads in layer 15 on average
  are 21 * 32 * 100 * 15 evaluations of a layer, 7.2e12, and 67 300 unembeddings, 3.8e12: 1.1e13, a 29th of it. At 120
  GFLOP/s on two cores 92 s.

So the unembedding, which probability and accuracy need in full, is a third of the cost, and a lower bound for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch
from torch import Tensor

from arithmoscope import Knockout, LoadedModel, knockout, path_patching
from arithmoscope.contracts.components import Component
from arithmoscope.prompts import generate
from benchmarks.cases import timed_once
from benchmarks.loops import Prompts

# Pairs that the components are chosen on: enough for a curve of the usual kind.
_CHOSEN_ON = 16


def measure_knockout(
    model: LoadedModel, log: Callable[[str], None], *, pairs: int = 100, k: int = 32, draws: int = 20, sample: int = 8
) -> dict[str, Any]:
    """Seconds of a whole curve with its random draws, and of the loop: ``sample`` of its passes, drawn at random, are
    timed and their median is scaled to all of them.
    """
    prompt_pairs = generate(("add", "subtract"), operands=(0, 9), pairs=pairs, tokenizer=model.text)
    ranking = path_patching(model, prompt_pairs[:_CHOSEN_ON]).ranking("logit_difference")
    chosen = [row.component for row in ranking if row.kind == "head"][:k]
    seconds, curve = timed_once(lambda: knockout(model, prompt_pairs, chosen, controls=draws))
    log(f"knock-out: {k} heads, {draws} draws, {len(prompt_pairs)} pairs: {seconds:.1f} s")
    loop = _Loop(model, Prompts(model, prompt_pairs))
    points = [(draw, n) for draw in range(draws + 1) for n in range(1, k + 1)]
    times, differences = [], []
    for draw, n in random.Random(0).sample(points, min(sample, len(points))):
        names = curve.components if draw == 0 else curve.controls[draw - 1]
        one, logits = timed_once(lambda names=names, n=n: loop.answers([Component.parse(name) for name in names[:n]]))
        times.append(one)
        differences.append(float((_point(curve, draw, n) - logits).abs().max()))
    passes = 1 + len(points)
    return {
        "pairs": len(prompt_pairs),
        "tokens": loop.prompts.tokens,
        "k": k,
        "draws": draws,
        "seconds": round(seconds, 1),
        "passes": passes,
        "passes_timed": len(times),
        "pass_s": round(median(times), 3),
        "loop_s": round(median(times) * passes, 1),
        "faster_than_loop": round(median(times) * passes / seconds, 1),
        "largest_difference": float(f"{max(differences):.1e}"),
    }


def _point(curve: Knockout, draw: int, n: int) -> Tensor:
    return curve.logits[n, :, 0] if draw == 0 else curve.control_logits[draw - 1, n, :, 0]


class _Loop:
    """One hooked forward pass per set of heads, over all pairs at once, on a model of Llama's layout: last logits only,
    no cache, torch's own attention.
    """

    def __init__(self, model: LoadedModel, prompts: Prompts) -> None:
        self.prompts, self._hf = prompts, model.hf
        self._layers: Any = model.hf.model.layers  # pyright: ignore
        self._width = model.layout.head_dim
        written: list[Tensor] = []
        with ExitStack() as stack:
            for layer in self._layers:
                keep = layer.self_attn.o_proj.register_forward_pre_hook(lambda _m, a: written.append(a[0][:, -1]))
                stack.callback(keep.remove)
            self._logits()
        self._means = [z.mean(0) for z in written]

    @torch.no_grad()
    def _logits(self) -> Tensor:
        hf: Any = self._hf
        logits = hf(input_ids=self.prompts.reference, use_cache=False, logits_to_keep=1).logits[:, -1]
        return logits.gather(1, self.prompts.answers)[:, 0]

    def answers(self, heads: list[Component]) -> Tensor:
        """The answers' logits with these heads mean-ablated at END."""

        def hook(layer: int) -> Callable[[Any, Any], Any]:
            def replace(_module: Any, args: Any) -> Any:
                z = args[0].clone()
                for component in heads:
                    if component.layer == layer and component.head is not None:
                        cut = slice(component.head * self._width, (component.head + 1) * self._width)
                        z[:, -1, cut] = self._means[layer][cut]
                return (z,)

            return replace

        with ExitStack() as stack:
            for layer in {component.layer for component in heads}:
                out = self._layers[layer].self_attn.o_proj
                stack.callback(out.register_forward_pre_hook(hook(layer)).remove)
            return self._logits().cpu()


def knockout_section(results: dict[str, Any]) -> str:
    """The section of RESULTS.md."""
    title = "## A whole knock-out curve\n\n"
    row = results.get("knockout")
    if not row:
        return title + "Not measured in this run."
    what = f"{row['k']} heads knocked out by mean ablation at END, and {row['draws']} random draws"
    where = f"{row['pairs']} pairs of {row['tokens']} tokens"
    measured = f"\n\nMeasured on {row['day']}: {row['machine']}; {row['software']}." if "day" in row else ""
    return f"""{title}k = 0 to {what}, on {where}.
Accuracy, probability and logits of every point: {row["seconds"]} s.

One hooked forward pass over all pairs takes {row["pass_s"]} s (median of {row["passes_timed"]} timed passes). Scaled to
{row["passes"]} passes, one per point and draw, that is {row["loop_s"]} s: {row["faster_than_loop"]} times as long. The
logits differ by {row["largest_difference"]:.0e} at most.{measured}"""
