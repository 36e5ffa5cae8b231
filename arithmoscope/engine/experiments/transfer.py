"""A whole transfer: every set in turn, one a chunk; first those that heads are found on, then those they are judged on.

It knows no server: what is saved, published and cancelled comes in as functions.
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
from arithmoscope.contracts.knockout_results import TransferResult, TransferSet
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.results import Partial
from arithmoscope.contracts.specs import TransferSpec
from arithmoscope.engine.experiments.chunks import Course, made_of, opened, packed, usable
from arithmoscope.engine.experiments.parent_analysis import Read
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.forward.baseline import top_tokens
from arithmoscope.engine.methods.transfer import Transfer, assembled, judged_on, mean_effects, most_negative, sets_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import set_hash
from arithmoscope.engine.results.transfer_files import transfer_files, transfer_result
from arithmoscope.engine.serialization import pack, unpack
from arithmoscope.prompts import EncodedPair, PromptSet, prepare
from arithmoscope.prompts.sets.labels import has_arithmetic, labels_of
from arithmoscope.prompts.sets.operand_split import on_first_side
from arithmoscope.prompts.sets.prompt_sets import refuse_too_many

_FORMAT = "arithmoscope.transfer_set.1"
# Axes of a transfer's matrices that are sets of `found_on`: the first of all, both of these.
_BOTH = ("jaccard", "rank_correlation")
_FIRST = tuple(
    f"{kind}{metric}{bound}"
    for metric in ("accuracy", "probability")
    for kind in ("", "control_")
    for bound in ("", "_low", "_high")
)


@dataclass(frozen=True)
class TransferOutput:
    """The result and everything that is kept of it, by file name."""

    result: TransferResult
    artifacts: dict[str, bytes]


@dataclass
class _Tally:
    """What the sets so far have given; ``pairs``: how many of each were measured, in the order of the parts."""

    pairs: list[int] = field(default_factory=list)
    effects: list[Tensor] = field(default_factory=list)
    columns: list[dict[str, Tensor]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_transfer(
    model: LoadedModel,
    spec: TransferSpec,
    experiment_id: str,
    *,
    parent: Read | None = None,
    saved_chunks: Mapping[int, bytes],
    save_chunk: Callable[[int, bytes], None],
    on_progress: Callable[[Progress], None],
    on_partial: Callable[[Partial], None],
    should_stop: Callable[[], bool],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> TransferOutput | None:
    """Run a transfer to its end; None where it was stopped before: half a matrix says nothing.

    ``saved_chunks`` of an earlier attempt are taken as they are. ``parent`` moves no number. Pairs that the model
    answers wrongly with nothing out are left out of a set that says so (``keep_wrong``); a set of which too few are
    left has empty cells, and a note. Refuses prompts that cannot be read.
    """
    course, tally = Course(save_chunk, on_progress, should_stop), _Tally()
    asked = _read(model, spec)
    names = labels_of(list(asked))
    order = (*spec.found_on, *spec.evaluated_on)
    parts = [(number,) for number in range(len(order))]
    on_progress(Progress(stage="sets", done=0, total=len(order)))
    digest = hashlib.sha256("".join(map(set_hash, asked.values())).encode()).hexdigest()
    made = [*made_of(model, _FORMAT), digest]
    n_found = len(spec.found_on)

    def compute(number: int, report: Callable[[float], None]) -> bytes:
        prompts = order[number]
        first = number < n_found
        pairs, over, note = _measured(model, spec, asked[prompts].pairs, prompts, first, course.go_on)
        if first:
            numbers = {"effects": _found(model, spec, pairs, report)}
        else:
            chosen = _selections(model, spec, tally.effects)
            numbers = _judged(model, spec, pairs, over, chosen, report, course.go_on)
        facts = {"pairs": len(pairs), "note": f"{names[prompts]}: {note}" if note else ""}
        return packed(parts[number], made, facts, pack(_FORMAT, numbers))

    def take(number: int, data: bytes) -> None:
        facts, numbers = opened(data)
        held = unpack(numbers, _FORMAT)
        tally.pairs.append(facts["pairs"])
        tally.notes.extend(filter(None, [facts["note"]]))
        if number < n_found:
            tally.effects.append(held["effects"])
        else:
            tally.columns.append(held)

    def progress(done: int, _number: int, fraction: float) -> Progress:
        if fraction == 0:
            return Progress(stage="sets", done=done)
        layers = model.layout.layers
        return Progress(stage="sets", done=done, layer=int(fraction * layers), layers=layers)

    if not course.through(parts, usable(saved_chunks, parts, made), compute, take, progress):
        return None
    on_progress(Progress(stage="saving", done=len(order), total=len(order)))
    sizes = tally.pairs[:n_found], tally.pairs[n_found:]
    labels = [[names[prompts] for prompts in sets] for sets in (spec.found_on, spec.evaluated_on)]
    found = assembled(
        model,
        metric=spec.metric,
        ablation=spec.ablation,
        found_on=dict(zip(labels[0], sizes[0], strict=True)),
        evaluated_on=dict(zip(labels[1], sizes[1], strict=True)),
        selections=_selections(model, spec, tally.effects),
        effects=tally.effects,
        columns=tally.columns,
    )
    found = _without_unmeasured(found)
    told = [
        tuple(
            TransferSet(name=name, pairs=size, is_control=not has_arithmetic(prompts))
            for prompts, name, size in zip(sets, labels[side], sizes[side], strict=True)
        )
        for side, sets in enumerate((spec.found_on, spec.evaluated_on))
    ]
    result = transfer_result(
        model=model,
        spec=spec,
        experiment_id=experiment_id,
        found=found,
        sets=(told[0], told[1]),
        notes=(*_notes(spec, asked, names), *tally.notes),
        prompt_set_hash=digest,
        created_at=clock(),
        seconds=course.seconds,
    )
    return TransferOutput(result, transfer_files(result, found))


def _read(model: LoadedModel, spec: TransferSpec) -> dict[PromptsSpec, PromptSet]:
    """Every set, prepared once."""
    asked: dict[PromptsSpec, PromptSet] = {}
    for prompts in (*spec.found_on, *spec.evaluated_on):
        if prompts not in asked:
            asked[prompts] = prepare(prompts, model.text, model.chat if prompts.chat else None)
            check_fit(model, asked[prompts].pairs)
            refuse_too_many(sum(len(each.pairs) for each in asked.values()))
    return asked


def _measured(
    model: LoadedModel,
    spec: TransferSpec,
    pairs: Sequence[EncodedPair],
    prompts: PromptsSpec,
    first: bool,
    go_on: Callable[[], None],
) -> tuple[list[EncodedPair], list[EncodedPair], str]:
    """The pairs of a set on its side that are measured, those that a mean is over, and what there is to say of both."""
    kept, said = _answered(model, spec, pairs, prompts, first, go_on)
    if first or not kept or spec.ablation == "zero":
        return kept, kept, said
    if spec.ablation == "mean" and spec.disjoint:
        # Other prompts than those that are judged, and of the same form.
        others, _ = _answered(model, spec, pairs, prompts, True, go_on)
        if others:
            return kept, others, said
        said = f"{said} The mean is over these prompts themselves.".strip()
    kinds = len({pair.question if spec.ablation == "resample" else pair.reference_ids for pair in kept})
    if kinds < 2:
        return [], [], f"{said} Too few are left for the ablation {spec.ablation!r}.".strip()
    return kept, kept, said


def _answered(
    model: LoadedModel,
    spec: TransferSpec,
    pairs: Sequence[EncodedPair],
    prompts: PromptsSpec,
    first: bool,
    go_on: Callable[[], None],
) -> tuple[list[EncodedPair], str]:
    """The pairs of one side of a set, less those answered wrongly where these are not wanted; how many there are."""
    mine = [pair for pair in pairs if not spec.disjoint or on_first_side(pair.pair) == first]
    kept = mine
    if not prompts.keep_wrong:
        tops = top_tokens(model, mine, go_on)
        kept = [pair for pair, top in zip(mine, tops, strict=True) if top == pair.answer_id]
    said = "" if len(kept) == len(mine) else f"{len(kept)} of {len(mine)} pairs are answered rightly."
    return kept, said


def _found(
    model: LoadedModel, spec: TransferSpec, pairs: Sequence[EncodedPair], report: Callable[[float], None]
) -> Tensor:
    if not pairs:
        components = model.layout.layers * (model.layout.heads + 1)
        return torch.full((components,), torch.nan, dtype=torch.float64)
    return mean_effects(model, pairs, spec.effect, spec.metric, report=report)


def _selections(model: LoadedModel, spec: TransferSpec, effects: Sequence[Tensor]) -> list[tuple[Component, ...]]:
    shape = model.layout.layers, model.layout.heads + 1
    return [most_negative(each.view(shape), spec.top_k) for each in effects]


def _judged(
    model: LoadedModel,
    spec: TransferSpec,
    pairs: Sequence[EncodedPair],
    over: Sequence[EncodedPair],
    selections: Sequence[Sequence[Component]],
    report: Callable[[float], None],
    go_on: Callable[[], None],
) -> dict[str, Tensor]:
    if not pairs:
        plain = {f"plain_{metric}": torch.tensor(torch.nan).double() for metric in ("accuracy", "probability")}
        nothing = torch.full((len(selections),), torch.nan, dtype=torch.float64)
        return plain | {name: nothing.clone() for name in _FIRST}
    sets = sets_of(model, selections, spec.controls, spec.seed)
    asked = (spec.ablation, spec.seed)
    return judged_on(model, pairs, sets, len(selections), *asked, report=report, over=over, check_stop=go_on)


def _without_unmeasured(found: Transfer) -> Transfer:
    """A set that nothing was measured on has selected nothing: its rows are empty, not those of an empty selection."""
    rows = found.effects.isnan().all(1)
    if not bool(rows.any()):
        return found
    changed = {name: getattr(found, name).masked_fill(rows[:, None], torch.nan) for name in (*_FIRST, *_BOTH)}
    changed |= {name: changed[name].masked_fill(rows[None], torch.nan) for name in _BOTH}
    return replace(found, **changed)


def _notes(
    spec: TransferSpec, asked: Mapping[PromptsSpec, PromptSet], names: Mapping[PromptsSpec, str]
) -> tuple[str, ...]:
    same = () if spec.disjoint else ("Heads are found and judged on the same operands.",)
    over = "the other half of each set" if spec.disjoint else "the judged prompts themselves"
    mean = (f"The mean is over {over}.",) if spec.ablation == "mean" else ()
    return (*same, *mean, *(f"{names[prompts]}: {note}" for prompts, each in asked.items() for note in each.notes))
