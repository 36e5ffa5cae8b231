"""Patches every component of a run and measures the answer's logit: the machinery behind path patching.

From token ids to effects: two runs of each pair, each component's output in the patched run and in the source, the
propagation of the differences (see `propagation`), and the resulting logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.terms import Direction, Effect, Positions, Source
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

# Receives the fraction of the work that is done, 0 to 1.
Report = Callable[[float], None]


@dataclass(frozen=True)
class Patching:
    """Settings of a patching: what is patched into which run, and what is recomputed. ``probability``: whether to
    compute probabilities, too."""

    effect: Effect = "through_mlps"
    positions: Positions = "end"
    source: Source = "counterfactual"
    direction: Direction = "noising"
    probability: bool = False


@dataclass(frozen=True)
class PatchedPairs:
    """Effects of the pairs that were ``kept`` (their indices); ``top`` and ``correct`` cover all pairs."""

    top: tuple[int, ...]
    correct: tuple[bool, ...]
    kept: tuple[int, ...]
    effects: PatchingEffects | None


def patch_pairs(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    patching: Patching,
    mean: Means | None,
    plan: Plan,
    *,
    keep_wrong: bool = True,
    report: Report = lambda _fraction: None,
) -> PatchedPairs:
    """Effects of pairs given as tokens, ``plan.pairs`` at once. Without ``keep_wrong``, pairs that the model answers
    wrongly are dropped."""
    starts = range(0, len(encoded), plan.pairs)
    top: list[int] = []
    correct: list[bool] = []
    kept: list[int] = []
    parts = []
    for chunk, start in enumerate(starts):
        prepared = prepare_pairs(model, encoded[start : start + plan.pairs], plan.tokens)
        chunk_correct = prepared.correct.tolist()
        rows = [row for row, is_correct in enumerate(chunk_correct) if is_correct or keep_wrong]
        top += prepared.top.tolist()
        correct += chunk_correct
        kept += [start + row for row in rows]
        if rows:
            selected = prepared if len(rows) == len(prepared) else prepared.select(rows)

            def report_chunk(fraction: float, chunk: int = chunk) -> None:
                report((chunk + fraction) / len(starts))

            parts.append(patch(model, selected, patching, mean, plan, report_chunk))
    return PatchedPairs(tuple(top), tuple(correct), tuple(kept), PatchingEffects.concatenate(parts) if parts else None)


@torch.no_grad()
def patch(
    model: LoadedModel,
    prepared: PreparedPairs,
    patching: Patching,
    mean: Means | None,
    plan: Plan,
    report: Report = lambda _fraction: None,
) -> PatchingEffects:
    """The effect of every component on prepared pairs."""
    layers, heads, n = model.layout.layers, model.layout.heads, len(prepared)
    components = layers * (heads + 1)
    device, dtype = model.device, model.work_dtype
    logit_change = torch.empty(components, n, 2, device=device, dtype=dtype)
    probability_change = torch.empty(components, n, device=device, dtype=dtype) if patching.probability else None
    noise = torch.zeros(n, device=device, dtype=dtype)
    groups = list(_groups(model, prepared, patching))
    chunks = range(0, components, plan.components)
    steps = len(groups) * sum(layers - start // (heads + 1) for start in chunks)
    done = 0
    with evaluating(model.hf):
        for pairs, first in groups:
            run, original, donor = _run_and_donor(model, prepared, patching, mean, pairs, first, plan)
            same = _same_output(original, donor, len(pairs))
            columns = prepared.columns[pairs]
            noising = patching.direction == "noising"
            base = (prepared.reference_logits if noising else prepared.counterfactual_logits)[pairs]
            for start in chunks:
                stop = min(start + plan.components, components)
                first_layer = start // (heads + 1)

                def layer_done(layer: int, _layers: int, done: int = done) -> None:
                    report((done + layer) / steps)

                x = carry(
                    model,
                    run,
                    patching.effect,
                    _patches(model, original, donor, start, stop),
                    stop - start,
                    first_layer=first_layer,
                    product_rows=plan.rows,
                    progress=layer_done,
                )
                done += layers - first_layer
                final = run.final.unflatten(0, (len(pairs), -1))[:, -1]
                x = x.unflatten(1, (len(pairs), -1))[:, :, -1]
                logits, log_totals = _read_out(model, final, x, columns, patching.probability, plan)
                # Row 0 is the control: nothing patched, everything recomputed. Effects are differences from it.
                unchanged = same[start:stop]
                change = (logits[1:] - logits[0]).masked_fill(unchanged[..., None], 0.0)
                if not bool(change.isfinite().all()):
                    raise Refusal("not_finite", "The patched runs' logits are not finite.")
                logit_change[start:stop, pairs] = change
                noise[pairs] = torch.maximum(noise[pairs], (logits[0] - base).abs().amax(-1))
                if log_totals is not None and probability_change is not None:
                    p = (logits[..., 0] - log_totals).exp()
                    probability_change[start:stop, pairs] = (p[1:] - p[0]).masked_fill(unchanged, 0.0)
    by_component = logit_change.view(layers, heads + 1, n, 2).permute(3, 2, 0, 1).cpu()
    probability = None
    if probability_change is not None:
        probability = probability_change.view(layers, heads + 1, n).permute(2, 0, 1).cpu()
    return PatchingEffects(
        effect=patching.effect,
        positions=patching.positions,
        source=patching.source,
        direction=patching.direction,
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(e.question for e in prepared.encoded),
        heads=by_component[0, :, :, :-1],
        mlps=by_component[0, :, :, -1],
        competitor_heads=by_component[1, :, :, :-1],
        competitor_mlps=by_component[1, :, :, -1],
        probability_heads=None if probability is None else probability[:, :, :-1],
        probability_mlps=None if probability is None else probability[:, :, -1],
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


def base_ids(pair: EncodedPair, patching: Patching) -> tuple[int, ...]:
    """The tokens of the prompt whose run is patched."""
    return pair.reference_ids if patching.direction == "noising" else pair.counterfactual_ids


def _donor_ids(pair: EncodedPair, patching: Patching) -> tuple[int, ...]:
    return pair.counterfactual_ids if patching.direction == "noising" else pair.reference_ids


def first_followed(pair: EncodedPair, patching: Patching) -> int:
    """The first position that a patch of a pair can change.

    Raises:
        Refusal: ``lengths_differ`` if all positions are to be patched and the prompts differ in length.
    """
    base, donor = base_ids(pair, patching), _donor_ids(pair, patching)
    if patching.positions == "end":
        return len(base) - 1
    if patching.source in ("zero", "mean"):
        return 0
    if len(base) != len(donor):
        raise Refusal(
            "lengths_differ",
            f"{pair.question[:60]!r} has {len(base)} tokens and its source prompt {len(donor)}: "
            "patching all positions needs equal lengths.",
        )
    return first_difference(base, donor)


def _groups(model: LoadedModel, prepared: PreparedPairs, patching: Patching) -> list[tuple[list[int], int]]:
    """Groups of pairs to propagate together, each with the first followed position: batched attention needs equal
    lengths."""
    all_rows = list(range(len(prepared)))
    if patching.effect != "total":
        return [(all_rows, 0)]
    if model.runs_alone:
        return [([row], 0) for row in all_rows]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, pair in enumerate(prepared.encoded):
        groups[len(base_ids(pair, patching)), first_followed(pair, patching)].append(row)
    return [(rows, first) for (_, first), rows in groups.items()]


def _run_and_donor(
    model: LoadedModel,
    prepared: PreparedPairs,
    patching: Patching,
    mean: Means | None,
    pairs: list[int],
    first: int,
    plan: Plan,
) -> tuple[EndStates | Run, HasWrites, HasWrites]:
    """The patched run, the outputs that are replaced in it, and the outputs that replace them."""
    noising = patching.direction == "noising"
    encoded = [prepared.encoded[row] for row in pairs]
    base_end = (prepared.reference if noising else prepared.counterfactual)[pairs]
    run: EndStates | Run = base_end
    if patching.effect == "total":
        run = run_from(model, [base_ids(pair, patching) for pair in encoded], first, plan.tokens)
    if patching.positions == "end":
        if patching.source == "zero":
            donor: HasWrites = zero_writes(base_end)
        elif mean is not None:
            donor = mean.at_end(len(pairs))
        else:
            donor = (prepared.counterfactual if noising else prepared.reference)[pairs]
        if len(run.final) > len(pairs):
            return run, run, _replaced_at_end(run, donor, len(pairs))
        # Captured in the same way as the donor, so that equal outputs in both runs differ by exactly 0.
        return run, base_end, donor
    if patching.source == "zero":
        return run, run, zero_writes(run)
    if mean is not None:
        return run, run, mean.everywhere(len(pairs), len(base_ids(encoded[0], patching)))
    donor = run_from(model, [_donor_ids(pair, patching) for pair in encoded], first, plan.tokens)
    return run, run, Writes(donor.z, donor.mlp)


def _replaced_at_end(run: HasWrites, donor: HasWrites, prompts: int) -> Writes:
    """The run's own outputs, with the donor's at END."""
    z, mlp = run.z.clone(), run.mlp.clone()
    z.unflatten(0, (prompts, -1))[:, -1] = donor.z
    mlp.unflatten(0, (prompts, -1))[:, -1] = donor.mlp
    return Writes(z, mlp)


def _patches(
    model: LoadedModel, run: HasWrites, donor: HasWrites, start: int, stop: int
) -> Callable[[int, EntryPoint], Float[Tensor, "new row hidden"] | None]:
    """The patches of components ``start`` to ``stop``, numbered layer by layer, a layer's heads before its MLP."""
    heads = model.layout.heads

    def enter(layer: int, point: EntryPoint) -> Tensor | None:
        low, high = start - layer * (heads + 1), stop - layer * (heads + 1)
        if point == "heads" and low < heads and high > 0:
            z = run.z[:, layer]
            delta = (donor.z[:, layer] - z).transpose(0, 1)
            return model.layout.blocks[layer].head_writes(delta, z, model.dtype)[max(0, low) : min(heads, high)]
        if point == "mlp" and low <= heads < high:
            return (donor.mlp[:, layer] - run.mlp[:, layer])[None]
        return None

    return enter


def _same_output(run: HasWrites, donor: HasWrites, prompts: int) -> Bool[Tensor, "component pair"]:
    """True for components with identical outputs in both runs: their effect is 0 by definition."""
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
    rows_at_once = plan.rows // UNEMBED_SHARE if probability else plan.rows
    for rows in x.split(max(1, rows_at_once // len(final))):
        patched = rows + final
        logits.append(column_logits(model.layout, patched, columns))
        if probability:
            totals.append(all_logits(model, patched).logsumexp(-1))
    return torch.cat(logits), torch.cat(totals) if probability else None
