"""The submitted questions: distinct ones of several chunks, which faults can interrupt, and tiny ones."""

from __future__ import annotations

from typing import Any

from benchmarks.soak.model import MODEL_ID

Question = dict[str, Any]


def long_question(seed: int, pairs: int = 128) -> Question:
    """One to two seconds of work on one core, in chunks of 16 pairs."""
    prompts = {
        "source": "template",
        "operations": ["add", "subtract"],
        "operands": [1, 99],
        "pairs": pairs,
        "shots": 0,
        "keep_wrong": True,
        "seed": seed,
    }
    return {"kind": "path_patching", "model": MODEL_ID, "effect": "total", "prompts": prompts}


def tiny_question(number: int) -> Question:
    """A few hundredths of a second of work; distinct for numbers below 9801. The answer is given explicitly: it must be
    a single token, and need not be correct.
    """
    a, b = divmod(number, 99)
    pair = {"reference": f"{a + 1} + {b + 1} =", "answer": f" {(a + b + 2) % 10}"}
    prompts = {"source": "custom", "shots": 0, "pairs": [pair]}
    return {"kind": "path_patching", "model": MODEL_ID, "effect": "direct", "metrics": ["logit"], "prompts": prompts}
