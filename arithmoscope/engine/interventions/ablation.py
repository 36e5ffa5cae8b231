"""Knocks out sets of components, many sets at once, in one sweep over the layers.

A row is a set. Two rows whose sets agree below a layer are the same run up to there, so the second is forked from the
first at the layer where they diverge: rows of one nested order (k = 0, 1, 2, ...) fork one after the other, and a row
that knocks nothing out before layer l costs nothing before layer l. Row 0 knocks nothing out but is computed all the
same; its distance to the plain run is the numerical noise.

Everything after the first knocked-out component is recomputed, attention included, at the followed positions, with the
keys and values of the earlier positions, which all rows share.
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
from arithmoscope.contracts.terms import Positions
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
    """The tree of runs behind the rows. ``sets``: the components that each row knocks out, layer by layer; row 0 knocks
    out nothing.

    order        distinct rows in the order in which they fork from an earlier one; row 0 first
    fork_layers  layer at which each of ``order`` forks
    parents      index in ``order`` of the row that each forks from
    indices      index in ``order`` of every row of ``sets`` after row 0; equal sets share one
    """

    sets: Bool[Tensor, "row layer component"]
    order: tuple[int, ...]
    fork_layers: tuple[int, ...]
    parents: tuple[int, ...]
    indices: tuple[int, ...]

    @property
    def evaluations(self) -> int:
        """Number of layers computed over all rows except row 0."""
        return sum(self.sets.shape[1] - layer for layer in self.fork_layers[1:])


def forks_of(sets: Bool[Tensor, "row layer component"]) -> Forks:
    """The forks of rows; a row that knocks out nothing is prepended."""
    all_sets = torch.cat([sets.new_zeros(1, *sets.shape[1:]), sets])
    layers, width = all_sets.shape[1:]
    keys = [key.tobytes() for key in all_sets.flatten(1).to(torch.uint8).numpy()]
    # The first row with each prefix of a set; the length of a prefix is the number of layers that it covers.
    first = {keys[0][: layer * width]: 0 for layer in range(layers + 1)}
    forks: list[tuple[int, int, int]] = []  # layer, row, parent row
    representatives: list[int] = []
    for row, key in enumerate(keys[1:], start=1):
        current = 0
        for layer in range(layers):
            previous, current = current, first.setdefault(key[: (layer + 1) * width], row)
            if current == row and previous != row:
                forks.append((layer, row, previous))
        representatives.append(current)
    forks.sort()
    order = (0, *(row for _, row, _ in forks))
    index = {row: position for position, row in enumerate(order)}
    return Forks(
        sets=all_sets,
        order=order,
        fork_layers=(-1, *(layer for layer, _, _ in forks)),
        parents=(0, *(index[parent] for _, _, parent in forks)),
        indices=tuple(index[row] for row in representatives),
    )


@dataclass(frozen=True, eq=False)
class KnockoutOutputs:
    """The model's output at END, one row per set; row 0 knocks out nothing. On the CPU.

    logits       of the answer and of the best competing number of the reference run
    probability  of the answer
    correct      whether the answer is the top token
    reference    the two logits in the plain reference run
    columns      token ids of the answer and the competitor
    """

    logits: Float[Tensor, "row pair 2"]
    probability: Float[Tensor, "row pair"]
    correct: Bool[Tensor, "row pair"]
    reference: Float[Tensor, "pair 2"]
    columns: Int[Tensor, "pair 2"]


def masks_of(sets: Sequence[Sequence[Component]], layers: int, heads: int) -> Bool[Tensor, "row layer component"]:
    """Sets of components as boolean masks, a layer's heads before its MLP."""
    masks = torch.zeros(len(sets), layers, heads + 1, dtype=torch.bool)
    for row, components in enumerate(sets):
        for component in components:
            masks[row, component.layer, heads if component.head is None else component.head] = True
    return masks


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
    """Knocks out every set on every pair, ``plan.components`` sets and ``plan.pairs`` pairs at once.

    With the ablation ``resample``, the replacements come from the pairs' counterfactuals (see
    `replacements.resampled`). ``report(fraction)`` receives the progress.

    Raises:
        Refusal: ``not_finite`` if logits are not finite.
    """
    n, rows = len(encoded), len(sets)
    outputs = KnockoutOutputs(
        logits=torch.empty(1 + rows, n, 2, dtype=model.work_dtype),
        probability=torch.empty(1 + rows, n, dtype=model.work_dtype),
        correct=torch.empty(1 + rows, n, dtype=torch.bool),
        reference=torch.empty(n, 2, dtype=model.work_dtype),
        columns=torch.empty(n, 2, dtype=torch.long),
    )
    chunks = [forks_of(chunk) for chunk in sets.split(plan.components)]
    groups = [
        group[start : start + (1 if model.runs_alone else plan.pairs)]
        for group in by_length(encoded)
        for start in range(0, len(group), 1 if model.runs_alone else plan.pairs)
    ]
    total = sum(len(group) * (1 + forks.evaluations) for group in groups for forks in chunks)
    done = 0
    with evaluating(model.hf):
        for group in groups:
            pairs = [encoded[row] for row in group]
            prepared = prepare_pairs(model, pairs, plan.tokens)
            run, donor = run_and_donor(model, prepared, ablation, positions, mean, plan)
            outputs.reference[group], outputs.columns[group] = prepared.reference_logits.cpu(), prepared.columns.cpu()
            start = 1
            for forks in chunks:

                def layer_done(rows: int, pairs: int = len(group)) -> None:
                    nonlocal done
                    done += rows * pairs
                    report(done / total)

                x = _propagate(model, run, donor, forks, plan.rows, layer_done)
                chunk_outputs = _read_out(model, run, x, prepared.columns, plan)
                sources = torch.tensor([0, *forks.indices])
                targets = torch.tensor([0, *range(start, start + len(forks.indices))])
                fields = (outputs.logits, outputs.probability, outputs.correct)
                for field, values in zip(fields, chunk_outputs, strict=True):
                    field[targets[:, None], torch.tensor(group)] = values[sources]
                start += len(forks.indices)
                done += len(group)
    if not bool(outputs.logits.isfinite().all()):
        raise Refusal("not_finite", "The logits of the knocked-out runs are not finite.")
    return outputs


