"""Fine-tunings as the server would return them, built from the contracts: for the page's states without a training."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from arithmoscope.contracts.errors import ProblemDetails
from arithmoscope.contracts.experiments import Experiment, Progress
from arithmoscope.contracts.kinds.fine_tune import FineTuneResult, FineTuneSpec
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.contracts.results import Effects, MetricResult, ModelFacts, Provenance
from arithmoscope.contracts.tuning_results import (
    Evaluation,
    Interval,
    Judged,
    JudgedPrompt,
    Neutral,
    Repatched,
    Split,
    TrainingCurve,
    Tunable,
    Validation,
)
from arithmoscope.contracts.tuning_terms import Group, Outcome, Tuner

MODEL = "smollm2-135m"
LAYERS, HEADS, KV_HEADS, PARAMETERS = 30, 9, 3, 134_515_008
COMPONENTS = ("L14H2", "L17H5", "L19H1", "MLP17", "MLP19")
TRAINED = {"precise": 5_603_328, "random": 5_603_328, "lora": 5_529_600, "full": PARAMETERS}
TUNED = f"{MODEL}-tuned-0a1b2c3d"
# Texts that would do harm as markup, as a formula, or to neighbouring text.
HOSTILE = ("<img src=x onerror=alert(1)>", "</script>", "=1+1", "\u202e51", "\n", "🧮")
_WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def spec(tuner: Tuner = "precise", **more: Any) -> FineTuneSpec:
    prompts = TemplatePrompts(source="template", operations=("add", "subtract"), operands=(10, 99), pairs=2000, shots=4)
    return FineTuneSpec(kind="fine_tune", model=MODEL, tuner=tuner, components=COMPONENTS, prompts=prompts, **more)


def row(name: str, spec: FineTuneSpec, state: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A row of ``GET /api/experiments``; a final one has been through all its steps, unless ``progress`` says less."""
    progress = more.pop("progress", Progress(stage="done", done=spec.steps, total=spec.steps))
    answer = Experiment(
        id=name,
        kind="fine_tune",
        spec=spec,
        state=state,  # pyright: ignore[reportArgumentType]
        progress=progress,
        cancel_requested=state == "cancelled",
        parent=spec.parent,
        error=more.pop("error", None),
        created_at=_WHEN,
        started_at=_WHEN,
        finished_at=None if state in ("queued", "running") else _WHEN,
        **more,
    )
    return answer.model_dump(mode="json")


def broken() -> ProblemDetails:
    return ProblemDetails(
        type="urn:arithmoscope:problem:training_broke",
        title="The loss is not finite",
        status=422,
        detail="After step 12 the loss was no number.",
        way_out="Choose a lower learning rate.",
    )


def result(name: str, spec: FineTuneSpec, *, kept: int | None = None, ended: str = "finished") -> dict[str, Any]:
    """The result; with ``kept`` the training ended after that many steps and was not evaluated."""
    steps = spec.steps if kept is None else kept
    whole = ended == "finished"
    answer = FineTuneResult(
        experiment_id=name,
        spec=spec,
        model=ModelFacts(
            id=MODEL,
            name="SmolLM2-135M",
            revision="93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
            architecture="LlamaForCausalLM",
            layers=LAYERS,
            heads=HEADS,
            kv_heads=KV_HEADS,
            parameters=PARAMETERS,
        ),
        complete=ended != "stopped",
        tunable=_tunable(spec.tuner),
        split=Split(
            train=1600,
            validation=200,
            test=200,
            shared=0,
            examples=("17 + 25 =", "3 * 4 = 12\n61 - 18 =", "34 + 58 ="),
        ),
        ended=ended,  # pyright: ignore[reportArgumentType]
        kept=steps,
        problem="After step 12 the loss was no number." if ended == "not_finite" else None,
        curve=curve(steps),
        seconds_per_step=2.41,
        evaluation=_evaluation(spec.tuner) if whole else None,
        tuned=TUNED if steps else None,
        deltas_bytes=4 * TRAINED.get(spec.tuner, 1),
        deltas_sha256="d" * 64,
        notes=("The model writes no numbers in words, so word problems were left out.",),
        provenance=Provenance(
            code_version="0.1.0",
            method_version=1,
            torch="2.9.0",
            transformers="4.57.1",
            dtype="float32",
            device="cpu",
            prompt_set_hash="a" * 64,
            chunk_pairs=32,
            created_at=_WHEN,
            seconds=312.0,
        ),
    )
    return answer.model_dump(mode="json")


