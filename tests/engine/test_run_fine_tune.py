"""A whole fine-tuning without a server: its result and files, and the outcome of one that ends early."""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import json
import math
import sys
import zipfile
from itertools import pairwise
from typing import Any

import pytest
import torch
from tiny import tiny_model

from arithmoscope import Deltas, LoadedModel
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneResult, FineTuneSpec
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope.engine.experiments.fine_tune import run_fine_tune
from arithmoscope.engine.tuning import evaluate as evaluating
from arithmoscope.engine.tuning.evaluation_sets import EVALUATION_SETS
from arithmoscope.engine.tuning.output import FineTuneOutput

PROMPTS = {"source": "template", "operations": ["add", "subtract"], "operands": [10, 40], "pairs": 90, "shots": 1}
SMALL = {"steps": 11, "batch_size": 4, "learning_rate": 1e-2, "validate_every": 4}


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_model("LlamaForCausalLM", torch.float32)


@pytest.fixture(autouse=True)
def few_questions(monkeypatch: pytest.MonkeyPatch):
    """Three sets of four questions, and three passages; the full evaluation has tests of its own."""
    monkeypatch.setattr("arithmoscope.engine.tuning.evaluation_sets.EVALUATION_SETS", EVALUATION_SETS[:3])
    whole, plain = evaluating.evaluate, evaluating.compare_on_text
    monkeypatch.setattr(evaluating, "PASSAGES", evaluating.PASSAGES[:3])
    monkeypatch.setattr(evaluating, "compare_on_text", lambda a, b, **more: plain(a, b, evaluating.PASSAGES, **more))
    monkeypatch.setattr(
        "arithmoscope.engine.experiments.fine_tune.evaluate", lambda *spec, **more: whole(*spec, questions=4, **more)
    )


def spec_of(**more: Any) -> FineTuneSpec:
    spec = {"kind": "fine_tune", "model": "tiny", "components": ["L1H2", "L2H3"], "prompts": PROMPTS, **SMALL}
    return FineTuneSpec.model_validate({**spec, **more})


def run(model: LoadedModel, spec: FineTuneSpec, **more: Any) -> FineTuneOutput | None:
    quiet = {"saved_chunks": {}, "save_chunk": lambda *_: None, "on_progress": lambda _: None}
    hooks = {**quiet, "on_partial": lambda _: None, "should_stop": lambda: False, **more}
    return run_fine_tune(model, spec, "abcdefgh1234", **hooks)


def rows_of(output: FineTuneOutput, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output.artifacts[name].decode())))


def test_a_whole_run_says_what_was_trained_what_it_changed_and_keeps_all_of_it(model: LoadedModel):
    seen: list[Any] = []
    curves: list[TrainingCurve] = []
    output = run(model, spec_of(), on_progress=seen.append, on_partial=curves.append)
    assert output is not None
    result = FineTuneResult.model_validate_json(output.artifacts["result.json"])
    assert result == output.result
    assert (result.complete, result.ended, result.kept, result.problem) == (True, "finished", 11, None)
    assert result.tunable.components == ("L1H2", "L2H3")
    assert (result.tunable.tune, result.tunable.touched, result.tunable.lowest) == (("q", "o"), (), 1)
    assert result.tunable.share == result.tunable.trained / result.tunable.parameters
    assert result.tunable.optimiser_bytes == 8 * result.tunable.trained
    assert (result.split.shared, sum((result.split.train, result.split.validation, result.split.test))) == (0, 90)
    assert result.curve.steps == tuple(range(1, 12))
    assert [each.step for each in result.curve.validation] == [0, 4, 8, 11]
    assert curves[-1] == result.curve
    assert [len(curve.steps) for curve in curves] == [*range(12), 11]
    stages = list(dict.fromkeys(each.stage for each in seen))
    assert stages == ["before", "steps", "after", "saving"]
    steps = [(each.done, each.total) for each in seen if each.stage == "steps"]
    assert steps == [(number, 11) for number in range(12)]
    after = [(each.done, each.total) for each in seen if each.stage == "after"]
    assert after[-1][0] == after[-1][1] == max(done for done, _ in after)

    deltas = Deltas.from_bytes(output.artifacts["deltas.safetensors"])
    assert result.deltas_sha256 == hashlib.sha256(output.artifacts["deltas.safetensors"]).hexdigest()
    assert result.deltas_bytes == len(output.artifacts["deltas.safetensors"])
    card = output.card
    assert card is not None
    assert (card.id, card.source, card.base) == ("in-hand-tuned-abcdefgh", "tuned", "in-hand")
    assert (card.experiment, card.revision, card.supported) == ("abcdefgh1234", deltas.digest, True)
    assert result.tuned == card.id
    assert output.problem is None


