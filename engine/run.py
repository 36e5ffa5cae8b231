"""A whole experiment: prompts prepared, chunk after chunk of pairs patched, the result and its files assembled.

It knows no server: what is saved, published and cancelled comes in as functions.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch

from contracts.errors import Refusal
from contracts.experiments import Metric, PathPatchingSpec, Progress
from contracts.results import DroppedPair, Partial, PartialMetric, PathPatchingResult
from engine.capture import check_fit
from engine.effects import PatchingEffects
from engine.files import artifacts_of, grid, patterns_file, result_of
from engine.methods.attention import attention_of
from engine.methods.path_patching import pairs_per_chunk, patch, prepare_pairs
from engine.metrics import Summary
from engine.model import LoadedModel
from engine.spot_check import spot_check
from prompts import EncodedPair, PromptSet, prepare

# Small enough that the first numbers appear within seconds, large enough for full speed.
_CHUNK_PAIRS = {"cpu": 16, "cuda": 64}
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
    if spec.effect == "total" or spec.source != "counterfactual" or spec.direction != "noising":
        raise Refusal("bad_request", f"The effect {spec.effect!r} from {spec.source!r} cannot be computed yet.")
    started = time.monotonic()
    asked = prepare(spec.prompts, model.text)
    check_fit(model, asked.pairs)
    total = len(asked.pairs)
    step = min(_CHUNK_PAIRS.get(model.device.type, 16), pairs_per_chunk(model))
    tally, fresh, left, complete = _Tally(), 0, None, True
    on_progress(Progress(stage="pairs", done=0, total=total))

    for number, start in enumerate(range(0, total, step)):
        pairs = asked.pairs[start : start + step]
        data = saved_chunks.get(number)
        if data is None or _pairs_in(data) != [start, start + len(pairs)]:  # cut otherwise, on another device perhaps

            def layer_done(layer: int, layers: int, start: int = start, left: float | None = left) -> None:
                if should_stop():
                    raise Stopped
                on_progress(Progress(stage="pairs", done=start, total=total, layer=layer, layers=layers, eta_s=left))

            try:
                if should_stop():
                    raise Stopped
                data = _compute(model, spec, pairs, start, layer_done)
            except Stopped:
                complete = False
                break
            save_chunk(number, data)
            fresh += len(pairs)
        _count(tally, model, data, pairs, start)
        done = start + len(pairs)
        left = (time.monotonic() - started) / fresh * (total - done) if fresh else None
        on_progress(Progress(stage="pairs", done=done, total=total, eta_s=left))
        if tally.parts:
            on_partial(_running_means(tally.parts, spec))

    if not tally.parts:
        if not complete:
            return None
        raise Refusal("none_kept", f"None of the {total} prompts is answered rightly by {model.card.id}.")
    on_progress(Progress(stage="saving", done=len(tally.kept) + len(tally.dropped), total=total))
    return _finish(model, spec, experiment_id, asked, tally, complete, step, clock, started, attention_bytes)


def _compute(
    model: LoadedModel,
    spec: PathPatchingSpec,
    pairs: Sequence[EncodedPair],
    start: int,
    layer_done: Callable[[int, int], None],
) -> bytes:
    """One chunk as bytes: a line of JSON (its pairs, each one's top token, which are kept), then the effects."""
    prepared = prepare_pairs(model, pairs)
    correct = prepared.correct.tolist()
    kept = [row for row, right in enumerate(correct) if right or spec.prompts.keep_wrong]
    facts = {"pairs": [start, start + len(pairs)], "top": prepared.top.tolist(), "correct": correct, "kept": kept}
    head = json.dumps(facts).encode()
    if not kept:
        return head + b"\n"
    chosen = prepared if len(kept) == len(pairs) else prepared.select(kept)
    effects = patch(model, chosen, spec.effect, "probability" in spec.metrics, layer_done)
    return head + b"\n" + effects.to_bytes()


def _pairs_in(data: bytes) -> list[int]:
    return json.loads(data.partition(b"\n")[0])["pairs"]


def _count(tally: _Tally, model: LoadedModel, data: bytes, pairs: Sequence[EncodedPair], start: int) -> None:
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


def _running_means(parts: Sequence[PatchingEffects], spec: PathPatchingSpec) -> Partial:
    effects = PatchingEffects.concatenate(parts)
    means = {}
    for metric in spec.metrics:
        heads, mlps = effects.values(metric)
        means[metric] = PartialMetric(heads=grid(heads.nanmean(0)), mlps=grid(mlps.nanmean(0)[None])[0])
    return Partial(n_pairs=len(effects), metrics=means)


def _finish(
    model: LoadedModel,
    spec: PathPatchingSpec,
    experiment_id: str,
    asked: PromptSet,
    tally: _Tally,
    complete: bool,
    chunk_pairs: int,
    clock: Callable[[], datetime],
    started: float,
    attention_bytes: int,
) -> RunOutput:
    effects = PatchingEffects.concatenate(tally.parts)
    kept = {index: asked.pairs[index] for index in tally.kept}
    summaries: dict[Metric, Summary] = {metric: effects.summary(metric) for metric in spec.metrics}
    checked = spot_check(model, list(kept.values()), effects)
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
        chunk_pairs=chunk_pairs,
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


def attention_file(model: LoadedModel, spec: PathPatchingSpec, prompt: int) -> bytes:
    """The attention of one prompt of a set, counted in the list asked for, as a result's file of patterns has it.

    Refuses (``out_of_range``) a prompt that the set does not have.
    """
    asked = prepare(spec.prompts, model.text).pairs
    if not 0 <= prompt < len(asked):
        raise Refusal("out_of_range", f"There is no prompt {prompt}; the set has {len(asked)}.")
    size = model.anatomy.layers * model.anatomy.heads * len(asked[prompt].reference_ids) ** 2 * 4
    if size > 4 * ATTENTION_BYTES:
        raise Refusal("attention_not_stored", f"The patterns of this prompt take {size / 2**20:.0f} MiB.")
    (weights,) = attention_of(model, [asked[prompt].reference_ids], range(model.anatomy.layers))
    return patterns_file({prompt: weights.float()})


def _hash(asked: PromptSet) -> str:
    texts = [[p.pair.reference, p.pair.counterfactual, p.pair.answer] for p in asked.pairs]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
