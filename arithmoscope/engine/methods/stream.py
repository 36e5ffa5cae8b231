"""Residual stream patching: the layers and positions that carry the difference between the two prompts.

What it measures. The residual stream that layer l reads at position t of the reference run is replaced by the
counterfactual's there, everything after it is recomputed, and the change of the answer's logit at END is read:

    effect[l, t]     = logit(reference with stream[l, t] of the counterfactual) - logit(reference)
    recovered[l, t]  = effect[l, t] / (logit(counterfactual) - logit(reference))        1: all of the difference

Early layers show an effect at the tokens that differ, late layers at END: in between the information is moved.

Source: Meng et al., Locating and Editing Factual Associations in GPT, NeurIPS 2022 (patching hidden states).

Exact. Before the first token that differs the two runs are the same, and the effect is 0 by definition.

Cost. For each position from the first that differs: a forward pass and a wave over the layers, in which each layer's
patch joins those of earlier layers; about L/2 evaluations of every layer for the positions after it.

When it misleads. The whole stream is replaced, with everything it carries besides the calculation. Effects at different
places overlap and do not add up. Shares of a small difference are noise: average effects first, then divide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for
from arithmoscope.engine.forward.cached_run import Run, first_difference, run_from
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import column_logits
from arithmoscope.engine.interventions.propagation import EntryPoint, carry
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult
from arithmoscope.prompts import EncodedPair, refuse_unequal_lengths


@dataclass(frozen=True, eq=False)
class StreamEffects(TensorResult):
    """Effects of the residual stream at every layer and position, in logits of the answer, on the CPU.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        questions: The question of each pair.
        effects: Patched minus reference logit [pair, layer, position]; NaN beyond the end of a shorter prompt.
        lengths: Number of tokens of each pair's prompts [pair].
        reference: The answer's logit in the reference run [pair].
        counterfactual: The answer's logit in the counterfactual run [pair].
        noise: |logit of the unpatched control row - reference logit|, the maximum over positions [pair].

    Example:
        >>> effects = am.stream(model, pairs[:2])
        >>> effects.recovered.shape  # [pair, layer, position]
        torch.Size([2, ...])
        >>> effects.save("stream.safetensors")
        >>> len(am.StreamEffects.load("stream.safetensors"))
        2
    """

    file_format = "arithmoscope.stream_effects.1"
    noun = "stream effects"

    model: str
    revision: str
    questions: tuple[str, ...]
    effects: Float[Tensor, "pair layer position"]
    lengths: Int[Tensor, " pair"]
    reference: Float[Tensor, " pair"]
    counterfactual: Float[Tensor, " pair"]
    noise: Float[Tensor, " pair"]

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def recovered(self) -> Float[Tensor, "pair layer position"]:
        """Each effect as a share of the difference between the two runs; NaN where they do not differ."""
        difference = (self.counterfactual - self.reference)[:, None, None]
        return torch.where(difference == 0, torch.nan, self.effects / difference)


@check_arguments()
@torch.no_grad()
def stream(
    model: LoadedModel, pairs: Sequence[PromptPair], *, progress: Callable[[int, int], None] | None = None
) -> StreamEffects:
    """Effect of the residual stream that each layer reads, at each position, on the answer's logit.

    Patching of hidden states (Meng et al., 2022).

    Args:
        model: The model to analyse.
        pairs: Prompt pairs whose two prompts have the same number of tokens; each answer is one token of the model.
        progress: Called with (positions done, positions in total), summed over the pairs.

    Returns:
        Changes of the answer's logit at END [pair, layer, position], on the CPU.

    Raises:
        Refusal: ``lengths_differ`` for a pair whose prompts differ in length; otherwise as `path_patching`.

    Example:
        >>> effects = am.stream(model, pairs[:2])
        >>> effects.effects.shape  # [pair, layer, position]
        torch.Size([2, ...])
    """
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    encoded = encode_all(model, pairs)
    refuse_unequal_lengths(encoded, "all", "counterfactual")
    longest = max(len(each.reference_ids) for each in encoded)
    layers, wide = model.layout.layers, model.work_dtype
    result = StreamEffects(
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(each.question for each in encoded),
        effects=torch.full((len(encoded), layers, longest), torch.nan, dtype=wide),
        lengths=torch.tensor([len(each.reference_ids) for each in encoded]),
        reference=torch.empty(len(encoded), dtype=wide),
        counterfactual=torch.empty(len(encoded), dtype=wide),
        noise=torch.zeros(len(encoded), dtype=wide),
    )
    firsts = [first_difference(each.reference_ids, each.counterfactual_ids) for each in encoded]
    total = sum(len(each.reference_ids) - first for each, first in zip(encoded, firsts, strict=True))
    positions = longest if model.runs_alone else longest - min(firsts)
    plan = plan_for(model, Shape("total", longest, positions, len(encoded)))
    before = furthest = 0
    groups: dict[int, list[int]] = defaultdict(list)
    for row, each in enumerate(encoded):
        groups[len(each.reference_ids)].append(row)

    def measure(rest: Sequence[int], plan: Plan) -> int:
        nonlocal before, furthest
        rows = rest[: 1 if model.runs_alone else plan.pairs]
        done = before
        for measured in _measure(model, encoded, firsts, rows, plan, result):
            done += measured
            furthest = max(furthest, done)  # a batch is repeated after running out of memory
            if progress is not None:
                progress(furthest, total)
        before = done
        return len(rows)

    run_in_chunks(groups.values(), plan, measure)
    return result


def _measure(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    firsts: Sequence[int],
    rows: Sequence[int],
    plan: Plan,
    result: StreamEffects,
) -> Iterator[int]:
    """Measures pairs of one length, one position at a time, and writes into ``result``; yields the number of pairs that
    each position was measured on."""
    length = len(encoded[rows[0]].reference_ids)
    begin = min(firsts[row] for row in rows)
    result.effects[list(rows), :, :length] = 0.0
    donor = run_from(model, [encoded[row].counterfactual_ids for row in rows], begin, plan.tokens)
    answers = torch.tensor([[encoded[row].answer_id] for row in rows], device=model.device)
    result.counterfactual[list(rows)] = _at_end(model, donor, len(rows), answers)
    for position in range(begin, length):
        part = [index for index, row in enumerate(rows) if firsts[row] <= position]
        pairs = [rows[index] for index in part]
        # A model that runs prompts one by one must not split the pass either: every position is recomputed.
        first = 0 if model.runs_alone else position
        run = run_from(model, [encoded[row].reference_ids for row in pairs], first, plan.tokens)
        result.reference[pairs] = reference = _at_end(model, run, len(part), answers[part])
        patch = donor.stream.unflatten(0, (len(rows), -1))[part, position - begin]
        delta = patch - run.stream.unflatten(0, (len(part), -1))[:, position - first]
        logits = _patched(model, run, delta, position - first, answers[part], plan).cpu()
        if not bool(logits.isfinite().all()):
            raise Refusal("not_finite", "The patched runs' logits are not finite.")
        # Row 0 is the control: nothing patched, everything recomputed.
        change = (logits[1:] - logits[0]).masked_fill((delta == 0).all(-1).T.cpu(), 0.0)
        result.effects[pairs, :, position] = change.T
        result.noise[pairs] = torch.maximum(result.noise[pairs], (logits[0] - reference).abs())
        yield len(part)


def _at_end(model: LoadedModel, run: Run, prompts: int, answers: Int[Tensor, "pair 1"]) -> Float[Tensor, " pair"]:
    """The answers' logits in a run."""
    final = run.final.unflatten(0, (prompts, -1))[:, -1]
    return column_logits(model.layout, final, answers)[:, 0].cpu()


