"""A whole experiment: prompts prepared, chunk after chunk of pairs patched, the result and its files assembled.

It knows no server: what is saved, published and cancelled comes in as functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.results import DroppedPair, Partial, PartialMetric, PathPatchingResult
from arithmoscope.contracts.specs import Metric, PathPatchingSpec
from arithmoscope.engine.experiments.chunks import Course, Stopped, chunk_pairs, made_of, opened, packed, usable
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.forward.batching import Plan, budget_of, retry_on_oom
from arithmoscope.engine.interventions.patching import PatchedPairs, Patching, patch_pairs
from arithmoscope.engine.interventions.replacements import resampled
from arithmoscope.engine.interventions.spot_check import spot_check
from arithmoscope.engine.measures.effects import FORMAT, PatchingEffects
from arithmoscope.engine.measures.metrics import Summary
from arithmoscope.engine.methods.attention import attention_of
from arithmoscope.engine.methods.path_patching import mean_of, plan_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import artifacts_of, grid, result_of, set_hash
from arithmoscope.prompts import EncodedPair, PromptSet, prepare

# Attention patterns are kept with the result up to this size, the first prompts first.
ATTENTION_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RunOutput:
    """The result and everything that is kept of it, by file name."""

    result: PathPatchingResult
    artifacts: dict[str, bytes]


@dataclass
class _Tally:
    """What the chunks so far have given."""

    parts: list[PatchingEffects] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    dropped: list[DroppedPair] = field(default_factory=list)
    n_correct: int = 0
    # heads, MLPs, and how many values each is the sum of
    sums: dict[Metric, list[torch.Tensor]] = field(default_factory=dict)


def run_path_patching(
    model: LoadedModel,
    spec: PathPatchingSpec,
    experiment_id: str,
    *,
    parent: Callable[[str], bytes] | None = None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[Partial], None],
    should_stop: Callable[[], bool],
    attention_bytes: int = ATTENTION_BYTES,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunOutput | None:
    """Run an analysis to its end, or until ``should_stop``.

    A stopped run gives the result over the finished chunks (``result.complete`` is false), or None if there is none.
    ``saved_chunks`` of an earlier attempt are taken as they are; an analysis is asked of no ``parent``. Refuses prompts
    that cannot be read, and a set of which no pair is kept.
    """
    course = Course(save_chunk, on_progress, should_stop)
    asked = prepare(spec.prompts, model.text, model.chat if spec.prompts.chat else None)
    check_fit(model, asked.pairs)
    total, step, layers = len(asked.pairs), chunk_pairs(model), model.layout.layers
    parts = [range(start, min(start + step, total)) for start in range(0, total, step)]
    on_progress(Progress(stage="pairs", done=0, total=total))
    # Prompts of the same spec are others in another chat template.
    made = [*made_of(model, FORMAT), set_hash(asked)]
    saved = usable(saved_chunks, parts, made)
    try:
        science = _Science(model, spec, asked, made, saved, course.go_on)
    except Stopped:
        return None
    tally = _Tally()

    def compute(number: int, report: Callable[[float], None]) -> bytes:
        return science.compute(parts[number], report)

    def take(number: int, data: bytes) -> None:
        part = parts[number]
        if _count(tally, model, data, asked.pairs[part.start : part.stop], part.start):
            on_partial(_running_means(tally, spec))

    def progress(done: int, _number: int, fraction: float) -> Progress:
        if fraction == 0:
            return Progress(stage="pairs", done=done)
        return Progress(stage="pairs", done=done, layer=int(fraction * layers), layers=layers)

    complete = course.through(parts, saved, compute, take, progress)
    if not tally.parts:
        if not complete:
            return None
        raise Refusal("none_kept", f"None of the {total} prompts is answered rightly by {model.card.id}.")
    on_progress(Progress(stage="saving", done=len(tally.kept) + len(tally.dropped), total=total))
    return _finish(model, spec, experiment_id, asked, tally, complete, science, clock, course, attention_bytes)


class _Science:
    """Chunks of one experiment as bytes, each with the plan that it was computed under.

    An experiment that is taken up again goes on under the plan of its last chunk, and takes its means under the plan
    that they were first taken under: so it ends with the same bits.
    """

    def __init__(
        self,
        model: LoadedModel,
        spec: PathPatchingSpec,
        asked: PromptSet,
        made: Sequence[str],
        chunks: Mapping[int, bytes],
        go_on: Callable[[], None],
    ) -> None:
        self._model, self._keep_wrong, self._made = model, spec.prompts.keep_wrong, made
        self._asked = Patching(spec.effect, spec.positions, spec.source, spec.direction, "probability" in spec.metrics)
        self.pairs = resampled(asked.pairs, spec.positions, 0) if spec.source == "resample" else asked.pairs
        self.budget = budget_of(model)
        if chunks:
            plans = opened(chunks[max(chunks)])[0]["plans"]
            self.plan, mean_plan = Plan(**plans["chunk"]), Plan(**plans["means"])
        else:
            self.plan = mean_plan = plan_of(model, self.pairs, self._asked, asked.pairs)
        self.mean, self._mean_plan = mean_of(model, self.pairs, asked.pairs, self._asked, mean_plan, go_on)

    def compute(self, part: range, report: Callable[[float], None]) -> bytes:
        """One chunk: its plans, each pair's top token, which are kept; then the effects."""
        pairs = self.pairs[part.start : part.stop]

        def measure(plan: Plan) -> PatchedPairs:
            return patch_pairs(
                self._model, pairs, self._asked, self.mean, plan, keep_wrong=self._keep_wrong, report=report
            )

        measured, self.plan = retry_on_oom(self.plan, measure)
        facts = {
            "plans": {"means": dataclasses.asdict(self._mean_plan), "chunk": dataclasses.asdict(self.plan)},
            "top": measured.top,
            "correct": measured.correct,
            "kept": measured.kept,
        }
        effects = b"" if measured.effects is None else measured.effects.to_bytes()
        return packed(part, self._made, facts, effects)


