"""A whole path patching experiment without a server: its result, its checkpoints, stopping and resuming."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load
from tiny import tiny_model

from arithmoscope import path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.engine.experiments.path_patching import run_path_patching
from arithmoscope.engine.experiments.views import view_file
from arithmoscope.engine.measures.effects import FORMAT
from arithmoscope.prompts import prepare

MANY = [{"reference": f"{a} + {b} ="} for a in range(1, 9) for b in range(1, 10 - a)]


def spec_of(prompts, **more):
    return PathPatchingSpec.model_validate({"kind": "path_patching", "model": "tiny", "prompts": prompts, **more})


def custom(pairs=MANY, **more):
    return spec_of({"source": "custom", "shots": 0, "pairs": pairs, **more})


@pytest.fixture(scope="module")
def model():
    return tiny_model("LlamaForCausalLM", torch.float32)


class ObservedRun:
    """Callbacks of a run, recorded; the run is stopped after ``stop_after`` layers."""

    def __init__(self, stop_after=None):
        self.chunks, self.progress, self.partials, self.left = {}, [], [], stop_after

    def run(self, model, spec, saved=()):
        return run_path_patching(
            model,
            spec,
            "x1",
            saved_chunks=dict(saved),
            save_chunk=self.chunks.__setitem__,
            on_progress=self.progress.append,
            on_partial=self.partials.append,
            should_stop=self.should_stop,
        )

    def should_stop(self):
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


def test_the_result_holds_the_same_numbers_as_the_function(model):
    output = ObservedRun().run(model, custom())
    assert output is not None
    encoded = prepare(custom().prompts, model.text).pairs
    effects = path_patching(model, [e.pair for e in encoded])
    arrays = np.load(io.BytesIO(output.artifacts["arrays.npz"]), allow_pickle=False)
    np.testing.assert_allclose(arrays["heads"], effects.heads.numpy(), atol=1e-4)
    means = output.result.metrics["logit"].heads.mean
    np.testing.assert_allclose(np.array(means), effects.heads.mean(0).numpy(), atol=1e-4)
    assert output.result.checks.spot_check_error < 1e-4
    assert output.result.checks.noise_floor < 1e-4


def test_every_kept_pair_is_described_and_has_its_attention(model):
    output = ObservedRun().run(model, custom())
    assert output is not None
    result = PathPatchingResult.model_validate_json(output.artifacts["result.json"])
    assert result == output.result
    assert [pair.index for pair in result.pairs] == list(range(36))
    patterns = load(output.artifacts["attention.safetensors"])
    for pair in result.pairs:
        length = len(pair.reference)
        assert patterns[f"prompt.{pair.index}"].shape == (3, 4, length, length)
    rows = list(csv.DictReader(io.StringIO(output.artifacts["components.relative_logit.csv"].decode())))
    assert len(rows) == 15
    assert {row["experiment_id"] for row in rows} == {"x1"}


def test_running_means_sharpen_to_the_result(model):
    watch = ObservedRun()
    output = watch.run(model, custom())
    assert output is not None
    assert [partial.n_pairs for partial in watch.partials] == [16, 32, 36]
    last = watch.partials[-1].metrics["logit"]
    np.testing.assert_allclose(np.array(last.heads), np.array(output.result.metrics["logit"].heads.mean), atol=1e-6)
    assert [(p.stage, p.done) for p in watch.progress if p.layer is None] == [
        ("pairs", 0), ("pairs", 16), ("pairs", 32), ("pairs", 36), ("saving", 36),
    ]  # fmt: skip
    assert [p.layer for p in watch.progress if p.done == 16 and p.layer] == [1, 2, 3]
    assert all(p.total == 36 for p in watch.progress)


def test_a_stopped_run_keeps_what_is_finished_and_goes_on_to_the_same_bytes(model):
    stopped = ObservedRun(stop_after=6)
    part = stopped.run(model, custom())
    assert part is not None
    assert not part.result.complete
    assert len(part.result.pairs) == 16
    assert list(stopped.chunks) == [0]
    resumed, undisturbed = ObservedRun(), ObservedRun()
    first, second = resumed.run(model, custom(), stopped.chunks), undisturbed.run(model, custom())
    assert first is not None
    assert second is not None
    assert list(resumed.chunks) == [1, 2]
    assert first.artifacts["components.logit.csv"] == second.artifacts["components.logit.csv"]
    assert first.result.metrics == second.result.metrics


def test_chunks_that_were_cut_otherwise_are_computed_again(model):
    three = ObservedRun()
    three.run(model, custom(MANY[:3]))
    again, undisturbed = ObservedRun(), ObservedRun()
    output, expected = again.run(model, custom(), three.chunks), undisturbed.run(model, custom())
    assert list(again.chunks) == [0, 1, 2]
    assert output is not None
    assert expected is not None
    assert output.result.metrics == expected.result.metrics


def test_chunks_of_an_older_version_are_computed_again(model):
    now, again = ObservedRun(), ObservedRun()
    expected = now.run(model, custom())
    older = {
        number: data.replace(FORMAT.encode(), b"arithmoscope.path_patching.1") for number, data in now.chunks.items()
    }
    assert older.keys() == now.chunks.keys()
    output = again.run(model, custom(), older)
    assert again.chunks == now.chunks
    assert output is not None
    assert expected is not None
    assert output.result.metrics == expected.result.metrics


def test_a_run_stopped_before_its_first_chunk_has_no_result(model):
    assert ObservedRun(stop_after=0).run(model, custom()) is None


def test_wrong_answers_are_dropped_or_kept_as_set_and_always_counted(model):
    kept = ObservedRun().run(model, custom(keep_wrong=True))
    assert kept is not None
    correct = [pair.correct for pair in kept.result.pairs]
    assert 0 < sum(correct) < 36, "this random model should be right on some"
    only = ObservedRun().run(model, custom(keep_wrong=False))
    assert only is not None
    assert [pair.index for pair in only.result.pairs] == [i for i, right in enumerate(correct) if right]
    assert only.result.n_correct == kept.result.n_correct == sum(correct)
    assert only.result.n_asked == 36
    assert len(only.result.dropped) == 36 - sum(correct)
    assert all(drop.reason.startswith("The model answers ") for drop in only.result.dropped)


def test_when_no_pair_is_kept_the_run_says_so(model):
    wrong = [{"reference": "3 + 5 =", "answer": "@"}]
    with pytest.raises(Refusal, match="none of the 1 prompts") as refused:
        ObservedRun().run(model, custom(wrong, keep_wrong=False))
    assert refused.value.code == "none_kept"


def test_one_pair_has_no_deviation_and_no_interval(model):
    output = ObservedRun().run(model, custom(MANY[:1]))
    assert output is not None
    table = json.loads(output.artifacts["result.json"])["metrics"]["logit"]["heads"]
    assert table["std"] == table["ci_low"] == table["ci_high"] == [[None] * 4] * 3


def test_probability_is_computed_when_asked_for(model):
    spec = spec_of({"source": "custom", "shots": 0, "pairs": MANY[:3]}, metrics=["probability"], effect="direct")
    output = ObservedRun().run(model, spec)
    assert output is not None
    assert set(output.result.metrics) == {"probability"}
    assert "components.probability.csv" in output.artifacts


def test_another_chat_template_is_another_set_and_its_attention_is_not_passed_off_as_the_first_ones():
    summary = {}
    spec = custom([{"reference": "3 + 5 ="}], chat=True, keep_wrong=True)
    for sign in ("The", "of"):
        chatty = tiny_model("LlamaForCausalLM", torch.float32)
        turn = "{% for m in messages %}" + sign + "\n{{ m.content }}\n{% endfor %}"
        chatty.tokenizer.chat_template = turn  # pyright: ignore[reportAttributeAccessIssue]
        output = ObservedRun().run(chatty, spec)
        assert output is not None
        summary[sign] = chatty, output
    (one, first), (other, second) = summary.values()
    assert first.result.provenance.prompt_set_hash != second.result.provenance.prompt_set_hash

    def patterns(model, output):
        return view_file(model, "attention", "0", output.artifacts.__getitem__)

    assert patterns(one, first) != patterns(other, second)
    with pytest.raises(Refusal, match="chat template") as refused:
        patterns(other, first)
    assert refused.value.code == "attention_not_stored"