def test_its_numbers_are_those_of_the_model_that_its_deltas_make(model: LoadedModel):
    from arithmoscope.engine.tuning.comparison import accuracy_and_loss
    from arithmoscope.engine.tuning.training_examples import examples_of
    from arithmoscope.prompts.sets.dataset_splits import split_dataset

    output = run(model, spec_of())
    assert output is not None
    evaluation = output.result.evaluation
    assert evaluation is not None
    tuned = Deltas.from_bytes(output.artifacts["deltas.safetensors"]).apply(model)
    splits = split_dataset(spec_of(), model.text)
    for scores, which in ((evaluation.held_out.before, model), (evaluation.held_out.after, tuned)):
        assert scores.mean == accuracy_and_loss(which, examples_of(which, splits.test))[0]
    last, first = output.result.curve.validation[-1], output.result.curve.validation[0]
    for scores, which in ((first, model), (last, tuned)):
        assert (scores.accuracy, scores.loss) == accuracy_and_loss(which, examples_of(which, splits.validation))
    assert last.loss < first.loss


def test_the_files_hold_every_step_every_question_and_every_component(model: LoadedModel):
    output = run(model, spec_of())
    assert output is not None
    result, evaluation = output.result, output.result.evaluation
    assert evaluation is not None
    history = rows_of(output, "history.csv")
    assert [row["step"] for row in history] == [str(number) for number in range(12)]
    assert [row["loss"] for row in history[1:]] == [str(loss) for loss in result.curve.losses]
    assert [row["step"] for row in history if row["validation_loss"]] == ["0", "4", "8", "11"]
    judged = rows_of(output, "judged.csv")
    for each in (evaluation.held_out, *(each for each in evaluation.sets if each.group != "held_out")):
        rows = [row for row in judged if row["set"] == each.name]
        assert len(rows) == each.n
        assert sum(row["outcome"] == "fixed" for row in rows) == each.fixed
        mean = sum(float(row["divergence"]) for row in rows) / each.n
        assert mean == pytest.approx(each.divergence)
    assert evaluation.repatched is not None
    patched = rows_of(output, "repatched.csv")
    assert len(patched) == 3 * 5
    for row in patched:
        layer, head = int(row["layer"]), row["head"]
        side = evaluation.repatched.difference
        cell = side.mlps.mean[layer][0] if head == "" else side.heads.mean[layer][int(head)]
        assert float(row["difference_mean"]) == cell
        assert float(row["after_mean"]) - float(row["before_mean"]) == pytest.approx(cell, abs=1e-6)
    sizes = [abs(float(row["difference_mean"])) for row in patched]
    assert sizes == sorted(sizes, reverse=True)
    for name in ("history.csv", "judged.csv", "repatched.csv"):
        assert {row["experiment_id"] for row in rows_of(output, name)} == {"abcdefgh1234"}


