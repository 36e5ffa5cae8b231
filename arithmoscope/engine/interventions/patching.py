"""Components patched into a run, and what becomes of the answer: the machinery behind path patching.

From token ids to effects: two runs of each pair, what each component wrote in the run that is patched and in the
source, a wave that carries the differences on, and the logits at the end of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import Direction, Effect, Positions, Source
from arithmoscope.engine.forward.activations import EndStates
from arithmoscope.engine.forward.batching import UNEMBED_SHARE, Plan
from arithmoscope.engine.forward.cached_run import Run, first_difference, run_from
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import all_logits, column_logits
from arithmoscope.engine.interventions.paired_runs import PreparedPairs, prepare_pairs
from arithmoscope.engine.interventions.propagation import EntryPoint, carry
from arithmoscope.engine.interventions.replacements import HasWrites, Means, Writes, zero_writes
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

# Fraction of the work that is done, 0 to 1.
Report = Callable[[float], None]


@dataclass(frozen=True)
class Patching:
    """What is patched into what, and what is recomputed then."""

    effect: Effect = "through_mlps"
    positions: Positions = "end"
    source: Source = "counterfactual"
    direction: Direction = "noising"
    probability: bool = False


@dataclass(frozen=True)
class PatchedPairs:
    """Some pairs' effects, of those that were ``kept``; ``top`` and ``correct`` are of all of them."""

    top: tuple[int, ...]
    correct: tuple[bool, ...]
    kept: tuple[int, ...]
    effects: PatchingEffects | None


def patch_pairs(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    asked: Patching,
    mean: Means | None,
    plan: Plan,
    *,
    keep_wrong: bool = True,
    report: Report = lambda _fraction: None,
) -> PatchedPairs:
    """Some pairs from tokens to effects, ``plan.pairs`` at once."""
    starts = range(0, len(encoded), plan.pairs)
    top: list[int] = []
    correct: list[bool] = []
    kept: list[int] = []
    parts = []
    for chunk, start in enumerate(starts):
        prepared = prepare_pairs(model, encoded[start : start + plan.pairs], plan.tokens)
        right = prepared.correct.tolist()
        rows = [row for row, is_right in enumerate(right) if is_right or keep_wrong]
        top += prepared.top.tolist()
        correct += right
        kept += [start + row for row in rows]
        if rows:
            chosen = prepared if len(rows) == len(prepared) else prepared.select(rows)

            def part_done(part: float, chunk: int = chunk) -> None:
                report((chunk + part) / len(starts))

            parts.append(patch(model, chosen, asked, mean, plan, part_done))
    return PatchedPairs(tuple(top), tuple(correct), tuple(kept), PatchingEffects.concatenate(parts) if parts else None)


