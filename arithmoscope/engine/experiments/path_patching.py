"""A whole path-patching experiment: prepares the prompts, patches the pairs chunk by chunk, writes the result and its
files.

Independent of any server: saving, publishing and cancelling are passed in as functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.results import DroppedPair, Partial, PartialMetric
from arithmoscope.contracts.terms import Metric
from arithmoscope.engine.experiments.chunks import (
    RunCallbacks,
    Stopped,
    chunk_key,
    chunk_pairs,
    pack_chunk,
    reusable_chunks,
    unpack_chunk,
)
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.forward.batching import Plan, budget_of, retry_on_oom
from arithmoscope.engine.interventions.patching import PatchedPairs, Patching, patch_pairs
from arithmoscope.engine.interventions.replacements import resampled
from arithmoscope.engine.interventions.spot_check import spot_check
from arithmoscope.engine.measures.effects import FORMAT, PatchingEffects
from arithmoscope.engine.measures.metrics import EffectSummary
from arithmoscope.engine.methods.attention import attention_of
from arithmoscope.engine.methods.path_patching import mean_of, plan_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import artifacts_of, grid, result_of, set_hash
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.prompts import EncodedPair, PromptSet, prepare

# Attention patterns are stored with the result up to this size, the first prompts first.
ATTENTION_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RunOutput:
    """The result and all stored files, by name."""

    result: PathPatchingResult
    artifacts: dict[str, bytes]


@dataclass
class _Tally:
    """The results of the chunks so far."""

    parts: list[PatchingEffects] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    dropped: list[DroppedPair] = field(default_factory=list)
    n_correct: int = 0
    # sums over heads and MLPs, and the number of values in each
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
    """Runs an analysis to its end, or until ``should_stop``.

    A stopped run returns the result over the finished chunks (``result.complete`` is false), or None if there is none.
    ``saved_chunks`` of an earlier attempt are reused. An analysis has no ``parent``.

    Raises:
        Refusal: ``none_kept`` if no pair of the set is kept; otherwise if the prompts cannot be read.
    """
    callbacks = RunCallbacks(save_chunk, on_progress, should_stop)
    prompts = prepare(spec.prompts, model.text, model.chat if spec.prompts.chat else None)
    check_fit(model, prompts.pairs)
    total, step, layers = len(prompts.pairs), chunk_pairs(model), model.layout.layers
    parts = [range(start, min(start + step, total)) for start in range(0, total, step)]
    on_progress(Progress(stage="pairs", done=0, total=total))
    # The same spec gives other prompts under another chat template.
    key = [*chunk_key(model, FORMAT), set_hash(prompts)]
    saved = reusable_chunks(saved_chunks, parts, key)
    try:
        runner = _ChunkRunner(model, spec, prompts, key, saved, callbacks.check_stop)
    except Stopped:
        return None
    tally = _Tally()

    def compute(number: int, report: Callable[[float], None]) -> bytes:
        return runner.compute(parts[number], report)

    def take(number: int, data: bytes) -> None:
        part = parts[number]
        if _add_chunk(tally, model, data, prompts.pairs[part.start : part.stop], part.start):
            on_partial(_running_means(tally, spec))

    def progress(done: int, _number: int, fraction: float) -> Progress:
        if fraction == 0:
            return Progress(stage="pairs", done=done)
        return Progress(stage="pairs", done=done, layer=int(fraction * layers), layers=layers)

    complete = callbacks.run_chunks(parts, saved, compute, take, progress)
    if not tally.parts:
        if not complete:
            return None
        raise Refusal("none_kept", f"{model.card.id} answers none of the {total} prompts correctly.")
    on_progress(Progress(stage="saving", done=len(tally.kept) + len(tally.dropped), total=total))

    def facts() -> RunFacts:
        return RunFacts(
            model=model,
            experiment_id=experiment_id,
            prompt_set_hash=set_hash(prompts),
            notes=prompts.notes,
            complete=complete,
            created_at=clock(),
            seconds=callbacks.seconds,
            plan=runner.plan,
            budget=runner.budget,
        )

    return _finish(model, spec, prompts, tally, runner, facts, attention_bytes)


class _ChunkRunner:
    """Computes the chunks of one experiment as bytes, each with the plan it was computed under.

    A resumed experiment continues under the plan of its last chunk, and takes its means under the plan they were first
    taken under: so it ends with the same bits.
    """

    def __init__(
        self,
        model: LoadedModel,
        spec: PathPatchingSpec,
        prompts: PromptSet,
        key: Sequence[str],
        chunks: Mapping[int, bytes],
        check_stop: Callable[[], None],
    ) -> None:
        self._model, self._keep_wrong, self._key = model, spec.prompts.keep_wrong, key
        self._patching = Patching(
            spec.effect, spec.positions, spec.source, spec.direction, "probability" in spec.metrics
        )
        self.pairs = resampled(prompts.pairs, spec.positions, 0) if spec.source == "resample" else prompts.pairs
        self.budget = budget_of(model)
        if chunks:
            plans = unpack_chunk(chunks[max(chunks)])[0]["plans"]
            self.plan, mean_plan = Plan(**plans["chunk"]), Plan(**plans["means"])
        else:
            self.plan = mean_plan = plan_of(model, self.pairs, self._patching, prompts.pairs)
        self.mean, self._mean_plan = mean_of(model, self.pairs, prompts.pairs, self._patching, mean_plan, check_stop)

    def compute(self, part: range, report: Callable[[float], None]) -> bytes:
        """One chunk: its plans, each pair's top token, the kept pairs, and the effects."""
        pairs = self.pairs[part.start : part.stop]

        def measure(plan: Plan) -> PatchedPairs:
            return patch_pairs(
                self._model, pairs, self._patching, self.mean, plan, keep_wrong=self._keep_wrong, report=report
            )

        measured, self.plan = retry_on_oom(self.plan, measure)
        facts = {
            "plans": {"means": dataclasses.asdict(self._mean_plan), "chunk": dataclasses.asdict(self.plan)},
            "top": measured.top,
            "correct": measured.correct,
            "kept": measured.kept,
        }
        effects = b"" if measured.effects is None else measured.effects.to_bytes()
        return pack_chunk(part, self._key, facts, effects)


