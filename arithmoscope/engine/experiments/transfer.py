"""A whole transfer: one chunk per set, first the sets that heads are found on, then the sets they are evaluated on.

Independent of any server: saving, publishing and cancelling are passed in as functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import torch
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.transfer import TransferResult, TransferSet, TransferSpec
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.results import Partial
from arithmoscope.engine.experiments.chunks import RunCallbacks, chunk_key, pack_chunk, reusable_chunks, unpack_chunk
from arithmoscope.engine.experiments.parent_analysis import ReadArtifact
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.forward.baseline import top_tokens
from arithmoscope.engine.interventions.head_sets import mean_effects, measure_column, most_negative, sets_of
from arithmoscope.engine.methods.transfer import Transfer, assembled
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import set_hash
from arithmoscope.engine.results.run_facts import RunFacts
from arithmoscope.engine.results.transfer_files import transfer_files, transfer_result
from arithmoscope.engine.serialization import pack, unpack
from arithmoscope.prompts import EncodedPair, PromptSet, prepare
from arithmoscope.prompts.sets.labels import has_arithmetic, labels_of
from arithmoscope.prompts.sets.operand_split import on_first_side
from arithmoscope.prompts.sets.prompt_sets import refuse_too_many

_FORMAT = "arithmoscope.transfer_set.1"
# Matrices of a transfer whose first axis, or both axes, are the sets of `found_on`.
_BOTH = ("jaccard", "rank_correlation")
_FIRST = tuple(
    f"{kind}{metric}{bound}"
    for metric in ("accuracy", "probability")
    for kind in ("", "control_")
    for bound in ("", "_low", "_high")
)


@dataclass(frozen=True)
class TransferOutput:
    """The result and all stored files, by name."""

    result: TransferResult
    artifacts: dict[str, bytes]


@dataclass
class _Tally:
    """The results of the sets so far; ``pairs``: number of measured pairs per set, in the order of the chunks."""

    pairs: list[int] = field(default_factory=list)
    effects: list[Tensor] = field(default_factory=list)
    columns: list[dict[str, Tensor]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_transfer(
    model: LoadedModel,
    spec: TransferSpec,
    experiment_id: str,
    *,
    parent: ReadArtifact | None = None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[Partial], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> TransferOutput | None:
    """Runs a transfer to its end; None if it is stopped early, since half a matrix is of no use.

    ``saved_chunks`` of an earlier attempt are reused. ``parent`` changes no number. Pairs that the model answers
    wrongly with nothing knocked out are dropped unless their set keeps them (``keep_wrong``); a set with too few pairs
    left has empty cells and a note. Raises Refusal if prompts cannot be read.
    """
    callbacks, tally = RunCallbacks(save_chunk, on_progress, should_stop), _Tally()
    prepared = _prompt_sets(model, spec)
    names = labels_of(list(prepared))
    order = (*spec.found_on, *spec.evaluated_on)
    parts = [(number,) for number in range(len(order))]
    on_progress(Progress(stage="sets", done=0, total=len(order)))
    digest = hashlib.sha256("".join(map(set_hash, prepared.values())).encode()).hexdigest()
    key = [*chunk_key(model, _FORMAT), digest]
    n_found = len(spec.found_on)

    def compute(number: int, report: Callable[[float], None]) -> bytes:
        prompts = order[number]
        first = number < n_found
        pairs, over, note = _measured_pairs(model, spec, prepared[prompts].pairs, prompts, first, callbacks.check_stop)
        if first:
            numbers = {"effects": _mean_effects(model, spec, pairs, report)}
        else:
            selections = _selections(model, spec, tally.effects)
            numbers = _evaluate(model, spec, pairs, over, selections, report, callbacks.check_stop)
        facts = {"pairs": len(pairs), "note": f"{names[prompts]}: {note}" if note else ""}
        return pack_chunk(parts[number], key, facts, pack(_FORMAT, numbers))

    def take(number: int, data: bytes) -> None:
        facts, numbers = unpack_chunk(data)
        tensors = unpack(numbers, _FORMAT)
        tally.pairs.append(facts["pairs"])
        tally.notes.extend(filter(None, [facts["note"]]))
        if number < n_found:
            tally.effects.append(tensors["effects"])
        else:
            tally.columns.append(tensors)

    def progress(done: int, _number: int, fraction: float) -> Progress:
        if fraction == 0:
            return Progress(stage="sets", done=done)
        layers = model.layout.layers
        return Progress(stage="sets", done=done, layer=int(fraction * layers), layers=layers)

    if not callbacks.run_chunks(parts, reusable_chunks(saved_chunks, parts, key), compute, take, progress):
        return None
    on_progress(Progress(stage="saving", done=len(order), total=len(order)))
    sizes = tally.pairs[:n_found], tally.pairs[n_found:]
    labels = [[names[prompts] for prompts in sets] for sets in (spec.found_on, spec.evaluated_on)]
    transfer = assembled(
        model,
        metric=spec.metric,
        ablation=spec.ablation,
        found_on=dict(zip(labels[0], sizes[0], strict=True)),
        evaluated_on=dict(zip(labels[1], sizes[1], strict=True)),
        selections=_selections(model, spec, tally.effects),
        effects=tally.effects,
        columns=tally.columns,
    )
    transfer = _without_unmeasured(transfer)
    set_rows = [
        tuple(
            TransferSet(name=name, pairs=size, is_control=not has_arithmetic(prompts))
            for prompts, name, size in zip(sets, labels[side], sizes[side], strict=True)
        )
        for side, sets in enumerate((spec.found_on, spec.evaluated_on))
    ]
    facts = RunFacts(
        model=model,
        experiment_id=experiment_id,
        prompt_set_hash=digest,
        notes=(*_notes(spec, prepared, names), *tally.notes),
        complete=True,
        created_at=clock(),
        seconds=callbacks.seconds,
        chunk_pairs=max(tally.pairs),
    )
    result = transfer_result(facts, spec, transfer, set_rows)
    return TransferOutput(result, transfer_files(result, transfer))


def _prompt_sets(model: LoadedModel, spec: TransferSpec) -> dict[PromptsSpec, PromptSet]:
    """Every set, prepared once."""
    prepared: dict[PromptsSpec, PromptSet] = {}
    for prompts in (*spec.found_on, *spec.evaluated_on):
        if prompts not in prepared:
            prepared[prompts] = prepare(prompts, model.text, model.chat if prompts.chat else None)
            check_fit(model, prepared[prompts].pairs)
            refuse_too_many(sum(len(each.pairs) for each in prepared.values()))
    return prepared


def _measured_pairs(
    model: LoadedModel,
    spec: TransferSpec,
    pairs: Sequence[EncodedPair],
    prompts: PromptsSpec,
    first: bool,
    check_stop: Callable[[], None],
) -> tuple[list[EncodedPair], list[EncodedPair], str]:
    """The measured pairs of a set on its side of the operands, the pairs that a mean is over, and a note on both."""
    kept, note = _kept_pairs(model, spec, pairs, prompts, first, check_stop)
    if first or not kept or spec.ablation == "zero":
        return kept, kept, note
    if spec.ablation == "mean" and spec.disjoint:
        # Other prompts than the evaluated ones, of the same form.
        others, _ = _kept_pairs(model, spec, pairs, prompts, True, check_stop)
        if others:
            return kept, others, note
        note = f"{note} The mean is over these prompts themselves.".strip()
    kinds = len({pair.question if spec.ablation == "resample" else pair.reference_ids for pair in kept})
    if kinds < 2:
        return [], [], f"{note} Too few are left for the ablation {spec.ablation!r}.".strip()
    return kept, kept, note


def _kept_pairs(
    model: LoadedModel,
    spec: TransferSpec,
    pairs: Sequence[EncodedPair],
    prompts: PromptsSpec,
    first: bool,
    check_stop: Callable[[], None],
) -> tuple[list[EncodedPair], str]:
    """The pairs of one side of a set, without wrongly answered ones unless kept, and a note with the counts."""
    side = [pair for pair in pairs if not spec.disjoint or on_first_side(pair.pair) == first]
    kept = side
    if not prompts.keep_wrong:
        tops = top_tokens(model, side, check_stop)
        kept = [pair for pair, top in zip(side, tops, strict=True) if top == pair.answer_id]
    note = "" if len(kept) == len(side) else f"{len(kept)} of {len(side)} pairs are answered correctly."
    return kept, note


def _mean_effects(
    model: LoadedModel, spec: TransferSpec, pairs: Sequence[EncodedPair], report: Callable[[float], None]
) -> Tensor:
    if not pairs:
        components = model.layout.layers * (model.layout.heads + 1)
        return torch.full((components,), torch.nan, dtype=torch.float64)
    return mean_effects(model, pairs, spec.effect, spec.metric, report=report)


def _selections(model: LoadedModel, spec: TransferSpec, effects: Sequence[Tensor]) -> list[tuple[Component, ...]]:
    shape = model.layout.layers, model.layout.heads + 1
    return [most_negative(each.view(shape), spec.top_k) for each in effects]


def _evaluate(
    model: LoadedModel,
    spec: TransferSpec,
    pairs: Sequence[EncodedPair],
    over: Sequence[EncodedPair],
    selections: Sequence[Sequence[Component]],
    report: Callable[[float], None],
    check_stop: Callable[[], None],
) -> dict[str, Tensor]:
    if not pairs:
        plain = {f"plain_{metric}": torch.tensor(torch.nan).double() for metric in ("accuracy", "probability")}
        empty = torch.full((len(selections),), torch.nan, dtype=torch.float64)
        return plain | {name: empty.clone() for name in _FIRST}
    sets = sets_of(model, selections, spec.controls, spec.seed)
    settings = (spec.ablation, spec.seed)
    return measure_column(
        model, pairs, sets, len(selections), *settings, report=report, over=over, check_stop=check_stop
    )


def _without_unmeasured(transfer: Transfer) -> Transfer:
    """Empties the rows of sets on which nothing was measured: these are not the effects of an empty selection."""
    rows = transfer.effects.isnan().all(1)
    if not bool(rows.any()):
        return transfer
    changed = {name: getattr(transfer, name).masked_fill(rows[:, None], torch.nan) for name in (*_FIRST, *_BOTH)}
    changed |= {name: changed[name].masked_fill(rows[None], torch.nan) for name in _BOTH}
    return replace(transfer, **changed)


def _notes(
    spec: TransferSpec, prepared: Mapping[PromptsSpec, PromptSet], names: Mapping[PromptsSpec, str]
) -> tuple[str, ...]:
    same = () if spec.disjoint else ("Heads are found and evaluated on the same operands.",)
    over = "the other half of each set" if spec.disjoint else "the evaluated prompts themselves"
    mean = (f"The mean is over {over}.",) if spec.ablation == "mean" else ()
    return (*same, *mean, *(f"{names[prompts]}: {note}" for prompts, each in prepared.items() for note in each.notes))
