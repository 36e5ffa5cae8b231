"""The real pretrained model through a whole short fine-tuning with every part of its evaluation."""

from __future__ import annotations

import pytest

from arithmoscope import Deltas, load_model
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.engine.experiments.fine_tune import run_fine_tune
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.engine.tuning import evaluate as evaluating
from arithmoscope.engine.tuning.evaluation_sets import EVALUATION_SETS

pytestmark = pytest.mark.slow

SUMS = {"source": "template", "operations": ["add", "subtract"], "operands": [10, 99], "pairs": 70, "shots": 2}


def test_a_few_steps_on_the_demo_model_improve_what_was_trained_and_all_else_is_judged(monkeypatch: pytest.MonkeyPatch):
    plain, whole = evaluating.compare_on_text, evaluating.evaluate
    monkeypatch.setattr(evaluating, "PASSAGES", evaluating.PASSAGES[:6])
    monkeypatch.setattr(evaluating, "compare_on_text", lambda a, b, **more: plain(a, b, evaluating.PASSAGES, **more))
    monkeypatch.setattr(
        "arithmoscope.engine.experiments.fine_tune.evaluate", lambda *args, **more: whole(*args, questions=3, **more)
    )
    model = load_model(DEMO_ID)
    spec = FineTuneSpec.model_validate(
        {
            "kind": "fine_tune",
            "model": DEMO_ID,
            "components": ["L14H2", "L20H5", "MLP22", "MLP24"],
            "prompts": SUMS,
            "steps": 6,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "validate_every": 6,
        }
    )
    output = run_fine_tune(
        model,
        spec,
        "demo0123",
        saved_chunks={},
        save_chunk=lambda *_: None,
        on_progress=lambda _: None,
        on_partial=lambda _: None,
        should_stop=lambda: False,
    )
    assert output is not None
    result = output.result
    assert result.complete
    assert result.evaluation is not None
    evaluation = result.evaluation
    before, after = result.curve.validation
    assert after.loss < before.loss
    assert evaluation.held_out.log_probability_after > evaluation.held_out.log_probability_before
    by_name = {each.name: each for each in evaluation.sets if each.group != "held_out"}
    assert list(by_name) == [quiz.name for quiz in EVALUATION_SETS], "this model can answer all of them"
    assert by_name["one-digit addition"].before.mean >= 0.25
    assert by_name["facts"].before.mean >= 0.25
    assert 10 < evaluation.neutral.before.mean < 200
    assert 0.9 < evaluation.neutral.ratio.mean < 1.2
    assert evaluation.neutral.divergence.mean > 0
    assert evaluation.repatched is not None
    assert evaluation.repatched.n_pairs == min(32, result.split.test)
    assert result.tunable.lowest == 14
    tuned = Deltas.from_bytes(output.artifacts["deltas.safetensors"]).apply(model)
    assert output.card is not None
    assert tuned.card.revision == output.card.revision