def replacement_positions(positions: KnockPositions) -> Positions:
    """The positions that replacement outputs are taken from: END only, or every position."""
    return "end" if positions == "end" else "all"


def first_position(positions: KnockPositions, length: int) -> int:
    """The first position of a prompt of ``length`` tokens at which components are knocked out."""
    return {"end": length - 1, "all": 0, "after_first": min(1, length - 1)}[positions]


def by_length(encoded: Sequence[EncodedPair]) -> list[list[int]]:
    """Indices of pairs grouped by the length of their prompts: batched attention needs equal lengths."""
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
    """The reference run from the first followed position on, and the replacement outputs of all components, one row per
    position of a pair; at positions where nothing is knocked out, the run's own outputs."""
    encoded = prepared.encoded
    n, length = len(encoded), len(encoded[0].reference_ids)
    first = first_position(positions, length)
    # A model that must run prompts one by one must not run in two passes either: follow every position.
    run = run_from(model, [pair.reference_ids for pair in encoded], 0 if model.runs_alone else first, plan.tokens)
    z, mlp = run.z.clone(), run.mlp.clone()
    replacement = _replacement(model, prepared, ablation, positions, mean, length, plan)
    replaced = length - first
    for target, values in ((z, replacement.z), (mlp, replacement.mlp)):
        target.unflatten(0, (n, -1))[:, -replaced:] = values.unflatten(0, (n, -1))[:, -replaced:]
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
    """The outputs that replace those of knocked-out components: at END only, or at all positions."""
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
    counterfactual = run_from(model, [pair.counterfactual_ids for pair in prepared.encoded], 0, plan.tokens)
    return Writes(counterfactual.z, counterfactual.mlp)


def end_writes(
    model: LoadedModel, encoded: Sequence[EncodedPair], ablation: Ablation, mean: Means | None, tokens: int
) -> Writes:
    """The replacement outputs at END of each pair, also used at every token generated after it."""
    n, layout = len(encoded), model.layout
    if ablation == "mean" and mean is not None:
        return mean.at_end(n)
    if ablation == "resample":
        states = end_states(model, [pair.counterfactual_ids for pair in encoded], tokens)
        return Writes(states.z, states.mlp)
    options = {"dtype": model.work_dtype, "device": model.device}
    return Writes(
        torch.zeros(n, layout.layers, layout.heads, layout.head_dim, **options),
        torch.zeros(n, layout.layers, layout.hidden, **options),
    )


