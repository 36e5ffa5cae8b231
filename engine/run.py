"""A whole experiment: prompts prepared, chunk after chunk of pairs patched, the result and its files assembled.

It knows no server: what is saved, published and cancelled comes in as functions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from contracts.errors import Refusal
from contracts.experiments import Progress
from contracts.results import DroppedPair, Partial, PartialMetric, PathPatchingResult
from contracts.specs import METHOD_VERSION, Metric, PathPatchingSpec
from engine.capture import check_fit
from engine.effects import FORMAT, PatchingEffects
from engine.files import artifacts_of, grid, patterns_file, result_of
from engine.methods.attention import attention_of
from engine.methods.path_patching import mean_of, plan_of
from engine.metrics import Summary
from engine.model import LoadedModel
from engine.patching import Measured, Patching, patch_pairs
from engine.plan import Plan, budget_of, sparing
from engine.sources import resampled
from engine.spot_check import spot_check
from prompts import EncodedPair, PromptSet, prepare

# Small enough that the first numbers appear within seconds, large enough for full speed.
_CHUNK_PAIRS = {"cpu": 16}
_CHUNK_PAIRS_GPU = 64
# Attention patterns are kept with the result up to this size, the first prompts first.
ATTENTION_BYTES = 64 * 2**20


class Stopped(Exception):
    """Somebody asked for an end in the middle of a chunk."""


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
    ``saved_chunks`` of an earlier attempt are taken as they are. Refuses prompts that cannot be read, and a set of
    which no pair is kept.
    """
    started = time.monotonic()
    asked = prepare(spec.prompts, model.text, model.chat if spec.prompts.chat else None)
    check_fit(model, asked.pairs)
    total = len(asked.pairs)
    step = _CHUNK_PAIRS.get(model.device.type, _CHUNK_PAIRS_GPU)
    on_progress(Progress(stage="pairs", done=0, total=total))
    # What was cut or computed otherwise, on another device perhaps, or by an older version, is computed again.
    made = _made(model)
    saved = {
        n: data
        for n, data in saved_chunks.items()
        if (head := _head(data)).get("made") == made and head["pairs"] == [n * step, min(n * step + step, total)]
    }

    def go_on() -> None:
        if should_stop():
            raise Stopped

    try:
        science = _Science(model, spec, asked, saved, go_on)
    except Stopped:
        return None
    tally, fresh, left, complete = _Tally(), 0, None, True

    for number, start in enumerate(range(0, total, step)):
        pairs = asked.pairs[start : start + step]
        data = saved.get(number)
        if data is None:
            at = 0

            def part_done(part: float, start: int = start, left: float | None = left) -> None:
                nonlocal at  # when memory ran out, some is done again
                go_on()
                layers = model.anatomy.layers
                at = max(at, int(part * layers + 1e-6))
                on_progress(Progress(stage="pairs", done=start, total=total, layer=at, layers=layers, eta_s=left))

            try:
                go_on()
                data = science.compute(start, len(pairs), part_done)
            except Stopped:
                complete = False
                break
            save_chunk(number, data)
            fresh += len(pairs)
        effects = _count(tally, model, data, pairs, start)
        done = start + len(pairs)
        left = (time.monotonic() - started) / fresh * (total - done) if fresh else None
        on_progress(Progress(stage="pairs", done=done, total=total, eta_s=left))
        if effects:
            on_partial(_running_means(tally, spec))

    if not tally.parts:
        if not complete:
            return None
        raise Refusal("none_kept", f"None of the {total} prompts is answered rightly by {model.card.id}.")
    on_progress(Progress(stage="saving", done=len(tally.kept) + len(tally.dropped), total=total))
    return _finish(model, spec, experiment_id, asked, tally, complete, science, clock, started, attention_bytes)


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
        chunks: Mapping[int, bytes],
        go_on: Callable[[], None],
    ) -> None:
        self._model, self._keep_wrong = model, spec.prompts.keep_wrong
        self._asked = Patching(spec.effect, spec.positions, spec.source, spec.direction, "probability" in spec.metrics)
        self.pairs = resampled(asked.pairs, spec.positions, 0) if spec.source == "resample" else asked.pairs
        self.budget = budget_of(model)
        if chunks:
            plans = _head(chunks[max(chunks)])["plans"]
            self.plan, mean_plan = Plan(**plans["chunk"]), Plan(**plans["means"])
        else:
            self.plan = mean_plan = plan_of(model, self.pairs, self._asked, asked.pairs)
        self.mean, self._mean_plan = mean_of(model, self.pairs, asked.pairs, self._asked, mean_plan, go_on)

    def compute(self, start: int, count: int, report: Callable[[float], None]) -> bytes:
        """One chunk: a line of JSON (its pairs, its plans, each pair's top token, which are kept), then the effects."""
        pairs = self.pairs[start : start + count]

        def measure(plan: Plan) -> Measured:
            return patch_pairs(
                self._model, pairs, self._asked, self.mean, plan, keep_wrong=self._keep_wrong, report=report
            )

        measured, self.plan = sparing(self.plan, measure)
        facts = {
            "pairs": [start, start + count],
            "made": _made(self._model),
            "plans": {"means": dataclasses.asdict(self._mean_plan), "chunk": dataclasses.asdict(self.plan)},
            "top": measured.top,
            "correct": measured.correct,
            "kept": measured.kept,
        }
        effects = b"" if measured.effects is None else measured.effects.to_bytes()
        return json.dumps(facts).encode() + b"\n" + effects