def test_heads_have_an_adapter_and_whole_mlps_a_note_instead(model: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", "/a disk/that is not there")
    heads = run(model, spec_of(steps=2))
    assert heads is not None
    with zipfile.ZipFile(io.BytesIO(heads.artifacts["adapter.zip"])) as archive:
        assert archive.namelist() == ["adapter_config.json", "adapter_model.safetensors"]
        assert json.loads(archive.read("adapter_config.json"))["peft_type"] == "LORA"
    mlps = run(model, spec_of(steps=2, components=["MLP1"]))
    assert mlps is not None
    assert "adapter.zip" not in mlps.artifacts
    assert any(note.startswith("No adapter for PEFT") for note in mlps.result.notes)


@pytest.mark.parametrize("tuner", ["random", "offsets", "lora", "full_matrices", "full"])
def test_every_tuner_runs_through_the_same_function(model: LoadedModel, tuner: str):
    output = run(model, spec_of(tuner=tuner, steps=2))
    assert output is not None
    result = output.result
    assert result.complete
    assert result.evaluation is not None
    assert result.tunable.trained > 0
    expected = {"full": (), "full_matrices": (), "offsets": ("L1H2", "L2H3"), "lora": ("L1H2", "L2H3")}
    if tuner == "random":
        assert not {*result.tunable.components} & {"L1H2", "L2H3"}
    else:
        assert result.tunable.components == expected[tuner]
    assert result.tunable.lowest == (1 if tuner in ("random", "offsets") else 0)
    assert (result.tunable.share == 1) == (tuner == "full")


def test_one_that_was_interrupted_goes_on_to_the_same_bytes(model: LoadedModel):
    chunks: dict[int, bytes] = {}
    undisturbed = run(model, spec_of(), save_chunk=chunks.__setitem__)
    assert undisturbed is not None
    assert list(chunks) == [5, 10, 11]
    more: dict[int, bytes] = {}
    curves: list[TrainingCurve] = []
    resumed = run(
        model, spec_of(parent="p"), saved_chunks={5: chunks[5]}, save_chunk=more.__setitem__, on_partial=curves.append
    )
    assert resumed is not None
    assert list(more) == [10, 11]
    for name in ("deltas.safetensors", "judged.csv", "repatched.csv", "adapter.zip"):
        assert resumed.artifacts[name] == undisturbed.artifacts[name]
    assert resumed.result.curve == undisturbed.result.curve == curves[-1]
    assert len(curves[0].steps) == 6, "a reader of the stream gets all of it"
    assert resumed.result.evaluation == undisturbed.result.evaluation


def test_a_checkpoint_is_not_held_by_the_run_that_took_it_up(model: LoadedModel):
    chunks: dict[int, bytes] = {}
    run(model, spec_of(), save_chunk=chunks.__setitem__)
    (data,) = [chunks.pop(5)]
    held: list[int] = []
    inspect.unwrap(run_fine_tune)(  # the type checks of the tests keep references to the arguments
        model,
        spec_of(),
        "abcdefgh1234",
        saved_chunks={5: data},
        save_chunk=lambda *_: None,
        on_progress=lambda _: None,
        on_partial=lambda _: held.append(sys.getrefcount(data)),
        should_stop=lambda: False,
    )
    assert set(held) == {sys.getrefcount(data)}


def test_one_that_was_interrupted_after_its_last_step_is_only_evaluated(model: LoadedModel):
    chunks: dict[int, bytes] = {}
    undisturbed = run(model, spec_of(), save_chunk=chunks.__setitem__)
    seen: list[Any] = []
    resumed = run(model, spec_of(), saved_chunks={11: chunks[11]}, on_progress=seen.append)
    assert undisturbed is not None
    assert resumed is not None
    assert [each.done for each in seen if each.stage == "steps"] == [11]
    for name in ("deltas.safetensors", "judged.csv", "history.csv"):
        assert resumed.artifacts[name] == undisturbed.artifacts[name]
    assert resumed.result.complete


def test_an_evaluation_that_breaks_leaves_the_training_and_what_the_worker_raises_goes_through(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_asked: Any, **_more: Any) -> Any:
        raise KeyError("a bug")

    class LeaseLost(Exception): ...

    def lost(progress: Any) -> None:
        if progress.stage == "after":
            raise LeaseLost

    with pytest.raises(LeaseLost):
        run(model, spec_of(steps=2), on_progress=lost)
    monkeypatch.setattr("arithmoscope.engine.experiments.fine_tune.evaluate", broken)
    output = run(model, spec_of(steps=2))
    assert output is not None
    assert (output.result.complete, output.result.evaluation, output.result.kept) == (True, None, 2)
    assert any(note == "It could not be evaluated: KeyError. The log has the details." for note in output.result.notes)
    assert output.card is not None


def test_chunks_of_another_training_are_not_taken(model: LoadedModel):
    chunks: dict[int, bytes] = {}
    run(model, spec_of(), save_chunk=chunks.__setitem__)
    other = spec_of(learning_rate=2e-2)
    fresh, resumed = run(model, other), run(model, other, saved_chunks=chunks)
    assert fresh is not None
    assert resumed is not None
    assert resumed.artifacts["deltas.safetensors"] == fresh.artifacts["deltas.safetensors"]


def test_one_that_is_cancelled_keeps_its_last_weights_and_is_not_evaluated(model: LoadedModel):
    seen: list[Any] = []
    chunks: dict[int, bytes] = {}

    def stop() -> bool:
        return bool(seen) and (seen[-1].stage, seen[-1].done) == ("steps", 7)

    output = run(model, spec_of(), on_progress=seen.append, should_stop=stop, save_chunk=chunks.__setitem__)
    assert output is not None
    result = output.result
    assert (result.ended, result.kept, result.complete, result.evaluation) == ("stopped", 7, False, None)
    assert output.problem is None
    assert output.card is not None
    assert list(chunks) == [5, 7]
    assert {*output.artifacts} == {"result.json", "deltas.safetensors", "history.csv", "adapter.zip"}
    tuned = Deltas.from_bytes(output.artifacts["deltas.safetensors"]).apply(model)
    assert not torch.equal(
        tuned.hf.model.layers[2].self_attn.o_proj.weight, model.hf.model.layers[2].self_attn.o_proj.weight
    )  # pyright: ignore
    resumed, whole = run(model, spec_of(), saved_chunks=chunks), run(model, spec_of())
    assert resumed is not None
    assert whole is not None
    assert resumed.artifacts["deltas.safetensors"] == whole.artifacts["deltas.safetensors"]


def test_one_that_is_cancelled_during_its_evaluation_is_trained_to_its_end(model: LoadedModel):
    seen: list[Any] = []
    output = run(
        model, spec_of(), on_progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].stage == "after"
    )
    assert output is not None
    result = output.result
    assert (result.ended, result.kept, result.complete, result.evaluation) == ("finished", 11, False, None)
    assert any("Cancelled during the evaluation" in note for note in result.notes)
    assert output.card is not None


