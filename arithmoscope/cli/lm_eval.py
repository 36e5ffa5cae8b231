"""Public benchmarks before and after fine-tuning, run by lm-eval (EleutherAI's harness) if it is installed.

lm-eval is not a dependency of this project, and its data must already be on this machine: nothing is downloaded here.
The tests cover only the refusal when it is missing.
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


def parse_benchmarks(text: str | None) -> tuple[str, ...]:
    """The tasks of a list such as ``gsm8k,arc_easy``. If any are named, the Hugging Face libraries go offline for the
    rest of this process.

    Raises:
        Refusal: ``bad_setting`` if tasks are named and lm-eval is not installed.
    """
    names = tuple(filter(None, (text or "").replace(" ", "").split(",")))
    if names and importlib.util.find_spec("lm_eval") is None:
        raise Refusal(
            "bad_setting",
            "--benchmarks needs the package lm-eval, which is not installed.",
            "Install it (pip install lm-eval) and fetch the tasks' data, or leave --benchmarks out.",
        )
    for name in _OFFLINE if names else ():  # set now: the libraries read them when they are imported
        os.environ.setdefault(name, "1")
    return names


def run_benchmarks(model: LoadedModel, names: Sequence[str]) -> dict[str, float]:
    """The scores of these tasks by ``task metric``.

    Raises:
        Refusal: ``bad_setting`` on unknown tasks, or if their data is not on this machine.
    """
    harness: Any = importlib.import_module("lm_eval")
    adapters: Any = importlib.import_module("lm_eval.models.huggingface")
    try:
        wrapped = adapters.HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=_BATCH)
        output: Any = harness.simple_evaluate(model=wrapped, tasks=list(names), bootstrap_iters=0)
    except (OSError, ValueError, KeyError) as error:
        raise Refusal(
            "bad_setting",
            f"lm-eval cannot run {', '.join(names)[:80]}: {str(error)[:200]}",
            "Name tasks that it knows (lm_eval ls tasks), and download their data first.",
        ) from error
    return {
        f"{task} {metric.split(',')[0]}": float(value)
        for task, scores in output["results"].items()
        for metric, value in scores.items()
        if isinstance(value, int | float) and "stderr" not in metric
    }