def _head(data: bytes) -> dict[str, Any]:
    return json.loads(data.partition(b"\n")[0])


def _made(model: LoadedModel) -> list[str]:
    """What moves the numbers of a chunk besides the spec, and how they are written."""
    return [model.card.revision, model.precision, model.device.type, str(METHOD_VERSION), FORMAT]


def _count(tally: _Tally, model: LoadedModel, data: bytes, pairs: Sequence[EncodedPair], start: int) -> bool:
    """Take a chunk into account; whether it has effects."""
    line, _, effects = data.partition(b"\n")
    head = json.loads(line)
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
    started: float,
    attention_bytes: int,
) -> RunOutput:
    effects = PatchingEffects.concatenate(tally.parts)
    kept = {index: science.pairs[index] for index in tally.kept}
    summaries: dict[Metric, Summary] = {metric: effects.summary(metric) for metric in spec.metrics}
    checked, _ = sparing(
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
        prompt_set_hash=_hash(asked),
        plan=science.plan,
        budget=science.budget,
        created_at=clock(),
        seconds=round(time.monotonic() - started, 3),
    )
    return RunOutput(result, artifacts_of(result, effects, summaries, patterns))


def _patterns(model: LoadedModel, kept: Mapping[int, EncodedPair], room: int) -> dict[int, torch.Tensor]:
    """Attention of the kept prompts' reference runs, as many as fit, by the prompt's place in the list asked for."""
    chosen = []
    for index, pair in kept.items():
        room -= model.anatomy.layers * model.anatomy.heads * len(pair.reference_ids) ** 2 * 4
        if room < 0:
            break
        chosen.append(index)
    prompts = [kept[index].reference_ids for index in chosen]
    patterns = attention_of(model, prompts, range(model.anatomy.layers))
    return {index: weights.float() for index, weights in zip(chosen, patterns, strict=True)}


def attention_file(
    model: LoadedModel, spec: PathPatchingSpec, prompt: int, prompt_set_hash: str | None = None
) -> bytes:
    """The attention of one prompt of a set, counted in the list asked for, as a result's file of patterns has it.

    Refuses (``out_of_range``) a prompt that the set does not have, and (``attention_not_stored``) a chat whose set is
    no longer the one of ``prompt_set_hash``.
    """
    prepared = prepare(spec.prompts, model.text, model.chat if spec.prompts.chat else None)
    if spec.prompts.chat and prompt_set_hash not in (None, _hash(prepared)):
        detail = "The attention of this prompt is not stored, and the model's chat template has changed since."
        raise Refusal("attention_not_stored", detail)
    asked = prepared.pairs
    if not 0 <= prompt < len(asked):
        raise Refusal("out_of_range", f"There is no prompt {prompt}; the set has {len(asked)}.")
    size = model.anatomy.layers * model.anatomy.heads * len(asked[prompt].reference_ids) ** 2 * 4
    if size > 4 * ATTENTION_BYTES:
        raise Refusal("attention_not_stored", f"The patterns of this prompt take {size / 2**20:.0f} MiB.")
    (weights,) = attention_of(model, [asked[prompt].reference_ids], range(model.anatomy.layers))
    return patterns_file({prompt: weights.float()})


def _hash(asked: PromptSet) -> str:
    """Of the texts and of the tokens that the model was given: the same texts are others in another chat template."""
    rows = [
        [p.pair.reference, p.pair.counterfactual, p.pair.answer, p.reference_ids, p.counterfactual_ids, p.answer_id]
        for p in asked.pairs
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
