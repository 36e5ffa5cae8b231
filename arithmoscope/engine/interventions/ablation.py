"""Sets of components knocked out together: many sets at once, on one wave over the layers.

A row is a set. Two rows whose sets agree below a layer are the same run up to there, so that the second one is a copy
of the first, made at the layer where they part: rows of one nested order (k = 0, 1, 2, ...) part one after the other,
and a row that knocks nothing out before layer l costs nothing before layer l. Row 0 knocks nothing out; it is carried
all the same, and its distance to the plain run is the noise.

Everything after the first component that is out is recomputed, attention included: at the positions that are followed,
with the keys and values of the earlier ones, which all rows share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation, KnockPositions
from arithmoscope.contracts.specs import Positions
from arithmoscope.engine.forward.activations import end_states
from arithmoscope.engine.forward.batching import UNEMBED_SHARE, Plan
from arithmoscope.engine.forward.cached_run import Run, run_from
from arithmoscope.engine.forward.hooks import evaluating, on_input
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.interventions.paired_runs import PreparedPairs, prepare_pairs
from arithmoscope.engine.interventions.replacements import Means, Writes
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

Report = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Forks:
    """How rows part. ``sets`` is what each row knocks out, row 0 nothing, components layer by layer.

    order   rows in the order in which they part from an earlier one; row 0 first
    births  the layer at which each of ``order`` parts
    parents place in ``order`` of the row that it parts from
    places  of every row of ``sets``: its place in ``order``; equal sets share one
    """

    sets: Bool[Tensor, "row layer component"]
    order: tuple[int, ...]
    births: tuple[int, ...]
    parents: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def evaluations(self) -> int:
        """Layers that are computed, over all rows, row 0 apart."""
        return sum(self.sets.shape[1] - birth for birth in self.births[1:])


def forks_of(sets: Bool[Tensor, "row layer component"]) -> Forks:
    """Where the rows part; a row that knocks nothing out is put in front of them."""
    whole = torch.cat([sets.new_zeros(1, *sets.shape[1:]), sets])
    layers, width = whole.shape[1:]
    keys = [key.tobytes() for key in whole.flatten(1).to(torch.uint8).numpy()]
    # The first row of each beginning of a set; the length of a beginning says up to which layer it goes.
    first = {keys[0][: layer * width]: 0 for layer in range(layers + 1)}
    born: list[tuple[int, int, int]] = []  # layer, row, the row it parts from
    same: list[int] = []
    for row, key in enumerate(keys[1:], start=1):
        known = 0
        for layer in range(layers):
            before, known = known, first.setdefault(key[: (layer + 1) * width], row)
            if known == row and before != row:
                born.append((layer, row, before))
        same.append(known)
    born.sort()
    order = (0, *(row for _, row, _ in born))
    place = {row: at for at, row in enumerate(order)}
    return Forks(
        sets=whole,
        order=order,
        births=(-1, *(layer for layer, _, _ in born)),
        parents=(0, *(place[parent] for _, _, parent in born)),
        places=tuple(place[row] for row in same),
    )


@dataclass(frozen=True, eq=False)
class KnockoutOutputs:
    """What the model says at END, a row a set; row 0 knocks nothing out. On the CPU.

    logits       of the answer and of the best competing number of the reference run
    probability  of the answer
    correct      whether the answer is the top token
    """

    logits: Float[Tensor, "row pair 2"]
    probability: Float[Tensor, "row pair"]
    correct: Bool[Tensor, "row pair"]
    reference: Float[Tensor, "pair 2"]
    columns: Int[Tensor, "pair 2"]


def masks_of(sets: Sequence[Sequence[Component]], layers: int, heads: int) -> Bool[Tensor, "row layer component"]:
    """Sets as marks on the components of a model, a layer's heads before its MLP."""
    marks = torch.zeros(len(sets), layers, heads + 1, dtype=torch.bool)
    for row, components in enumerate(sets):
        for component in components:
            marks[row, component.layer, heads if component.head is None else component.head] = True
    return marks


