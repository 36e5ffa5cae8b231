"""Path patching and activation patching: how much of the answer's logit each attention head and MLP carries.

What it measures. The reference prompt carries a calculation, the counterfactual does not. For each component c, its
output is replaced by what it wrote in the counterfactual run, and the change of the answer's logit is read:

    delta_c  = W_O[h] (z_counterfactual - z_reference)      for a head, z being its output before the projection
    delta_c  = mlp_counterfactual - mlp_reference            for an MLP

    direct        logit(norm(x_final + delta_c)) - logit(norm(x_final))       everything else frozen
    through_mlps  the same with every later MLP recomputed, all other heads frozen at their reference output
    total         everything later recomputed (activation patching), patched at END or at all positions

The source of the patch may also be zero, the mean over a set of prompts, or another prompt of the set (ablations).
Denoising turns the two runs round: the counterfactual is run, and one component's output of the reference put back.

Sources: Wang et al., Interpretability in the Wild, ICLR 2023 (path patching with MLPs recomputed); Zhang et al.,
Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 3; Meng et al., Locating
and Editing Factual Associations in GPT, NeurIPS 2022 (activation patching); Heimersheim and Nanda, How to use and
interpret activation patching, 2024 (noising and denoising).

Exact: no linearisation, the final norm is recomputed for every component. With the heads frozen nothing crosses
positions, so END alone is followed; for `total` the positions from the first patched one on.

Cost. Two forward passes over the prompts, then for `direct` one norm and one product with the unembedding's columns;
for `through_mlps` one wave over the layers that reads each MLP once for all components: on average half of the
L(H+1) components are in the wave, so about L(H+1)/2 MLP evaluations per pair. For `total` as many evaluations of
whole layers, for every position from the first patched one on.

When it misleads. Effects of components do not add up (the norm and the MLPs are not linear). In `direct` and
`through_mlps` a component that matters only through later heads shows nothing. Raw logits are defined up to a
constant: compare `logit_difference`. Zero is a state that the model never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.specs import Direction, Effect, Positions, Source, refuse_impossible
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for, retry_on_oom
from arithmoscope.engine.interventions.patching import (
    PatchedPairs,
    Patching,
    Report,
    base_ids,
    first_followed,
    patch_pairs,
)
from arithmoscope.engine.interventions.replacements import Means, check_means, means, resampled
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

Progress = Callable[[int, int], None]


def path_patching(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    effect: Effect | str = "through_mlps",
    positions: Positions | str = "end",
    source: Source | str = "counterfactual",
    direction: Direction | str = "noising",
    mean_over: Sequence[PromptPair] | None = None,
    seed: int = 0,
    probability: bool = False,
    memory: int | None = None,
    progress: Progress | None = None,
) -> PatchingEffects:
    """Every head's and every MLP's effect on every pair, in logits of the right answer.

    ``effect``: ``direct``, ``through_mlps`` or ``total``. ``positions``: where components are patched, ``end`` or (with
    ``total``) ``all``. ``source``: what is patched in: ``counterfactual``, ``zero``, ``mean`` over the reference
    prompts of ``mean_over`` (default: of these pairs), or ``resample``: the reference prompt of another pair, drawn
    with ``seed``. ``direction``: ``noising`` patches the reference run; ``denoising`` patches the counterfactual run
    with what was written in the reference run. ``probability`` also computes the change of the answer's probability,
    which costs a full unembedding per component. ``memory``: bytes to stay within beyond the model (default: measured
    from the device). ``progress(done, total)`` counts layers. No pair is dropped.

    Refuses a prompt that cannot be read as tokens, an answer of several tokens, prompts of different lengths where all
    positions are patched, a model whose numbers are not finite, and a budget that one prompt does not keep to.
    """
    asked = patching_of(effect, positions, source, direction, probability)
    if mean_over is not None and asked.source != "mean":
        raise Refusal("bad_request", "mean_over is given, and the source is not the mean.", "Leave out one of them.")
    if not isinstance(seed, int) or (memory is not None and not isinstance(memory, int)):
        raise Refusal("bad_request", "seed and memory are whole numbers; memory is in bytes.", "Give numbers.")
    encoded = encode_all(model, pairs or [])
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    if asked.source == "resample":
        encoded = resampled(encoded, asked.positions, seed)
    over = encoded if mean_over is None else encode_all(model, mean_over)
    plan = plan_of(model, encoded, asked, over, memory)
    mean, plan = mean_of(model, encoded, over, asked, plan)
    layers, parts, furthest = model.layout.layers, [], 0
    starts = range(0, len(encoded), plan.pairs)
    step = plan.pairs
    for chunk, start in enumerate(starts):
        some = encoded[start : start + step]

        def report(fraction: float, chunk: int = chunk) -> None:
            nonlocal furthest  # when memory ran out, some is done again
            furthest = max(furthest, int((chunk + fraction) * layers + 1e-6))
            if progress is not None:
                progress(furthest, len(starts) * layers)

        def measure(plan: Plan, some: Sequence[EncodedPair] = some, report: Report = report) -> PatchedPairs:
            return patch_pairs(model, some, asked, mean, plan, report=report)

        measured, plan = retry_on_oom(plan, measure)
        parts.append(measured.effects)
    return PatchingEffects.concatenate(parts)


def patching_of(effect: str, positions: str, source: str, direction: str, probability: bool) -> Patching:
    """The words as one value. Refuses words that there are not (``bad_request``), and words that do not go together
    (``impossible_options``)."""
    for word, what, known in (
        (effect, "effect", Effect),
        (positions, "positions", Positions),
        (source, "source", Source),
        (direction, "direction", Direction),
    ):
        if word not in get_args(known):
            raise Refusal("bad_request", f"There is no {what} {word!r}; there are {', '.join(get_args(known))}.")
    asked: Any = Patching(effect, positions, source, direction, probability)  # pyright: ignore[reportArgumentType]
    refuse_impossible(asked.effect, asked.positions, asked.source, asked.direction)
    return asked


def plan_of(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    asked: Patching,
    over: Sequence[EncodedPair] = (),
    memory: int | None = None,
) -> Plan:
    """How much of some pairs is computed at once, within ``memory`` bytes; ``over``: what a mean is taken over.

    Refuses pairs that cannot be patched as asked, before anything is computed.
    """
    lengths = [max(len(e.reference_ids), len(e.counterfactual_ids)) for e in encoded]
    positions = [len(base_ids(e, asked)) - first_followed(e, asked) for e in encoded]
    if asked.source == "mean":
        check_means(encoded, over, asked.positions)
        lengths += [len(e.reference_ids) for e in over]
    if model.runs_alone:
        positions = lengths
    return plan_for(model, Shape(asked.effect, max(lengths), max(positions), len(encoded), asked.probability), memory)


def mean_of(
    model: LoadedModel,
    pairs: Sequence[EncodedPair],
    over: Sequence[EncodedPair],
    asked: Patching,
    plan: Plan,
    go_on: Callable[[], None] = lambda: None,
) -> tuple[Means | None, Plan]:
    """What the source ``mean`` needs of a set's reference prompts, to patch some pairs; None for other sources."""
    if asked.source != "mean":
        return None, plan
    prompts = [pair.reference_ids for pair in over]
    lengths = {len(pair.reference_ids) for pair in pairs} if asked.positions == "all" else set()
    return retry_on_oom(plan, lambda plan: means(model, prompts, lengths, plan, go_on))