def _patched(
    model: LoadedModel,
    run: Run,
    delta: Float[Tensor, "pair layer hidden"],
    position: int,
    answers: Int[Tensor, "pair 1"],
    plan: Plan,
) -> Float[Tensor, "rows pair"]:
    """The answers' logits: of the control, then with ``delta`` added to the input of each layer at position ``at``."""
    layers, prompts = model.layout.layers, len(delta)

    def enter(layer: int, place: EntryPoint, low: int, high: int) -> Tensor | None:
        if place != "stream" or not low <= layer < high:
            return None
        whole = torch.zeros(prompts, run.positions, delta.shape[-1], dtype=delta.dtype, device=delta.device)
        whole[:, position] = delta[:, layer]
        return whole.flatten(0, 1)[None]

    parts = []
    with evaluating(model.hf):
        for low in range(0, layers, plan.components):
            high = min(low + plan.components, layers)
            x = carry(
                model,
                run,
                "total",
                lambda layer, place, low=low, high=high: enter(layer, place, low, high),
                high - low,
                first_layer=low,
                product_rows=plan.rows,
            )
            end = (x + run.final).unflatten(1, (prompts, -1))[:, :, -1]
            logits = column_logits(model.layout, end, answers)[..., 0]
            parts.append(logits if low == 0 else logits[1:])
    return torch.cat(parts)