def _count(tally: _Tally, model: LoadedModel, data: bytes, pairs: Sequence[EncodedPair], start: int) -> bool:
    """Take a chunk into account; whether it has effects."""
    head, effects = opened(data)
    tally.n_correct += sum(head["correct"])
    kept = set(head["kept"])
    tally.kept.extend(start + row for row in head["kept"])
    for row, pair in enumerate(pairs):
        if row not in kept:
            said = model.token_text(head["top"][row])
            tally.dropped.append(
                DroppedPair(
                    index=start + row,
                    reference=pair.pair.reference,
                    answer=pair.pair.answer,
                    reason=f"The model answers {said[:40]!r}.",
                )
            )
    if effects:
        tally.parts.append(PatchingEffects.from_bytes(effects))
    return bool(effects)


def _running_means(tally: _Tally, spec: PathPatchingSpec) -> Partial:
    """Means over the pairs so far, from sums: the chunks are not gone through again."""
    part = tally.parts[-1]
    for metric in spec.metrics:
        sums = tally.sums.setdefault(metric, [torch.tensor(0.0, dtype=torch.float64)] * 4)
        for at, values in enumerate(part.values(metric)):
            sums[at] = sums[at] + values.double().nansum(0)
            sums[at + 2] = sums[at + 2] + values.isnan().logical_not().sum(0)
    means = {}
    for metric, (heads, mlps, n_heads, n_mlps) in tally.sums.items():
        means[metric] = PartialMetric(heads=grid(heads / n_heads), mlps=grid((mlps / n_mlps)[None])[0])
    return Partial(n_pairs=len(tally.kept), metrics=means)


def _finish(
    model: LoadedModel,
    spec: PathPatchingSpec,
    experiment_id: str,
    asked: PromptSet,
    tally: _Tally,
    complete: bool,
    science: _Science,
    clock: Callable[[], datetime],
    course: Course,
    attention_bytes: int,
) -> RunOutput:
    effects = PatchingEffects.concatenate(tally.parts)
    kept = {index: science.pairs[index] for index in tally.kept}
    summaries: dict[Metric, Summary] = {metric: effects.summary(metric) for metric in spec.metrics}
    checked, _ = retry_on_oom(
        science.plan, lambda plan: spot_check(model, list(kept.values()), effects, science.mean, plan.pairs)
    )
    patterns = _patterns(model, kept, attention_bytes)
    result = result_of(
        model=model,
        spec=spec,
        experiment_id=experiment_id,
        effects=effects,
        summaries=summaries,
        kept=kept,
        dropped=tally.dropped,
        n_asked=len(asked.pairs),
        n_distinct=asked.n_distinct,
        n_correct=tally.n_correct,
        notes=asked.notes,
        complete=complete,
        checked=checked,
        attention_pairs=tuple(patterns),
        prompt_set_hash=set_hash(asked),
        plan=science.plan,
        budget=science.budget,
        created_at=clock(),
        seconds=course.seconds,
    )
    return RunOutput(result, artifacts_of(result, effects, summaries, patterns))


def _patterns(model: LoadedModel, kept: Mapping[int, EncodedPair], room: int) -> dict[int, torch.Tensor]:
    """Attention of the kept prompts' reference runs, as many as fit, by the prompt's place in the list asked for."""
    chosen = []
    for index, pair in kept.items():
        room -= model.layout.layers * model.layout.heads * len(pair.reference_ids) ** 2 * 4
        if room < 0:
            break
        chosen.append(index)
    prompts = [kept[index].reference_ids for index in chosen]
    patterns = attention_of(model, prompts, range(model.layout.layers))
    return {index: weights.float() for index, weights in zip(chosen, patterns, strict=True)}
