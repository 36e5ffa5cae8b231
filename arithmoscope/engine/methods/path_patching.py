"""Path patching and activation patching: how much of the answer's logit each attention head and MLP carries.

What it measures. The reference prompt carries a calculation, the counterfactual does not. For each component c, its
output is replaced by what it wrote in the counterfactual run, and the change of the answer's logit is read:

    delta_c  = W_O[h] (z_counterfactual - z_reference)      for a head, z being its output before the projection
    delta_c  = mlp_counterfactual - mlp_reference            for an MLP

    direct        logit(norm(x_final + delta_c)) - logit(norm(x_final))       everything else frozen
    through_mlps  the same with every later MLP recomputed, all other heads frozen at their reference output
    total         everything later recomputed (activation patching), patched at END or at all positions

The source of the patch may also be zero, the mean over a set of prompts, or another prompt of the set (ablations).
Denoising swaps the two runs: the counterfactual is run, and one component's output of the reference run is restored.

Sources: Wang et al., Interpretability in the Wild, ICLR 2023 (path patching with MLPs recomputed); Zhang et al.,
Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 3; Meng et al., Locating
and Editing Factual Associations in GPT, NeurIPS 2022 (activation patching); Heimersheim and Nanda, How to use and
interpret activation patching, 2024 (noising and denoising).

Exact: no linearisation; the final norm is recomputed for every component. With the heads frozen no patch crosses
positions, so only END is recomputed; for `total` all positions from the first patched one on.

Cost. Two forward passes over the prompts, then for `direct` one norm and one product with the unembedding's columns;
for `through_mlps` one wave over the layers that reads each MLP once for all components: on average half of the
L(H+1) components are in the wave, so about L(H+1)/2 MLP evaluations per pair. For `total` as many evaluations of
whole layers, for every position from the first patched one on.

When it misleads. Effects of components do not add up (the norm and the MLPs are not linear). In `direct` and
`through_mlps` a component that matters only through later heads shows no effect. Raw logits are defined up to a
constant: compare `logit_difference`. Zero is an activation that the model never saw in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import refuse_impossible
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.terms import Direction, Effect, Positions, Source
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


@check_arguments(memory=Range(1))
def path_patching(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    effect: Effect = "through_mlps",
    positions: Positions = "end",
    source: Source = "counterfactual",
    direction: Direction = "noising",
    mean_over: Sequence[PromptPair] | None = None,
    seed: int = 0,
    probability: bool = False,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PatchingEffects:
    """Effect of every attention head and every MLP on the answer's logit, exactly.

    Path patching (Wang et al., 2023; Zhang et al., 2024, section 3), or activation patching with ``effect="total"``
    (Meng et al., 2022). No pair is dropped: every axis follows the list.

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; each answer is one token of the model.
        effect: ``"direct"`` freezes everything else, ``"through_mlps"`` recomputes later MLPs, ``"total"`` recomputes
            everything later.
        positions: Where components are patched: ``"end"``, or ``"all"`` (with ``effect="total"`` only).
        source: Source of the patch: the component's output in the ``"counterfactual"`` run, ``"zero"``, its ``"mean"``
            over the reference prompts of ``mean_over``, or ``"resample"``: the reference prompt of another pair.
        direction: ``"noising"`` patches the reference run; ``"denoising"`` restores the reference run's output in the
            counterfactual run.
        mean_over: Pairs whose reference prompts are averaged; None for ``pairs``.
        seed: Seed of the draw for ``"resample"``.
        probability: Also compute the change of the answer's probability, which costs a full unembedding per component.
        memory: Memory budget in bytes, excluding the model; None for the device's free memory.
        progress: Called with (layers done, layers in total), summed over the chunks of pairs.

    Returns:
        Changes of the answer's logit at END, patched minus unpatched: ``heads`` [pair, layer, head] and ``mlps``
        [pair, layer], on the CPU, in float32 (float64 for a float64 model). Negative: removing the component hurts.

    Raises:
        Refusal: `BadPrompt` for an empty list or a prompt that cannot be tokenised (``empty_prompt``,
            ``answer_several_tokens``, ``lengths_differ`` where all positions are patched, ...); `BadArgument` for an
            argument out of range or of another kind (``bad_request``) or options that exclude each other
            (``impossible_options``); ``not_finite`` if the model computes NaN or infinity; ``out_of_memory`` if one
            prompt exceeds the memory.

    Example:
        >>> effects = am.path_patching(model, pairs, effect="direct")
        >>> effects.heads.shape  # [pair, layer, head]
        torch.Size([16, ...])
        >>> [row.component for row in effects.ranking("logit")[:3]]
        [...]
    """
    refuse_impossible(effect, positions, source, direction)
    patching = Patching(effect, positions, source, direction, probability)
    if mean_over is not None and patching.source != "mean":
        raise Refusal("bad_request", "mean_over is given, but the source is not the mean.", "Leave out one of them.")
    encoded = encode_all(model, pairs)
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    if patching.source == "resample":
        encoded = resampled(encoded, patching.positions, seed)
    mean_pairs = encoded if mean_over is None else encode_all(model, mean_over)
    plan = plan_of(model, encoded, patching, mean_pairs, memory)
    mean, plan = mean_of(model, encoded, mean_pairs, patching, plan)
    layers, parts, furthest = model.layout.layers, [], 0
    starts = range(0, len(encoded), plan.pairs)
    step = plan.pairs
    for chunk, start in enumerate(starts):
        batch = encoded[start : start + step]

        def report(fraction: float, chunk: int = chunk) -> None:
            nonlocal furthest  # a chunk is repeated after running out of memory
            furthest = max(furthest, int((chunk + fraction) * layers + 1e-6))
            if progress is not None:
                progress(furthest, len(starts) * layers)

        def measure(plan: Plan, batch: Sequence[EncodedPair] = batch, report: Report = report) -> PatchedPairs:
            return patch_pairs(model, batch, patching, mean, plan, report=report)

        measured, plan = retry_on_oom(plan, measure)
        parts.append(measured.effects)
    return PatchingEffects.concatenate(parts)


def plan_of(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    patching: Patching,
    mean_pairs: Sequence[EncodedPair] = (),
    memory: int | None = None,
) -> Plan:
    """Batch sizes for these pairs within ``memory`` bytes. ``mean_pairs``: the pairs to average over.

    Raises:
        Refusal: The pairs cannot be patched in this way; raised before anything is computed.
    """
    lengths = [max(len(e.reference_ids), len(e.counterfactual_ids)) for e in encoded]
    positions = [len(base_ids(e, patching)) - first_followed(e, patching) for e in encoded]
    if patching.source == "mean":
        check_means(encoded, mean_pairs, patching.positions)
        lengths += [len(e.reference_ids) for e in mean_pairs]
    if model.runs_alone:
        positions = lengths
    shape = Shape(patching.effect, max(lengths), max(positions), len(encoded), patching.probability)
    return plan_for(model, shape, memory)


def mean_of(
    model: LoadedModel,
    pairs: Sequence[EncodedPair],
    mean_pairs: Sequence[EncodedPair],
    patching: Patching,
    plan: Plan,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Means | None, Plan]:
    """Mean outputs over the reference prompts of ``mean_pairs``, to patch ``pairs``; None for other sources.

    ``check_stop`` is called between batches and may raise.
    """
    if patching.source != "mean":
        return None, plan
    prompts = [pair.reference_ids for pair in mean_pairs]
    lengths = {len(pair.reference_ids) for pair in pairs} if patching.positions == "all" else set()
    return retry_on_oom(plan, lambda plan: means(model, prompts, lengths, plan, check_stop))
