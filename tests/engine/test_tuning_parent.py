"""A fine-tuning of an analysis's components reports the test questions that the analysis had used."""

from __future__ import annotations

from typing import Any

import torch
from tiny import tiny_model

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.engine.experiments.fine_tune import run_fine_tune
from arithmoscope.engine.experiments.path_patching import run_path_patching

SUMS: dict[str, Any] = {"source": "template", "operands": [1, 9], "pairs": 81, "shots": 0, "answer": "each"}


def test_its_result_says_how_many_test_questions_the_analysis_had_asked():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    hooks: dict[str, Any] = {"save_chunk": lambda *_: None, "on_progress": lambda _: None, "on_partial": lambda _: None}
    analysed = TemplatePrompts.model_validate({**SUMS, "keep_wrong": True})
    request = PathPatchingSpec(kind="path_patching", model="tiny", effect="direct", prompts=analysed)
    result = run_path_patching(model, request, "p", saved_chunks={}, should_stop=lambda: False, **hooks)
    assert result is not None

    def missing(_name: str) -> bytes:
        raise Refusal("no_result", "It was deleted.")

    def notes(parent: Any) -> list[str]:
        steps: list[int] = []
        hooks["on_partial"] = lambda curve: steps.append(len(curve.losses))
        spec = {"kind": "fine_tune", "model": "tiny", "components": ["L1H2"], "prompts": SUMS, "batch_size": 2}
        output = run_fine_tune(
            model,
            FineTuneSpec.model_validate(spec),
            "abcdefgh",
            parent=parent,
            saved_chunks={},
            should_stop=lambda: steps[-1:] == [1],
            **hooks,
        )
        assert output is not None
        tested = output.result.split.test
        assert tested > 0
        return [note.replace(str(tested), "all") for note in output.result.notes if "analysis" in note]

    (message,) = notes(result.artifacts.__getitem__)
    assert message.startswith("Of the all test questions all ask about operands that the analysis asked about")
    assert notes(None) == notes(missing) == notes(lambda _name: b"{}") == []