def test_a_run_cancelled_before_its_first_step_has_no_result(model: LoadedModel):
    assert run(model, spec_of(), should_stop=lambda: True) is None
    seen: list[Any] = []
    late = run(model, spec_of(), on_progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].stage == "steps")
    assert late is None


def test_a_rate_that_breaks_the_model_keeps_nothing_but_what_happened(model: LoadedModel):
    breaking = spec_of(
        learning_rate=1.0, warmup=0.0, clip=None, components=["MLP0", "MLP1", "MLP2"], schedule="constant"
    )
    huge = breaking.model_copy(update={"learning_rate": 1e30})
    output = run(model, huge)
    assert output is not None
    assert (output.result.ended, output.result.kept, output.result.complete) == ("not_finite", 0, False)
    assert (output.card, output.result.tuned, output.result.evaluation) == (None, None, None)
    assert output.problem is not None
    assert output.problem.code == "training_broke"
    assert output.problem.detail.endswith("No weights are kept.")
    assert len(rows_of(output, "history.csv")) == 2
    assert {*output.artifacts} == {"result.json", "history.csv"}
    assert (output.result.deltas_bytes, output.result.deltas_sha256) == (0, "")
    whole = run(model, huge.model_copy(update={"tuner": "full", "components": ()}))
    assert whole is not None
    assert whole.problem is not None
    assert "are as large as the model, and the tuner full keeps no copy" in whole.problem.detail