@torch.no_grad()
def knock_out_pairs(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    sets: Bool[Tensor, "row layer component"],
    ablation: Ablation,
    positions: KnockPositions,
    mean: Means | None,
    plan: Plan,
    report: Report = lambda _fraction: None,
) -> KnockoutOutputs:
    """Every set on every pair, ``plan.components`` sets and ``plan.pairs`` pairs at once.

    ``ablation`` resample: the pairs' counterfactuals are what is put in their place (`sources.resampled`).
    ``report(fraction)``: how much is done. Refuses (``not_finite``) a model whose logits are not finite.
    """
    n, rows = len(encoded), len(sets)
    found = KnockoutOutputs(
        logits=torch.empty(1 + rows, n, 2, dtype=model.work_dtype),
        probability=torch.empty(1 + rows, n, dtype=model.work_dtype),
        correct=torch.empty(1 + rows, n, dtype=torch.bool),
        reference=torch.empty(n, 2, dtype=model.work_dtype),
        columns=torch.empty(n, 2, dtype=torch.long),
    )
    some_sets = [forks_of(part) for part in sets.split(plan.components)]
    groups = [
        group[start : start + (1 if model.runs_alone else plan.pairs)]
        for group in by_length(encoded)
        for start in range(0, len(group), 1 if model.runs_alone else plan.pairs)
    ]
    total = sum(len(group) * (1 + forks.evaluations) for group in groups for forks in some_sets)
    done = 0
    with evaluating(model.hf):
        for group in groups:
            pairs = [encoded[row] for row in group]
            prepared = prepare_pairs(model, pairs, plan.tokens)
            run, donor = run_and_donor(model, prepared, ablation, positions, mean, plan)
            found.reference[group], found.columns[group] = prepared.reference_logits.cpu(), prepared.columns.cpu()
            at = 1
            for forks in some_sets:

                def layer_done(more: int, size: int = len(group)) -> None:
                    nonlocal done
                    done += more * size
                    report(done / total)

                x = _carry(model, run, donor, forks, plan.rows, layer_done)
                said = _read_out(model, run, x, prepared.columns, plan)
                places = torch.tensor([0, *forks.places])
                into = torch.tensor([0, *range(at, at + len(forks.places))])
                for target, values in zip((found.logits, found.probability, found.correct), said, strict=True):
                    target[into[:, None], torch.tensor(group)] = values[places]
                at += len(forks.places)
                done += len(group)
    if not bool(found.logits.isfinite().all()):
        raise Refusal("not_finite", "The logits of the knocked-out runs are not finite.")
    return found


def replacement_positions(positions: KnockPositions) -> Positions:
    """Whether what is put in the place of a component is looked up at END or position by position."""
    return "end" if positions == "end" else "all"


def first_position(positions: KnockPositions, length: int) -> int:
    """The first position of a prompt of ``length`` tokens at which components are out."""
    return {"end": length - 1, "all": 0, "after_first": min(1, length - 1)}[positions]


def by_length(encoded: Sequence[EncodedPair]) -> list[list[int]]:
    """Pairs whose prompts have one length: what attends must."""
    groups: dict[int, list[int]] = defaultdict(list)
    for row, pair in enumerate(encoded):
        groups[len(pair.reference_ids)].append(row)
    return list(groups.values())


def run_and_donor(
    model: LoadedModel,
    prepared: PreparedPairs,
    ablation: Ablation,
    positions: KnockPositions,
    mean: Means | None,
    plan: Plan,
) -> tuple[Run, Writes]:
    """The reference run from the first position that is followed, and what is put in a component's place there, a row a
    position of a pair; where nothing is out, what the run itself wrote."""
    encoded = prepared.encoded
    n, length = len(encoded), len(encoded[0].reference_ids)
    first = first_position(positions, length)
    # Where batches must not be mixed, neither must the pass be cut: every position is followed.
    run = run_from(model, [pair.reference_ids for pair in encoded], 0 if model.runs_alone else first, plan.tokens)
    z, mlp = run.z.clone(), run.mlp.clone()
    new = _replacement(model, prepared, ablation, positions, mean, length, plan)
    own = length - first
    for target, values in ((z, new.z), (mlp, new.mlp)):
        placed = values.unflatten(0, (n, -1))
        target.unflatten(0, (n, -1))[:, -own:] = placed[:, -own:]
    return run, Writes(z, mlp)


def _replacement(
    model: LoadedModel,
    prepared: PreparedPairs,
    ablation: Ablation,
    positions: KnockPositions,
    mean: Means | None,
    length: int,
    plan: Plan,
) -> Writes:
    n, at_end = len(prepared), positions == "end"
    if ablation == "zero":
        rows = n if at_end else n * length
        like = prepared.reference
        return Writes(like.z.new_zeros(rows, *like.z.shape[1:]), like.mlp.new_zeros(rows, *like.mlp.shape[1:]))
    if ablation == "mean":
        if mean is None:
            raise ValueError("mean ablation needs the means")
        return mean.at_end(n) if at_end else mean.everywhere(n, length)
    if at_end:
        return Writes(prepared.counterfactual.z, prepared.counterfactual.mlp)
    other = run_from(model, [pair.counterfactual_ids for pair in prepared.encoded], 0, plan.tokens)
    return Writes(other.z, other.mlp)


def end_writes(
    model: LoadedModel, encoded: Sequence[EncodedPair], ablation: Ablation, mean: Means | None, tokens: int
) -> Writes:
    """What is put in a component's place at END of each pair, and at whatever is generated after it."""
    n, layout = len(encoded), model.layout
    if ablation == "mean" and mean is not None:
        return mean.at_end(n)
    if ablation == "resample":
        states = end_states(model, [pair.counterfactual_ids for pair in encoded], tokens)
        return Writes(states.z, states.mlp)
    kept = {"dtype": model.work_dtype, "device": model.device}
    return Writes(
        torch.zeros(n, layout.layers, layout.heads, layout.head_dim, **kept),
        torch.zeros(n, layout.layers, layout.hidden, **kept),
    )