def curve(steps: int) -> TrainingCurve:
    looks = [step for step in range(steps + 1) if step % 10 == 0 or step == steps]
    return TrainingCurve(
        steps=tuple(range(1, steps + 1)),
        losses=tuple(2.4 * 0.97**step + 0.05 * (step % 3) for step in range(1, steps + 1)),
        validation=tuple(
            Validation(step=step, accuracy=0.85 - 0.7 * 0.96**step, loss=2.5 * 0.97**step) for step in looks
        ),
    )


def _tunable(tuner: Tuner) -> Tunable:
    trained = TRAINED.get(tuner, 1)
    return Tunable(
        components=COMPONENTS if tuner in ("precise", "random") else (),
        tune=("q", "o", "k"),
        touched=("L14H0", "L14H1", "L17H3", "L17H4", "L19H0", "L19H2"),
        trained=trained,
        parameters=PARAMETERS,
        share=trained / PARAMETERS,
        lowest=14 if tuner != "full" else 0,
        optimiser_bytes=8 * trained,
    )


def _share(mean: float, half: float = 0.05) -> Interval:
    return Interval(mean=mean, low=max(0.0, mean - half), high=min(1.0, mean + half))


def _judged(name: str, group: Group, n: int, before: float, after: float) -> Judged:
    change = after - before
    fixed, broken = round(n * max(0.0, change)), round(n * max(0.0, -change))
    right = round(n * min(before, after))
    return Judged(
        name=name,
        group=group,
        n=n,
        before=_share(before),
        after=_share(after),
        change=Interval(mean=change, low=change - 0.06, high=change + 0.06),
        fixed=fixed,
        broken=broken,
        right=right,
        wrong=n - fixed - broken - right,
        log_probability_before=-3.21,
        log_probability_after=-0.42,
        divergence=0.731,
    )


def _evaluation(tuner: Tuner) -> Evaluation:
    gain = {"precise": 0.64, "random": 0.41, "lora": 0.55, "full": 0.7}.get(tuner, 0.2)
    sets = (
        _judged("add", "held_out", 100, 0.17, 0.17 + gain),
        _judged("subtract", "held_out", 100, 0.07, 0.07 + gain / 2),
        _judged("two digits", "held_out", 200, 0.12, 0.12 + gain),
        _judged("equation", "held_out", 200, 0.12, 0.12 + gain),
        _judged("one-digit multiplication", "arithmetic", 50, 0.62, 0.48),
        _judged("counting", "arithmetic", 50, 0.3, 0.32),
        _judged("facts", "control", 50, 0.56, 0.54),
        _judged("grammar", "control", 40, 0.9, 0.9),
    )
    outcomes: list[tuple[Outcome, str, str]] = [("fixed", "41", "42"), ("broken", "42", "24"), ("right", "42", "42")]
    prompts = [
        JudgedPrompt(reference=f"17 + 25 =\n{10 + i} + {i} =", answer="42", before=before, after=after, outcome=outcome)
        for i in range(10)
        for outcome, before, after in outcomes
    ]
    prompts += [JudgedPrompt(reference=t, answer=t, before=t, after=t, outcome="fixed") for t in HOSTILE]
    return Evaluation(
        held_out=_judged("held out", "held_out", 200, 0.12, 0.12 + gain),
        sets=sets,
        neutral=Neutral(
            passages=40,
            tokens=2_431,
            before=Interval(mean=14.21, low=12.9, high=15.6),
            after=Interval(mean=14.93, low=13.5, high=16.4),
            ratio=Interval(mean=1.051, low=1.043, high=1.06),
            divergence=Interval(mean=0.031, low=0.028, high=0.035),
        ),
        prompts=tuple(prompts),
        repatched=_repatched(),
    )


def _repatched() -> Repatched:
    def metric(scale: float, tilt: float) -> MetricResult:
        def effects(columns: int, layer_scale: float) -> Effects:
            def grid(off: float) -> tuple[tuple[float, ...], ...]:
                return tuple(
                    tuple(
                        scale * layer_scale * (tilt - ((7 * layer + 3 * column) % 11)) / 11 + off
                        for column in range(columns)
                    )
                    for layer in range(LAYERS)
                )

            return Effects(mean=grid(0.0), std=grid(0.3), ci_low=grid(-0.08), ci_high=grid(0.08))

        return MetricResult(unit="logits", n_pairs=32, left_out=0, heads=effects(HEADS, 0.4), mlps=effects(1, 1.0))

    before, after = metric(1.0, 4.0), metric(1.6, 3.0)
    return Repatched(effect="through_mlps", n_pairs=32, before=before, after=after, difference=metric(0.6, 2.0))