def test_a_non_finite_loss_keeps_the_last_good_weights_and_is_reported(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
):
    from arithmoscope.engine.tuning import loop

    honest, calls = loop._gradients, []

    def breaking(*spec: Any) -> tuple[float, float]:
        calls.append(1)
        loss, norm = honest(*spec)
        return (math.nan if len(calls) == 5 else loss), norm

    monkeypatch.setattr(loop, "_gradients", breaking)
    output = run(model, spec_of())
    assert output is not None
    result = output.result
    assert (result.ended, result.kept, result.complete) == ("not_finite", 3, False)
    assert output.problem is not None
    assert "After 4 steps the loss is nan" in output.problem.detail
    assert "The weights after 3 steps are kept." in output.problem.detail
    assert result.problem is not None
    assert output.card is not None
    assert result.evaluation is not None, "what was kept is worth judging"
    monkeypatch.undo()
    seen: list[Any] = []
    good = run(
        model,
        spec_of(),
        on_progress=seen.append,
        should_stop=lambda: bool(seen) and seen[-1].done == 3 and seen[-1].stage == "steps",
    )
    assert good is not None
    assert Deltas.from_bytes(good.artifacts["deltas.safetensors"]).digest == output.card.revision


def test_what_cannot_be_trained_is_refused_before_anything_is(model: LoadedModel):
    chunks: dict[int, bytes] = {}
    test = {"source": "custom", "shots": 0, "pairs": [{"reference": "12 + 13 ="}, {"reference": "20 - 11 ="}]}
    alone = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}, {"reference": "5 - 3 ="}]}
    many = {"source": "template", "operations": ["add"], "operands": [10, 14], "pairs": 90, "shots": 0}
    for more, code in (
        ({"components": ["L9H0"]}, "bad_component"),
        ({"prompts": {**many, "operands": [10, 30], "pairs": 400}, "test": test}, "overlapping_splits"),
        ({"prompts": alone}, "no_prompts"),
        ({"prompts": {**PROMPTS, "chat": True}}, "no_chat_template"),
    ):
        with pytest.raises(Refusal) as refused:
            run(model, spec_of(**more), save_chunk=chunks.__setitem__)
        assert refused.value.code == code
    assert chunks == {}


def test_prompts_that_a_spreadsheet_would_run_are_text_in_every_file(model: LoadedModel):
    hostile = [f"=cmd() {a} + 1 is" for a in range(40)] + [f"@x\t{a} - 1 is" for a in range(40)]
    pairs = [{"reference": text, "answer": "5"} for text in hostile]
    output = run(model, spec_of(steps=1, prompts={"source": "custom", "shots": 0, "pairs": pairs}))
    assert output is not None
    rows = [row for row in rows_of(output, "judged.csv") if row["set"] == "held out"]
    assert rows
    assert all(row["question"].startswith(("'=", "'@")) for row in rows)
    for row in csv.reader(io.StringIO(output.artifacts["judged.csv"].decode())):
        assert not any(cell[:1] in ("=", "+", "@") for cell in row)
    references = {each.reference for each in output.result.evaluation.prompts}  # pyright: ignore[reportOptionalMemberAccess]
    assert references <= {*hostile}, "the page gets them as they are"


def test_a_long_curve_is_thinned_out_and_keeps_both_ends():
    from arithmoscope.engine.experiments.fine_tune import _spread

    assert _spread(3, 500) == [0, 1, 2]
    chosen = _spread(20_000, 500)
    assert (len(chosen), chosen[0], chosen[-1]) == (500, 0, 19_999)
    gaps = {later - sooner for sooner, later in pairwise(chosen)}
    assert gaps <= {40, 41}