def _carry(
    model: LoadedModel, run: Run, donor: Writes, forks: Forks, product_rows: int, told: Callable[[int], None]
) -> Float[Tensor, "place row hidden"]:
    """What each row changes in the stream before the final norm, at the positions that are followed; in the last layer,
    where nobody reads the others any more, at END alone."""
    layout, positions = model.layout, run.positions
    order = torch.tensor(forks.order)
    sets = forks.sets[order].to(model.device)
    x = torch.zeros(len(order), *run.final.shape, dtype=model.work_dtype, device=model.device)
    step = max(1, product_rows // len(run.final))
    active = 1
    # Before the first row parts, nothing is measured.
    for layer in range(forks.births[1] if len(order) > 1 else 0, layout.layers):
        block = layout.blocks[layer]
        while active < len(order) and forks.births[active] <= layer:
            x[active] = x[forks.parents[active]]
            active += 1
        out = sets[:active, layer]
        read = slice(None) if layer + 1 < layout.layers else slice(positions - 1, None, positions)
        for start in range(0, active, step):
            some, marks = x[start : min(start + step, active)], out[start : min(start + step, active)]
            if block.parallel:  # heads and MLP read the same stream, and neither sees what the other writes
                wrote = _mlp_change(model, run, donor, layer, some, marks[:, -1], read)
                some += _attend(model, run, donor, layer, some, marks[:, :-1])
                some[:, read] += wrote
            else:
                some += _attend(model, run, donor, layer, some, marks[:, :-1])
                some[:, read] += _mlp_change(model, run, donor, layer, some, marks[:, -1], read)
        told(active - 1)
    return x


def _attend(
    model: LoadedModel,
    run: Run,
    donor: Writes,
    layer: int,
    rows: Float[Tensor, "n row hidden"],
    out: Bool[Tensor, "n head"],
) -> Float[Tensor, "n row hidden"]:
    """What the heads of a layer write more than in the run, those that are ``out`` putting in the donor's output."""
    if not bool(out.any()):
        return run.attend(model, layer, rows)
    block, heads, width = model.layout.blocks[layer], model.layout.heads, model.layout.head_dim
    theirs = donor.z[:, layer].to(block.device).unflatten(0, (run.prompts, run.positions))
    out = out.to(block.device)
    at = 0

    def replace(z: Tensor) -> Tensor:
        """Rows stand apart, [row and prompt, position], or side by side, [prompt, row and position]; see `Run`."""
        nonlocal at
        n = z.shape[0] * z.shape[1] // (run.prompts * run.positions)
        apart = z.shape[1] == run.positions
        shape = (n, run.prompts, run.positions) if apart else (run.prompts, n, run.positions)
        own = z.reshape(*shape, heads, width)
        marks = out[at : at + n, None, None, :, None] if apart else out[None, at : at + n, None, :, None]
        new = torch.where(marks, theirs.to(z.dtype).unsqueeze(0 if apart else 1), own)
        at += n
        return new.reshape(z.shape)

    with on_input([(block.heads_out, replace)]):
        return run.attend(model, layer, rows)


def _mlp_change(
    model: LoadedModel,
    run: Run,
    donor: Writes,
    layer: int,
    rows: Float[Tensor, "n row hidden"],
    out: Bool[Tensor, " n"],
    read: slice,
) -> Float[Tensor, "n read hidden"]:
    block = model.layout.blocks[layer]
    wrote = block.mlp_write(rows[:, read] + run.mid[read, layer], model.dtype)
    if bool(out.any()):
        wrote[out] = donor.mlp[read, layer]
    return wrote.sub_(run.mlp[read, layer])


def _read_out(
    model: LoadedModel, run: Run, x: Float[Tensor, "place row hidden"], columns: Int[Tensor, "pair 2"], plan: Plan
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of answer and competitor, the answer's probability, and whether it is on top."""
    n = run.prompts
    end = x.unflatten(1, (n, run.positions))[:, :, -1]
    final = run.final.unflatten(0, (n, run.positions))[:, -1]
    logits, chances, tops = [], [], []
    for some in end.split(max(1, plan.rows // UNEMBED_SHARE // n)):
        whole = all_logits(model, some + final)
        of_two = whole.gather(-1, columns.expand(len(some), -1, -1))
        logits.append(of_two.cpu())
        chances.append((of_two[..., 0] - whole.logsumexp(-1)).exp().cpu())
        tops.append((whole.argmax(-1) == columns[:, 0]).cpu())
    return torch.cat(logits), torch.cat(chances), torch.cat(tops)
