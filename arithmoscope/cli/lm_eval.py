"""Public benchmarks before and after, through lm-eval (EleutherAI's harness), where it is installed.

It is no dependency of this project, and its own data must be on this machine already: nothing is fetched here. Without
it only the refusal is tested.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from arithmoscope.contracts.errors import Refusal

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_BATCH = 16


def benchmarks_named(told: str | None) -> tuple[str, ...]:
    """The tasks of a list such as ``gsm8k,arc_easy``; where any are named, nothing is fetched in this process any more.

    Refuses (``bad_setting``) any where lm-eval is not installed.
    """
    names = tuple(filter(None, (told or "").replace(" ", "").split(",")))
    if names and importlib.util.find_spec("lm_eval") is None:
        raise Refusal(
            "bad_setting",
            "--benchmarks needs the package lm-eval, which is not installed.",
            "Install it (pip install lm-eval) and fetch the tasks' data, or leave --benchmarks out.",
        )
    for name in _OFFLINE if names else ():  # read when what loads models is imported, so not later
        os.environ.setdefault(name, "1")
    return names


def benchmark(model: LoadedModel, names: Sequence[str]) -> dict[str, float]:
    """Every number that the harness gives of these tasks, by ``task metric``.

    Refuses (``bad_setting``) tasks that it does not have, or whose data is not at hand.
    """
    harness: Any = importlib.import_module("lm_eval")
    adapters: Any = importlib.import_module("lm_eval.models.huggingface")
    try:
        wrapped = adapters.HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=_BATCH)
        said: Any = harness.simple_evaluate(model=wrapped, tasks=list(names), bootstrap_iters=0)
    except (OSError, ValueError, KeyError) as error:
        raise Refusal(
            "bad_setting",
            f"lm-eval cannot run {', '.join(names)[:80]}: {str(error)[:200]}",
            "Name tasks that it has (lm_eval ls tasks), and fetch their data first.",
        ) from error
    return {
        f"{task} {metric.split(',')[0]}": float(value)
        for task, numbers in said["results"].items()
        for metric, value in numbers.items()
        if isinstance(value, int | float) and "stderr" not in metric
    }