def _add_chunk(tally: _Tally, model: LoadedModel, data: bytes, pairs: Sequence[EncodedPair], start: int) -> bool:
    """Adds a chunk to the tally; returns whether it has effects."""
    head, effects = unpack_chunk(data)
    tally.n_correct += sum(head["correct"])
    kept = set(head["kept"])
    tally.kept.extend(start + row for row in head["kept"])
    for row, pair in enumerate(pairs):
        if row not in kept:
            top_text = model.token_text(head["top"][row])
            tally.dropped.append(
                DroppedPair(
                    index=start + row,
                    reference=pair.pair.reference,
                    answer=pair.pair.answer,
                    reason=f"The model answers {top_text[:40]!r}.",
                )
            )
    if effects:
        tally.parts.append(PatchingEffects.from_bytes(effects))
    return bool(effects)


def _running_means(tally: _Tally, spec: PathPatchingSpec) -> Partial:
    """Means over the pairs so far, from sums, without going through the chunks again."""
    part = tally.parts[-1]
    for metric in spec.metrics:
        sums = tally.sums.setdefault(metric, [torch.tensor(0.0, dtype=torch.float64)] * 4)
        for index, values in enumerate(part.values(metric)):
            sums[index] = sums[index] + values.double().nansum(0)
            sums[index + 2] = sums[index + 2] + values.isnan().logical_not().sum(0)
    means = {}
    for metric, (heads, mlps, n_heads, n_mlps) in tally.sums.items():
        means[metric] = PartialMetric(heads=grid(heads / n_heads), mlps=grid((mlps / n_mlps)[None])[0])
    return Partial(n_pairs=len(tally.kept), metrics=means)


def _finish(
    model: LoadedModel,
    spec: PathPatchingSpec,
    prompts: PromptSet,
    tally: _Tally,
    runner: _ChunkRunner,
    facts: Callable[[], RunFacts],
    attention_bytes: int,
) -> RunOutput:
    effects = PatchingEffects.concatenate(tally.parts)
    kept = {index: runner.pairs[index] for index in tally.kept}
    summaries: dict[Metric, EffectSummary] = {metric: effects.summary(metric) for metric in spec.metrics}
    checked, _ = retry_on_oom(
        runner.plan, lambda plan: spot_check(model, list(kept.values()), effects, runner.mean, plan.pairs)
    )
    patterns = _attention_patterns(model, kept, attention_bytes)
    result = result_of(
        facts(),
        spec,
        prompts,
        effects=effects,
        summaries=summaries,
        kept=kept,
        dropped=tally.dropped,
        n_correct=tally.n_correct,
        checked=checked,
        attention_pairs=tuple(patterns),
    )
    return RunOutput(result, artifacts_of(result, effects, summaries, patterns))


def _attention_patterns(model: LoadedModel, kept: Mapping[int, EncodedPair], budget: int) -> dict[int, torch.Tensor]:
    """Attention in the kept prompts' reference runs, as many as fit, by the prompt's index in the submitted list."""
    chosen = []
    for index, pair in kept.items():
        budget -= model.layout.layers * model.layout.heads * len(pair.reference_ids) ** 2 * 4
        if budget < 0:
            break
        chosen.append(index)
    prompts = [kept[index].reference_ids for index in chosen]
    patterns = attention_of(model, prompts, range(model.layout.layers))
    return {index: weights.float() for index, weights in zip(chosen, patterns, strict=True)}
