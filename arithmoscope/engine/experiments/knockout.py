"""A whole knock-out: reads the components from the parent analysis, measures the pairs in chunks, writes result and
files.

Independent of any server: saving, publishing and cancelling are passed in as functions, as are the stored files of the
analysis.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.knockout import KnockoutResult, KnockoutSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.results import DroppedPair, Partial
from arithmoscope.contracts.terms import DEFAULT_TOP_K
from arithmoscope.engine.experiments.chunks import (
    RunCallbacks,
    Stopped,
    chunk_key,
    chunk_pairs,
    pack_chunk,
    reusable_chunks,
    unpack_chunk,
)
from arithmoscope.engine.experiments.parent_analysis import (
    Analysis,
    ReadArtifact,
    analysis_prompts,
    read_analysis,
    read_effects,
)
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.forward.baseline import top_tokens, wrong_answer
from arithmoscope.engine.forward.batching import Plan, budget_of, retry_on_oom
from arithmoscope.engine.measures.key_components import key_components
from arithmoscope.engine.measures.knockout_result import FORMAT, Knockout
from arithmoscope.engine.methods.knockout import Task, knock_out_chunk, knockout_task
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import set_hash
from arithmoscope.engine.results.knockout_check import check_knockout
from arithmoscope.engine.results.knockout_files import knockout_files, knockout_result
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.prompts import EncodedPair, PromptSet, prepare
from arithmoscope.prompts.sets.operand_split import operands_of


@dataclass(frozen=True)
class KnockoutOutput:
    """The result and all stored files, by name."""

    result: KnockoutResult
    artifacts: dict[str, bytes]


@dataclass(frozen=True)
class _Sets:
    """The prompts of a knock-out.

    prompts   the measured prompt set
    analysed  all pairs of the analysis
    over      pairs whose mean replaces outputs; None: the measured pairs
    """

    prompts: PromptSet
    analysed: tuple[EncodedPair, ...]
    over: tuple[EncodedPair, ...] | None

    def chunk_key(self, model: LoadedModel, components: Sequence[str]) -> list[str]:
        """Everything besides the spec that a chunk's numbers depend on: the analysis may have been repeated since."""
        over = json.dumps([pair.reference_ids for pair in self.over or ()])
        means = hashlib.sha256(over.encode()).hexdigest()
        return [*chunk_key(model, FORMAT), set_hash(self.prompts), means, " ".join(components)]


@dataclass(frozen=True)
class _MeasuredPairs:
    """The measured pairs, their indices, the dropped ones, and the indices that share operands with the analysis."""

    pairs: tuple[EncodedPair, ...]
    indices: tuple[int, ...]
    dropped: tuple[DroppedPair, ...]
    shared: frozenset[int]


