"""Fine-tunings as jobs: their files, and how tuned models are loaded again."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
from arithmoscope_worker.engine_port import TunedOutput
from arithmoscope_worker.progress_report import ProgressReporter
from job_helpers import CARD, Bench
from outputs import output
from store_helpers import Clock, spec_of  # pyright: ignore[reportMissingImports]

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.tuning_results import TrainingCurve

SPEC = FineTuneSpec.model_validate(
    {
        "kind": "fine_tune",
        "model": "tiny",
        "components": ["L0H0"],
        "prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}]},
    }
)
DELTAS = b"more of everything"


def card_of(experiment_id: str, base: ModelCard = CARD, name: str = "plus") -> ModelCard:
    card_fields = {"id": name, "name": name, "source": "tuned", "revision": f"{name} 1"}
    return base.model_copy(
        update={**card_fields, "base": base.id, "base_revision": base.revision, "experiment": experiment_id}
    )


def tuned_output(card: ModelCard | None, *, complete: bool = True, problem: Refusal | None = None) -> TunedOutput:
    kept = {"result.json": b"{}", "deltas.safetensors": DELTAS}
    result = SimpleNamespace(complete=complete)
    return cast(TunedOutput, SimpleNamespace(result=result, artifacts=kept, card=card, problem=problem))


def submit_tuning(bench: Bench, spec: FineTuneSpec = SPEC, key: str = "tune") -> str:
    return bench.store.submit(spec, key=key)[0].id


def tune(bench: Bench, base: ModelCard = CARD, name: str = "plus") -> ModelCard:
    """A fine-tuning from its row to its model."""
    experiment_id = submit_tuning(bench, SPEC.model_copy(update={"model": base.id}), key=name)
    card = card_of(experiment_id, base, name)
    bench.run = lambda *_, **__: tuned_output(card)
    bench.jobs.run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "succeeded"
    return card


def models_given(bench: Bench, *names: str) -> list[Any]:
    """The models used by analyses of these ids."""
    models: list[Any] = []
    bench.run = lambda model, *_, **__: models.append(model) or output(result_json=b"{}")
    for name in names:
        experiment_id = bench.store.submit(spec_of(model=name), key=f"of {name} {len(models)}")[0].id
        bench.jobs.run(experiment_id, 1)
        experiment = bench.store.experiment(experiment_id)
        assert (experiment.state, experiment.error) == ("succeeded", None)
    return models


def test_a_tuned_model_is_its_base_with_what_changed_and_no_model_is_loaded_that_is_in_memory(bench: Bench) -> None:
    first = tune(bench)
    second = tune(bench, first, "twice")
    assert bench.loaded == ["tiny"]
    assert models_given(bench, "twice", "plus", "tiny", "twice") == [
        "the model tiny, with more of everything, with more of everything",
        "the model tiny, with more of everything",
        "the model tiny",
        "the model tiny, with more of everything, with more of everything",
    ]
    assert second.base == first.id
    assert bench.loaded == ["tiny", "tiny"], "there is room for two"


def test_a_tuned_model_whose_base_is_another_now_is_not_run(bench: Bench) -> None:
    tune(bench)
    bench.store.register_model(CARD.model_copy(update={"revision": "two"}), None)
    experiment_id = bench.store.submit(spec_of(model="plus"), key="of it")[0].id
    bench.jobs.run(experiment_id, 1)
    error = bench.store.experiment(experiment_id).error
    assert error is not None
    assert error.type.endswith(":model_changed")
    assert "have changed" in error.detail


def test_a_training_that_broke_fails_and_keeps_its_model(bench: Bench) -> None:
    experiment_id = submit_tuning(bench)
    problem = Refusal("training_broke", "After 7 steps the loss is nan.")
    bench.run = lambda *_, **__: tuned_output(card_of(experiment_id), complete=False, problem=problem)
    bench.jobs.run(experiment_id, 1)
    experiment = bench.store.experiment(experiment_id)
    assert (experiment.state, experiment.error) == ("failed", problem.details())
    assert bench.store.read_artifact(experiment_id, "deltas.safetensors") == DELTAS
    assert models_given(bench, "plus") == ["the model tiny, with more of everything"]


def test_a_training_that_was_cancelled_keeps_its_model_and_one_that_changed_nothing_makes_none(bench: Bench) -> None:
    for key, card in (("a", True), ("b", False)):
        experiment_id = submit_tuning(bench, key=key)
        tuned_card = card_of(experiment_id) if card else None

        def run(*_, should_stop, experiment_id=experiment_id, tuned_card=tuned_card, **__):
            bench.store.request_cancel(experiment_id)
            assert should_stop()
            return tuned_output(tuned_card, complete=False)

        bench.run = run
        bench.jobs.run(experiment_id, 1)
        assert bench.store.experiment(experiment_id).state == "cancelled"
        assert [each.id for each in bench.store.models()] == ["plus", "tiny"]


def test_of_a_training_the_newest_checkpoint_alone_is_kept_and_taken_up(bench: Bench) -> None:
    seen: list[dict[int, bytes]] = []

    def run(*_, saved_chunks, save_chunk, on_progress, **__):
        seen.append(dict(saved_chunks))
        for number in (5, 10):
            if number > max(saved_chunks, default=0):
                save_chunk(number, f"after {number}".encode())
        bench.stop = len(seen) == 1
        on_progress(Progress(stage="steps", done=10, total=20))
        return tuned_output(None)

    bench.run = run
    experiment_id = submit_tuning(bench)
    bench.jobs.run(experiment_id, 1)
    assert bench.store.chunks(experiment_id) == {10: b"after 10"}
    bench.stop = False
    bench.jobs.run(experiment_id, 2)
    assert seen == [{}, {10: b"after 10"}]


def test_a_checkpoint_that_was_taken_up_is_not_held_while_it_trains(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def run(*_, saved_chunks, save_chunk, on_progress, **__):
        if not saved_chunks:
            save_chunk(5, bytes(1000))
            bench.stop = True
            on_progress(Progress(stage="steps", done=5, total=20))
        taken = saved_chunks[5]
        del saved_chunks
        held.append(sys.getrefcount(taken))
        return tuned_output(None)

    monkeypatch.setattr(bench.jobs.runtime, "run", lambda _kind: run)  # no other reference holds it
    experiment_id = submit_tuning(bench)
    bench.jobs.run(experiment_id, 1)
    bench.stop = False
    bench.jobs.run(experiment_id, 2)
    taken = bytes(1000)
    assert held == [sys.getrefcount(taken)]


def test_training_events_come_twice_a_second_from_the_first_step_to_the_last(bench: Bench) -> None:
    experiment_id, clock = bench.submit(), Clock()
    claim = bench.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    published: list[TrainingCurve] = []
    report = ProgressReporter(bench.store, bench.events, claim, clock=clock)
    publish = report._publish
    report._publish = lambda name, data: publish(name, data) or published.append(cast(TrainingCurve, data))
    for step in range(1, 101):
        curve = TrainingCurve(steps=(*range(1, step + 1),), losses=(0.5,) * step, validation=())
        report.partial(curve)
        clock.now += 1 / 16
    report.flush()
    assert [curve.steps[-1] for curve in published] == [*range(1, 100, 8), 100]
    (training_event,) = [each for each in bench.events_of(experiment_id) if each.event == "training"]
    assert training_event.data["steps"] == [*range(1, 101)], "a late reader gets all of it, once"