def _propagate(
    model: LoadedModel, run: Run, donor: Writes, forks: Forks, product_rows: int, layer_done: Callable[[int], None]
) -> Float[Tensor, "fork row hidden"]:
    """Each fork's change of the stream before the final norm, at the followed positions. In the last layer, the MLP is
    computed at END only, since nothing reads the other positions. ``layer_done(n)``: a layer is done for n forks."""
    layout, positions = model.layout, run.positions
    order = torch.tensor(forks.order)
    sets = forks.sets[order].to(model.device)
    x = torch.zeros(len(order), *run.final.shape, dtype=model.work_dtype, device=model.device)
    step = max(1, product_rows // len(run.final))
    active = 1
    # Before the first fork, no row differs from the run.
    for layer in range(forks.fork_layers[1] if len(order) > 1 else 0, layout.layers):
        block = layout.blocks[layer]
        while active < len(order) and forks.fork_layers[active] <= layer:
            x[active] = x[forks.parents[active]]
            active += 1
        knocked_out = sets[:active, layer]
        mlp_rows = slice(None) if layer + 1 < layout.layers else slice(positions - 1, None, positions)
        for start in range(0, active, step):
            batch, masks = x[start : min(start + step, active)], knocked_out[start : min(start + step, active)]
            if block.parallel:  # heads and MLP read the same stream; neither sees the other's output
                mlp_change = _mlp_change(model, run, donor, layer, batch, masks[:, -1], mlp_rows)
                batch += _attention_change(model, run, donor, layer, batch, masks[:, :-1])
                batch[:, mlp_rows] += mlp_change
            else:
                batch += _attention_change(model, run, donor, layer, batch, masks[:, :-1])
                batch[:, mlp_rows] += _mlp_change(model, run, donor, layer, batch, masks[:, -1], mlp_rows)
        layer_done(active - 1)
    return x


def _attention_change(
    model: LoadedModel,
    run: Run,
    donor: Writes,
    layer: int,
    rows: Float[Tensor, "n row hidden"],
    knocked_out: Bool[Tensor, "n head"],
) -> Float[Tensor, "n row hidden"]:
    """The change of a layer's joint head output relative to the run; ``knocked_out`` heads give the donor's output."""
    if not bool(knocked_out.any()):
        return run.attend(model, layer, rows)
    block, heads, width = model.layout.blocks[layer], model.layout.heads, model.layout.head_dim
    replacement = donor.z[:, layer].to(block.device).unflatten(0, (run.prompts, run.positions))
    knocked_out = knocked_out.to(block.device)
    start = 0

    def replace(z: Tensor) -> Tensor:
        """Rows are separate, [row * prompt, position], or concatenated, [prompt, row * position]; see `Run.attend`."""
        nonlocal start
        n = z.shape[0] * z.shape[1] // (run.prompts * run.positions)
        batch = knocked_out[start : start + n]
        separate = z.shape[1] == run.positions
        shape = (n, run.prompts, run.positions) if separate else (run.prompts, n, run.positions)
        masks = batch[:, None, None, :, None] if separate else batch[None, :, None, :, None]
        own = z.reshape(*shape, heads, width)
        replaced = torch.where(masks, replacement.to(z.dtype).unsqueeze(0 if separate else 1), own)
        start += n
        return replaced.reshape(z.shape)

    with on_input([(block.heads_out, replace)]):
        return run.attend(model, layer, rows)


def _mlp_change(
    model: LoadedModel,
    run: Run,
    donor: Writes,
    layer: int,
    rows: Float[Tensor, "n row hidden"],
    knocked_out: Bool[Tensor, " n"],
    mlp_rows: slice,
) -> Float[Tensor, "n read hidden"]:
    """The change of a layer's MLP output relative to the run; a ``knocked_out`` MLP gives the donor's output."""
    block = model.layout.blocks[layer]
    output = block.mlp_write(rows[:, mlp_rows] + run.mid[mlp_rows, layer], model.dtype)
    if bool(knocked_out.any()):
        output[knocked_out] = donor.mlp[mlp_rows, layer]
    return output.sub_(run.mlp[mlp_rows, layer])


def _read_out(
    model: LoadedModel, run: Run, x: Float[Tensor, "fork row hidden"], columns: Int[Tensor, "pair 2"], plan: Plan
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of answer and competitor, the answer's probability, and whether it is the top token."""
    n = run.prompts
    end = x.unflatten(1, (n, run.positions))[:, :, -1]
    final = run.final.unflatten(0, (n, run.positions))[:, -1]
    logits, probabilities, correct = [], [], []
    for batch in end.split(max(1, plan.rows // UNEMBED_SHARE // n)):
        every_logit = all_logits(model, batch + final)
        pair_logits = every_logit.gather(-1, columns.expand(len(batch), -1, -1))
        logits.append(pair_logits.cpu())
        probabilities.append((pair_logits[..., 0] - every_logit.logsumexp(-1)).exp().cpu())
        correct.append((every_logit.argmax(-1) == columns[:, 0]).cpu())
    return torch.cat(logits), torch.cat(probabilities), torch.cat(correct)