@torch.no_grad()
def patch(
    model: LoadedModel,
    prepared: PreparedPairs,
    asked: Patching,
    mean: Means | None,
    plan: Plan,
    report: Report = lambda _fraction: None,
) -> PatchingEffects:
    """Every component's effect on prepared pairs."""
    layers, heads, n = model.layout.layers, model.layout.heads, len(prepared)
    components = layers * (heads + 1)
    device, dtype = model.device, model.work_dtype
    change = torch.empty(components, n, 2, device=device, dtype=dtype)
    chance = torch.empty(components, n, device=device, dtype=dtype) if asked.probability else None
    noise = torch.zeros(n, device=device, dtype=dtype)
    groups = list(_groups(model, prepared, asked))
    chunks = range(0, components, plan.components)
    steps = len(groups) * sum(layers - start // (heads + 1) for start in chunks)
    done = 0
    with evaluating(model.hf):
        for pairs, first in groups:
            run, here, donor = _run_and_donor(model, prepared, asked, mean, pairs, first, plan)
            same = _untouched(here, donor, len(pairs))
            columns = prepared.columns[pairs]
            base = (prepared.reference_logits if asked.direction == "noising" else prepared.counterfactual_logits)[
                pairs
            ]
            for start in chunks:
                stop = min(start + plan.components, components)
                first_layer = start // (heads + 1)

                def layer_done(layer: int, _layers: int, done: int = done) -> None:
                    report((done + layer) / steps)

                x = carry(
                    model,
                    run,
                    asked.effect,
                    _entering(model, here, donor, start, stop),
                    stop - start,
                    first_layer=first_layer,
                    product_rows=plan.rows,
                    progress=layer_done,
                )
                done += layers - first_layer
                final = run.final.unflatten(0, (len(pairs), -1))[:, -1]
                x = x.unflatten(1, (len(pairs), -1))[:, :, -1]
                logits, log_totals = _read_out(model, final, x, columns, asked.probability, plan)
                # Row 0 is the control: nothing patched, everything recomputed. Effects are differences to it.
                untouched = same[start:stop]
                moved = (logits[1:] - logits[0]).masked_fill(untouched[..., None], 0.0)
                if not bool(moved.isfinite().all()):
                    raise Refusal("not_finite", "The patched runs' logits are not finite.")
                change[start:stop, pairs] = moved
                noise[pairs] = torch.maximum(noise[pairs], (logits[0] - base).abs().amax(-1))
                if log_totals is not None and chance is not None:
                    likely = (logits[..., 0] - log_totals).exp()
                    chance[start:stop, pairs] = (likely[1:] - likely[0]).masked_fill(untouched, 0.0)
    by_component = change.view(layers, heads + 1, n, 2).permute(3, 2, 0, 1).cpu()
    likely = None if chance is None else chance.view(layers, heads + 1, n).permute(2, 0, 1).cpu()
    return PatchingEffects(
        effect=asked.effect,
        positions=asked.positions,
        source=asked.source,
        direction=asked.direction,
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(e.question for e in prepared.encoded),
        heads=by_component[0, :, :, :-1],
        mlps=by_component[0, :, :, -1],
        competitor_heads=by_component[1, :, :, :-1],
        competitor_mlps=by_component[1, :, :, -1],
        probability_heads=None if likely is None else likely[:, :, :-1],
        probability_mlps=None if likely is None else likely[:, :, -1],
        reference=prepared.reference_logits[:, 0].cpu(),
        counterfactual=prepared.counterfactual_logits[:, 0].cpu(),
        reference_competitor=prepared.reference_logits[:, 1].cpu(),
        reference_probability=(prepared.reference_logits[:, 0] - prepared.log_total).exp().cpu(),
        answers=prepared.columns[:, 0].cpu(),
        competitors=prepared.columns[:, 1].cpu(),
        top=prepared.top.cpu(),
        correct=prepared.correct.cpu(),
        noise=noise.cpu(),
    )


def base_ids(pair: EncodedPair, asked: Patching) -> tuple[int, ...]:
    """The prompt whose run is patched."""
    return pair.reference_ids if asked.direction == "noising" else pair.counterfactual_ids


def _donor_ids(pair: EncodedPair, asked: Patching) -> tuple[int, ...]:
    return pair.counterfactual_ids if asked.direction == "noising" else pair.reference_ids


def first_followed(pair: EncodedPair, asked: Patching) -> int:
    """The first position that a patch of a pair can move. Refuses (``lengths_differ``) pairs that cannot be patched
    position by position."""
    base, donor = base_ids(pair, asked), _donor_ids(pair, asked)
    if asked.positions == "end":
        return len(base) - 1
    if asked.source in ("zero", "mean"):
        return 0
    if len(base) != len(donor):
        raise Refusal(
            "lengths_differ",
            f"{pair.question[:60]!r} has {len(base)} tokens, what is patched in {len(donor)}: "
            "all positions are patched one by one.",
        )
    return first_difference(base, donor)


def _groups(model: LoadedModel, prepared: PreparedPairs, asked: Patching) -> list[tuple[list[int], int]]:
    """Pairs whose waves go together, and the first position that is followed: what attends must have one length."""
    everyone = list(range(len(prepared)))
    if asked.effect != "total":
        return [(everyone, 0)]
    if model.runs_alone:
        return [([row], 0) for row in everyone]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, pair in enumerate(prepared.encoded):
        groups[len(base_ids(pair, asked)), first_followed(pair, asked)].append(row)
    return [(rows, first) for (_, first), rows in groups.items()]


def _run_and_donor(
    model: LoadedModel,
    prepared: PreparedPairs,
    asked: Patching,
    mean: Means | None,
    pairs: list[int],
    first: int,
    plan: Plan,
) -> tuple[EndStates | Run, HasWrites, HasWrites]:
    """The run that is patched, what was written where it is patched, and what is written there instead."""
    noising = asked.direction == "noising"
    encoded = [prepared.encoded[row] for row in pairs]
    base_end = (prepared.reference if noising else prepared.counterfactual)[pairs]
    run: EndStates | Run = base_end
    if asked.effect == "total":
        run = run_from(model, [base_ids(pair, asked) for pair in encoded], first, plan.tokens)
    if asked.positions == "end":
        if asked.source == "zero":
            donor: HasWrites = zero_writes(base_end)
        elif mean is not None:
            donor = mean.at_end(len(pairs))
        else:
            donor = (prepared.counterfactual if noising else prepared.reference)[pairs]
        if len(run.final) > len(pairs):
            return run, run, _at_end_alone(run, donor, len(pairs))
        # As the donor was captured, so that what wrote the same in both runs differs by nothing.
        return run, base_end, donor
    if asked.source == "zero":
        return run, run, zero_writes(run)
    if mean is not None:
        return run, run, mean.everywhere(len(pairs), len(base_ids(encoded[0], asked)))
    donor = run_from(model, [_donor_ids(pair, asked) for pair in encoded], first, plan.tokens)
    return run, run, Writes(donor.z, donor.mlp)


def _at_end_alone(run: HasWrites, donor: HasWrites, prompts: int) -> Writes:
    """What the run itself wrote, but at END what the donor did."""
    z, mlp = run.z.clone(), run.mlp.clone()
    z.unflatten(0, (prompts, -1))[:, -1] = donor.z
    mlp.unflatten(0, (prompts, -1))[:, -1] = donor.mlp
    return Writes(z, mlp)


def _entering(
    model: LoadedModel, run: HasWrites, donor: HasWrites, start: int, stop: int
) -> Callable[[int, EntryPoint], Float[Tensor, "new row hidden"] | None]:
    """The patches of components ``start`` to ``stop``, counted layer by layer, a layer's heads before its MLP."""
    heads = model.layout.heads

    def enter(layer: int, place: EntryPoint) -> Tensor | None:
        low, high = start - layer * (heads + 1), stop - layer * (heads + 1)
        if place == "heads" and low < heads and high > 0:
            here = run.z[:, layer]
            moved = (donor.z[:, layer] - here).transpose(0, 1)
            return model.layout.blocks[layer].head_writes(moved, here, model.dtype)[max(0, low) : min(heads, high)]
        if place == "mlp" and low <= heads < high:
            return (donor.mlp[:, layer] - run.mlp[:, layer])[None]
        return None

    return enter


def _untouched(run: HasWrites, donor: HasWrites, prompts: int) -> Bool[Tensor, "component pair"]:
    """Components that wrote the very same in both runs: their effect is 0 by definition."""
    same_heads = (donor.z == run.z).all(-1)
    same_mlps = (donor.mlp == run.mlp).all(-1, keepdim=True)
    same = torch.cat([same_heads, same_mlps], dim=2).unflatten(0, (prompts, -1)).all(1)
    return same.flatten(1).T


def _read_out(
    model: LoadedModel,
    final: Float[Tensor, "pair hidden"],
    x: Float[Tensor, "row pair hidden"],
    columns: Tensor,
    probability: bool,
    plan: Plan,
) -> tuple[Float[Tensor, "row pair 2"], Float[Tensor, "row pair"] | None]:
    """Logits of answer and competitor after each patch, and with ``probability`` the log-sum-exp of all logits."""
    logits, totals = [], []
    at_once = plan.rows // UNEMBED_SHARE if probability else plan.rows
    for rows in x.split(max(1, at_once // len(final))):
        patched = rows + final
        logits.append(column_logits(model.layout, patched, columns))
        if probability:
            totals.append(all_logits(model, patched).logsumexp(-1))
    return torch.cat(logits), torch.cat(totals) if probability else None