def run_knockout(
    model: LoadedModel,
    spec: KnockoutSpec,
    experiment_id: str,
    *,
    parent: ReadArtifact | None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[Partial], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> KnockoutOutput | None:
    """Runs a knock-out to its end, or until ``should_stop``.

    ``parent`` reads the stored files of the analysis. A stopped run returns the result over the finished chunks
    (``result.complete`` is false), or None if there is none. ``saved_chunks`` of an earlier attempt are reused. There
    are no partial results (``on_partial`` is not called).

    Raises:
        Refusal: ``model_changed`` if the analysis is of other weights; ``no_components`` if it has no component to take
            out; ``none_kept`` if no pair is left; otherwise if the prompts cannot be read.
    """
    if parent is None:
        raise ValueError("a knock-out needs a parent analysis")
    callbacks = RunCallbacks(save_chunk, on_progress, should_stop)
    analysis = read_analysis(parent)
    if analysis.revision != model.card.revision:
        raise Refusal("model_changed", f"{model.card.name} has other weights than those that were analysed.")
    components = _components(spec, analysis.spec, parent)
    sets = _prompt_sets(model, spec, analysis)
    prompts, key = sets.prompts, sets.chunk_key(model, components)
    # With finished chunks there will be a result, which needs the pairs and means: so these are not interrupted.
    check_stop = callbacks.check_stop if not saved_chunks else lambda: None
    on_progress(Progress(stage="pairs", done=0, total=len(prompts.pairs)))
    try:
        kept = _select_pairs(model, spec, sets, analysis, check_stop)
        parts = _parts(kept.indices, chunk_pairs(model))
        saved = reusable_chunks(saved_chunks, parts, key)
        task, means_plan = _task(model, spec, kept.pairs, sets.over, components, saved, check_stop)
    except Stopped:
        return None
    budget, results = budget_of(model), list[Knockout]()

    def compute(number: int, report: Callable[[float], None]) -> bytes:
        nonlocal task
        start = number * chunk_pairs(model)
        chunk, task = knock_out_chunk(model, task, start, start + len(parts[number]), report=report)
        plans = {"means": dataclasses.asdict(means_plan), "chunk": dataclasses.asdict(task.plan)}
        return pack_chunk(parts[number], key, {"plans": plans}, chunk.to_bytes())

    def progress(done: int, number: int, fraction: float) -> Progress:
        return Progress(stage="pairs", done=done + int(fraction * len(parts[number])))

    complete = callbacks.run_chunks(
        parts, saved, compute, lambda _, data: results.append(Knockout.from_bytes(unpack_chunk(data)[1])), progress
    )
    if not results:
        return None
    whole = Knockout.concatenate(results)
    on_progress(Progress(stage="saving", done=len(whole), total=len(kept.pairs)))
    checked, _ = retry_on_oom(task.plan, lambda _: check_knockout(model, task, whole))
    facts = RunFacts(
        model=model,
        experiment_id=experiment_id,
        prompt_set_hash=set_hash(prompts),
        notes=(*prompts.notes, *_notes(spec, sets, kept)),
        complete=complete,
        created_at=clock(),
        seconds=callbacks.seconds,
        plan=task.plan,
        budget=budget,
    )
    result = knockout_result(
        facts,
        spec,
        prompts,
        knocked=whole,
        checked=checked,
        dropped=kept.dropped,
        shared_questions=sum(index in kept.shared for index in kept.indices[: len(whole)]),
    )
    return KnockoutOutput(result, knockout_files(result, whole))


def _components(spec: KnockoutSpec, analysed: PathPatchingSpec, parent: ReadArtifact) -> tuple[str, ...]:
    """The components that the spec names, or those whose removal hurts most."""
    if spec.components is not None:
        return spec.components
    effects = read_effects(parent)
    # In denoising, the components that restore most are selected.
    effects = effects.negated() if analysed.direction == "denoising" else effects
    top_k = spec.top_k or DEFAULT_TOP_K
    key = key_components(effects, rule="top_k", metric=spec.metric, top_k=top_k, kind=spec.among)
    if not key.components:
        raise Refusal("no_components", f"By {spec.metric}, removing any single component does not hurt the answer.")
    return tuple(str(component) for component in key.components)


def _prompt_sets(model: LoadedModel, spec: KnockoutSpec, analysis: Analysis) -> _Sets:
    parents = analysis_prompts(model, analysis)
    own = spec.prompts
    prompts = parents if own is None else prepare(own, model.text, model.chat if own.chat else None)
    check_fit(model, prompts.pairs)
    kept = tuple(parents.pairs[index] for index in analysis.kept)
    # A mean per position needs prompts of the same length, which only the set itself is sure to have.
    elsewhere = own is not None and spec.ablation == "mean" and spec.positions == "end"
    return _Sets(prompts, parents.pairs, kept if elsewhere else None)


def _notes(spec: KnockoutSpec, sets: _Sets, kept: _MeasuredPairs) -> tuple[str, ...]:
    """A note on the prompts whose mean replaces outputs."""
    if spec.ablation != "mean":
        return ()
    if sets.over is None:
        alike = "" if spec.positions == "end" else ", at each position over those of equal length"
        return (f"The mean is over these prompts themselves{alike}.",)
    over = {pair.reference_ids for pair in sets.over}
    same = sum(pair.reference_ids in over for pair in kept.pairs)
    among = f"; {same} of the measured ones are among them" if same else ""
    return (f"The mean is over the {len(sets.over)} prompts of the analysis{among}.",)


def _select_pairs(
    model: LoadedModel, spec: KnockoutSpec, sets: _Sets, analysis: Analysis, check_stop: Callable[[], None]
) -> _MeasuredPairs:
    prompts = sets.prompts
    analysed = {operands_of(pair.pair) for pair in sets.analysed}
    shared = frozenset(index for index, pair in enumerate(prompts.pairs) if operands_of(pair.pair) in analysed)
    dropped = [
        _dropped_pair(prompts, index, "The analysis used the same operands.")
        for index in sorted(shared)
        if spec.disjoint
    ]
    remaining = [index for index in range(len(prompts.pairs)) if not (spec.disjoint and index in shared)]
    prompts_spec = spec.prompts or analysis.spec.prompts
    if not prompts_spec.keep_wrong:
        tops = top_tokens(model, [prompts.pairs[index] for index in remaining], check_stop)
        top = dict(zip(remaining, tops, strict=True))
        dropped += [
            wrong_answer(model, index, prompts.pairs[index], top[index])
            for index in remaining
            if top[index] != prompts.pairs[index].answer_id
        ]
        remaining = [index for index in remaining if top[index] == prompts.pairs[index].answer_id]
    if spec.positions != "end":
        alone = _of_unique_length(spec, prompts, remaining)
        dropped += [_dropped_pair(prompts, index, "No other remaining prompt has as many tokens.") for index in alone]
        remaining = [index for index in remaining if index not in set(alone)]
    if not remaining:
        raise Refusal(
            "none_kept",
            f"None of the {len(prompts.pairs)} prompts is left that {model.card.id} answers correctly.",
        )
    pairs = tuple(prompts.pairs[index] for index in remaining)
    return _MeasuredPairs(pairs, tuple(remaining), tuple(sorted(dropped, key=lambda pair: pair.index)), shared)


def _dropped_pair(prompts: PromptSet, index: int, reason: str) -> DroppedPair:
    pair = prompts.pairs[index].pair
    return DroppedPair(index=index, reference=pair.reference, answer=pair.answer, reason=reason)


def _of_unique_length(spec: KnockoutSpec, prompts: PromptSet, remaining: Sequence[int]) -> list[int]:
    """Pairs of a length that no other prompt has: per position they have neither a mean nor a prompt to draw from."""
    if spec.ablation == "zero":
        return []
    kinds: dict[int, set[Hashable]] = defaultdict(set)
    for pair in (prompts.pairs[index] for index in remaining):
        kinds[len(pair.reference_ids)].add(pair.question if spec.ablation == "resample" else pair.reference_ids)
    return [index for index in remaining if len(kinds[len(prompts.pairs[index].reference_ids)]) < 2]


def _parts(indices: Sequence[int], step: int) -> list[Sequence[int]]:
    return [indices[start : start + step] for start in range(0, len(indices), step)]


def _task(
    model: LoadedModel,
    spec: KnockoutSpec,
    pairs: Sequence[EncodedPair],
    over: Sequence[EncodedPair] | None,
    components: Sequence[str],
    saved: Mapping[int, bytes],
    check_stop: Callable[[], None],
) -> tuple[Task, Plan]:
    """The task, and the plan of its means. A resumed run takes its means under the plan they were first taken under,
    and continues under the plan of its last chunk: so it ends with the same bits.
    """
    plans = unpack_chunk(saved[max(saved)])[0]["plans"] if saved else None
    task = knockout_task(
        model,
        pairs,
        components,
        ablation=spec.ablation,
        positions=spec.positions,
        mean_over=over,
        controls=spec.controls,
        seed=spec.seed,
        answer_tokens=spec.answer_tokens,
        plan=Plan(**plans["means"]) if plans else None,
        check_stop=check_stop,
    )
    return (replace(task, plan=Plan(**plans["chunk"])) if plans else task), task.plan
