"""A whole knock-out: its components out of the analysis that it is asked of, its pairs in chunks, its result and files.

It knows no server: what is saved, published and cancelled comes in as functions, and so does what is stored of the
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
from arithmoscope.contracts.knockout_results import KnockoutResult
from arithmoscope.contracts.results import DroppedPair, Partial
from arithmoscope.contracts.specs import DEFAULT_TOP_K, KnockoutSpec, PathPatchingSpec
from arithmoscope.engine.experiments.chunks import Course, Stopped, chunk_pairs, made_of, opened, packed, usable
from arithmoscope.engine.experiments.parent_analysis import Analysis, Read, prepared_again, read_analysis, read_effects
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.forward.baseline import top_tokens, wrong_answer
from arithmoscope.engine.forward.batching import Plan, budget_of, retry_on_oom
from arithmoscope.engine.measures.key_components import key_components
from arithmoscope.engine.measures.knockout_result import FORMAT, Knockout
from arithmoscope.engine.methods.knockout import Task, knock_chunk, knockout_task
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import set_hash
from arithmoscope.engine.results.knockout_check import knock_check
from arithmoscope.engine.results.knockout_files import knockout_files, knockout_result
from arithmoscope.prompts import EncodedPair, PromptSet, prepare
from arithmoscope.prompts.sets.operand_split import operands_of


@dataclass(frozen=True)
class KnockoutOutput:
    """The result and everything that is kept of it, by file name."""

    result: KnockoutResult
    artifacts: dict[str, bytes]


@dataclass(frozen=True)
class _Sets:
    """What is asked, all that the analysis asked, and what the mean is over: None where it is over what is measured."""

    asked: PromptSet
    known: tuple[EncodedPair, ...]
    over: tuple[EncodedPair, ...] | None

    def made_of(self, model: LoadedModel, components: Sequence[str]) -> list[str]:
        """What moves the numbers of a chunk besides the spec: an analysis may have been repeated since."""
        over = json.dumps([pair.reference_ids for pair in self.over or ()])
        means = hashlib.sha256(over.encode()).hexdigest()
        return [*made_of(model, FORMAT), set_hash(self.asked), means, " ".join(components)]


@dataclass(frozen=True)
class _Kept:
    """The pairs that are measured, those that are not, and which ask what the analysis asked about."""

    pairs: tuple[EncodedPair, ...]
    indices: tuple[int, ...]
    dropped: tuple[DroppedPair, ...]
    shared: frozenset[int]


def run_knockout(
    model: LoadedModel,
    spec: KnockoutSpec,
    experiment_id: str,
    *,
    parent: Read | None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[Partial], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> KnockoutOutput | None:
    """Run a knock-out to its end, or until ``should_stop``.

    ``parent`` reads what is stored of the analysis. A stopped run gives the result over the finished chunks
    (``result.complete`` is false), or None if there is none. ``saved_chunks`` of an earlier attempt are taken as they
    are; there are no partial results on the way (``on_partial``).

    Refuses an analysis of other weights (``model_changed``), one without components to take out (``no_components``),
    prompts that cannot be read, and a set of which no pair is left (``none_kept``).
    """
    if parent is None:
        raise ValueError("a knock-out is asked of an analysis")
    course = Course(save_chunk, on_progress, should_stop)
    analysis = read_analysis(parent)
    if analysis.revision != model.card.revision:
        raise Refusal("model_changed", f"{model.card.name} has other weights than the analysis is of.")
    components = _components(spec, analysis.spec, parent)
    sets = _read(model, spec, analysis)
    asked, made = sets.asked, sets.made_of(model, components)
    # What is finished is worth a result, and a result needs its pairs and its means.
    go_on = course.go_on if not saved_chunks else lambda: None
    on_progress(Progress(stage="pairs", done=0, total=len(asked.pairs)))
    try:
        kept = _kept(model, spec, sets, analysis, go_on)
        parts = _parts(kept.indices, chunk_pairs(model))
        saved = usable(saved_chunks, parts, made)
        task, means_plan = _task(model, spec, kept.pairs, sets.over, components, saved, go_on)
    except Stopped:
        return None
    budget, found = budget_of(model), list[Knockout]()

    def compute(number: int, report: Callable[[float], None]) -> bytes:
        nonlocal task
        start = number * chunk_pairs(model)
        some, task = knock_chunk(model, task, start, start + len(parts[number]), report=report)
        plans = {"means": dataclasses.asdict(means_plan), "chunk": dataclasses.asdict(task.plan)}
        return packed(parts[number], made, {"plans": plans}, some.to_bytes())

    def progress(done: int, number: int, fraction: float) -> Progress:
        return Progress(stage="pairs", done=done + int(fraction * len(parts[number])))

    complete = course.through(
        parts, saved, compute, lambda _, data: found.append(Knockout.from_bytes(opened(data)[1])), progress
    )
    if not found:
        return None
    whole = Knockout.concatenate(found)
    on_progress(Progress(stage="saving", done=len(whole), total=len(kept.pairs)))
    checked, _ = retry_on_oom(task.plan, lambda _: knock_check(model, task, whole))
    result = knockout_result(
        model=model,
        spec=spec,
        experiment_id=experiment_id,
        found=whole,
        checked=checked,
        complete=complete,
        n_asked=len(asked.pairs),
        n_distinct=asked.n_distinct,
        shared_questions=sum(index in kept.shared for index in kept.indices[: len(whole)]),
        notes=(*asked.notes, *_notes(spec, sets, kept)),
        dropped=kept.dropped,
        prompt_set_hash=set_hash(asked),
        plan=task.plan,
        budget=budget,
        created_at=clock(),
        seconds=course.seconds,
    )
    return KnockoutOutput(result, knockout_files(result, whole))


def _components(spec: KnockoutSpec, asked: PathPatchingSpec, parent: Read) -> tuple[str, ...]:
    """Those that the spec names, or those that hurt most when they are taken away."""
    if spec.components is not None:
        return spec.components
    effects = read_effects(parent)
    # Where parts were put back, what restores most is what is wanted.
    effects = effects.turned() if asked.direction == "denoising" else effects
    top_k = spec.top_k or DEFAULT_TOP_K
    key = key_components(effects, rule="top_k", metric=spec.metric, top_k=top_k, kind=spec.among)
    if not key.components:
        raise Refusal("no_components", f"By {spec.metric}, taking away no single one of them hurts the answer.")
    return tuple(str(component) for component in key.components)


def _read(model: LoadedModel, spec: KnockoutSpec, analysis: Analysis) -> _Sets:
    parents = prepared_again(model, analysis)
    own = spec.prompts
    asked = parents if own is None else prepare(own, model.text, model.chat if own.chat else None)
    check_fit(model, asked.pairs)
    kept = tuple(parents.pairs[index] for index in analysis.kept)
    # Position by position a mean needs prompts of the same length, which only the set itself is sure to have.
    elsewhere = own is not None and spec.ablation == "mean" and spec.positions == "end"
    return _Sets(asked, parents.pairs, kept if elsewhere else None)


def _notes(spec: KnockoutSpec, sets: _Sets, kept: _Kept) -> tuple[str, ...]:
    """What the mean is over: other prompts than those that are judged, if there are such."""
    if spec.ablation != "mean":
        return ()
    if sets.over is None:
        alike = "" if spec.positions == "end" else ", at each position over those of equal length"
        return (f"The mean is over these prompts themselves{alike}.",)
    over = {pair.reference_ids for pair in sets.over}
    same = sum(pair.reference_ids in over for pair in kept.pairs)
    among = f"; {same} of those judged are among them" if same else ""
    return (f"The mean is over the {len(sets.over)} prompts of the analysis{among}.",)


def _kept(model: LoadedModel, spec: KnockoutSpec, sets: _Sets, analysis: Analysis, go_on: Callable[[], None]) -> _Kept:
    asked = sets.asked
    known = {operands_of(pair.pair) for pair in sets.known}
    shared = frozenset(index for index, pair in enumerate(asked.pairs) if operands_of(pair.pair) in known)
    dropped = [
        _left_out(asked, index, "The analysis asked about the same operands.")
        for index in sorted(shared)
        if spec.disjoint
    ]
    left = [index for index in range(len(asked.pairs)) if not (spec.disjoint and index in shared)]
    prompts = spec.prompts or analysis.spec.prompts
    if not prompts.keep_wrong:
        tops = top_tokens(model, [asked.pairs[index] for index in left], go_on)
        said = dict(zip(left, tops, strict=True))
        dropped += [
            wrong_answer(model, index, asked.pairs[index], said[index])
            for index in left
            if said[index] != asked.pairs[index].answer_id
        ]
        left = [index for index in left if said[index] == asked.pairs[index].answer_id]
    if spec.positions != "end":
        alone = _alone(spec, asked, left)
        dropped += [_left_out(asked, index, "No other prompt that is left has as many tokens.") for index in alone]
        left = [index for index in left if index not in set(alone)]
    if not left:
        raise Refusal(
            "none_kept", f"None of the {len(asked.pairs)} prompts is left that {model.card.id} answers rightly."
        )
    pairs = tuple(asked.pairs[index] for index in left)
    return _Kept(pairs, tuple(left), tuple(sorted(dropped, key=lambda pair: pair.index)), shared)


def _left_out(asked: PromptSet, index: int, reason: str) -> DroppedPair:
    pair = asked.pairs[index].pair
    return DroppedPair(index=index, reference=pair.reference, answer=pair.answer, reason=reason)


def _alone(spec: KnockoutSpec, asked: PromptSet, left: Sequence[int]) -> list[int]:
    """Pairs whose length no other prompt has: position by position they have no mean, and none to draw from."""
    if spec.ablation == "zero":
        return []
    kinds: dict[int, set[Hashable]] = defaultdict(set)
    for pair in (asked.pairs[index] for index in left):
        kinds[len(pair.reference_ids)].add(pair.question if spec.ablation == "resample" else pair.reference_ids)
    return [index for index in left if len(kinds[len(asked.pairs[index].reference_ids)]) < 2]


def _parts(indices: Sequence[int], step: int) -> list[Sequence[int]]:
    return [indices[start : start + step] for start in range(0, len(indices), step)]


def _task(
    model: LoadedModel,
    spec: KnockoutSpec,
    pairs: Sequence[EncodedPair],
    over: Sequence[EncodedPair] | None,
    components: Sequence[str],
    saved: Mapping[int, bytes],
    go_on: Callable[[], None],
) -> tuple[Task, Plan]:
    """One that is taken up again takes its means under the plan that they were first taken under, and goes on under the
    plan of its last chunk: so it ends with the same bits. The task, and the plan of its means."""
    plans = opened(saved[max(saved)])[0]["plans"] if saved else None
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
        check_stop=go_on,
    )
    return (replace(task, plan=Plan(**plans["chunk"])) if plans else task), task.plan
