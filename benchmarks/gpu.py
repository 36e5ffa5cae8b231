"""A model of LLaMA-2-7B's shape on a GPU: random weights in bfloat16, 64 pairs, three effects.

Expected before measuring (1 056 components; an MLP of one layer 2.7e8 operations a position, a layer 4.0e8; 24 tokens a
prompt). Two passes over 64 pairs: 4.0e13. `through_mlps`: 17 424 evaluations of an MLP a pair, 3.0e14, 7.5 times two
passes at equal rates; `total` at END: 16 368 of a layer and 1 056 of an MLP, 4.4e14, 11 times. The engine keeps the
residual stream in float32 over the bfloat16 weights, so element-wise work weighs more than on a CPU. Memory: the
perturbations of all components of one pair are 17 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from arithmoscope.contracts.errors import Refusal
from benchmarks.cases import Case, timed
from benchmarks.competitors import last_line
from benchmarks.loops import Prompts
from benchmarks.models import random_llama, subtractions
from benchmarks.peak import peak_memory

PAIRS = 64
_EXAMPLES = 2
_CASES = (Case("direct"), Case("through_mlps"), Case("total"))


def measure_gpu(log: Callable[[str], None], repeats: int = 3) -> dict[str, Any] | None:
    """The 7B shape on the first GPU; None without one."""
    if not torch.cuda.is_available():
        log("no GPU available")
        return None
    device = {"device": torch.cuda.get_device_name()}
    try:
        return device | measure_shape(device="cuda", dtype=torch.bfloat16, pairs=PAIRS, repeats=repeats, log=log)
    except (torch.OutOfMemoryError, Refusal) as error:  # 14 GB of weights alone
        log(f"{device['device']}: {last_line(str(error))}")
        return device | {"problem": last_line(str(error))}


def measure_shape(
    *, device: str, dtype: torch.dtype, pairs: int, repeats: int, log: Callable[[str], None], **config: Any
) -> dict[str, Any]:
    """Time and peak memory of the three effects on a random model; ``config``: differences from LLaMA-2-7B."""
    model = random_llama(device=device, dtype=dtype, **config)
    prompt_pairs = subtractions(pairs, _EXAMPLES, shared=True)
    prompts = Prompts(model, prompt_pairs)

    @torch.no_grad()
    def passes() -> None:
        hf: Any = model.hf
        for ids in (prompts.reference, prompts.source):
            hf(input_ids=ids, use_cache=False, logits_to_keep=1)

    both = timed(passes, repeats).seconds
    rows = []
    for case in _CASES:
        with peak_memory(model.device) as peak:
            ours = timed(partial(case.run, model, prompt_pairs), repeats)
        rows.append(
            {
                "case": str(case),
                "seconds": round(ours.seconds, 3),
                "of_two_passes": round(ours.seconds / both, 2),
                "peak_bytes": peak.bytes,
                "noise": float(f"{float(ours.value.noise.max()):.1e}"),
            }
        )
        log(f"{case}: {ours.seconds:.2f} s")
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "layers": model.layout.layers,
        "heads": model.layout.heads,
        "hidden": model.layout.hidden,
        "parameters": model.card.parameters,
        "model_bytes": sum(weight.numel() * weight.element_size() for weight in model.hf.parameters()),
        "pairs": prompts.pairs,
        "tokens": prompts.tokens,
        "two_passes_s": round(both, 3),
        "effects": rows,
    }
