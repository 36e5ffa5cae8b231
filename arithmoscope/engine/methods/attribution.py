"""Attribution patching at the last position: an estimate of every component's total effect from one gradient.

What it measures. To first order, the change of the answer's logit at END when a component's output there is replaced by
its output in the counterfactual run, everything after it recomputed:

    heads, mlps     (a_counterfactual - a_reference) . g_a         a: the head's output z before the projection, or
                                                                  the MLP's output; g_a = d logit / d a at END
    queries, keys   (z(q') - z(q)) . g_z                           the head's attention row of END recomputed, softmax
                                                                  included, from the counterfactual's query at END or
                                                                  its keys at the positions that END attends to

The correction for queries and keys matters: a saturated softmax has no gradient, so the plain estimate of a query's
effect is near 0 exactly where attention is sharpest. A query of the counterfactual is computed at the reference's
position. Keys are aligned position by position, so they need prompts of equal length.

Sources: Nanda, Attribution Patching, 2023; Syed et al., Attribution Patching Outperforms Automated Circuit Discovery,
2023; Kramar et al., AtP*: An Efficient and Scalable Method for Localizing LLM Behaviour to Components, 2024 (the
correction for queries and keys).

Approximate, without an error bound; therefore every result carries its rank correlation with exact effects, computed
for all components of a small model and for a random sample of a large one (random, so that the correlation estimates
that of the whole model), besides exact effects of the components with the largest estimates.

Cost. Two forward passes, and one backward pass of a single token: END changes nothing before it, so the gradient
needs the graph of END alone.

When it misleads. Patches are large steps, and norms, MLPs and softmaxes are not linear: signs can be wrong, and two
effects that cancel hide one another. Use it to choose what to verify, and `path_patching(effect="total")` to verify.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import EndStates, encode_all, end_states
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for, retry_on_oom
from arithmoscope.engine.forward.cached_run import Run, run_from
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import column_logits
from arithmoscope.engine.interventions.gradient_estimates import estimate_effects
from arithmoscope.engine.interventions.propagation import EntryPoint, carry
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.rank_correlation import RankCorrelation, correlate_ranks, strongest_components
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult
from arithmoscope.prompts import EncodedPair

# Exact effects are computed for all components of a model with at most this many, else for a random sample and the top.
_ALL = 64
_DRAWN = 32
_TOP = 16
_CHECKED_PAIRS = 16


@dataclass(frozen=True, eq=False)
class Attribution(TensorResult):
    """Estimated total effects on every pair, in logits of the answer, on the CPU.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        questions: The question of each pair.
        heads: Effects of heads [pair, layer, head].
        mlps: Effects of MLPs [pair, layer].
        queries: Effects of each head's query at END [pair, layer, head].
        keys: Effects of each head's keys [pair, layer, head]; NaN for a pair whose prompts differ in length, None if
            all do.
        pairs_without_keys: Number of pairs whose prompts differ in length.
        reference: The answer's logit in the reference run [pair].
        correlation: Rank correlation with the exact effects: those passed as ``exact``, or those of ``checked``.
        checked: Components whose exact total effects were computed, on the first ``len(checked_exact)`` pairs: the
            random sample, then those of `verify_first`.
        checked_exact: Their exact effects [pair, checked].

    Example:
        >>> estimate = am.attribution(model, pairs)
        >>> first = estimate.verify_first(5)
        >>> exact = am.path_patching(model, pairs, effect="total")
        >>> correlation = estimate.rank_correlation(exact).absolute
        >>> estimate.save("attribution.safetensors")
        >>> len(am.Attribution.load("attribution.safetensors"))
        16
    """

    file_format = "arithmoscope.attribution.1"
    noun = "attribution"

    model: str
    revision: str
    questions: tuple[str, ...]
    heads: Float[Tensor, "pair layer head"]
    mlps: Float[Tensor, "pair layer"]
    queries: Float[Tensor, "pair layer head"]
    keys: Float[Tensor, "pair layer head"] | None
    pairs_without_keys: int
    reference: Float[Tensor, " pair"]
    correlation: RankCorrelation
    checked: tuple[str, ...]
    checked_exact: Float[Tensor, "checked_pair checked"]

    def __len__(self) -> int:
        return len(self.questions)

    @check_arguments()
    def rank_correlation(self, exact: PatchingEffects) -> RankCorrelation:
        """Rank correlation with exact effects.

        Args:
            exact: Effects of all components on the same pairs, patched at END with the counterfactual.

        Returns:
            Spearman's correlation over the components, of mean |effects| and of mean effects.

        Raises:
            Refusal: ``bad_request`` for effects of other pairs, another model or another patch.
        """
        return _to_exact(self.questions, _by_component(self.heads, self.mlps), exact)

    @check_arguments(k=Range(1))
    def verify_first(self, k: int) -> list[Component]:
        """The components with the largest estimates, to verify with exact path patching.

        Args:
            k: Number of components.

        Returns:
            The ``k`` heads and MLPs with the largest mean |estimate|, largest first.
        """
        return strongest_components(_by_component(self.heads, self.mlps), self.heads.shape[1], self.heads.shape[2], k)


@check_arguments()
def attribution(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    exact: PatchingEffects | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Attribution:
    """Estimated total effect of every head, MLP, query and key on the answer's logit, from one gradient.

    Attribution patching (Nanda, 2023) with the corrections of AtP* for queries and keys (Kramar et al., 2024).

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; each answer is one token of the model.
        exact: Effects of the same pairs to compare the estimate with; None to compute exact total effects here, of all
            components of a small model, of a sample of a large one.
        progress: Called with (done, total): pairs, then exactly computed components.

    Returns:
        Estimated changes of the answer's logit: heads, queries and keys [pair, layer, head], MLPs [pair, layer], on
        the CPU, with their rank correlation with exact effects.

    Raises:
        Refusal: As `path_patching`; ``unsupported_architecture`` if the attention row at END cannot be recomputed from
            queries and keys as the model does; ``bad_request`` if ``exact`` is of other pairs or another patch.

    Example:
        >>> estimate = am.attribution(model, pairs)
        >>> estimate.queries.shape  # [pair, layer, head]
        torch.Size([16, ...])
        >>> -1 <= estimate.correlation.signed <= 1
        True
    """
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    encoded = encode_all(model, pairs)
    questions = tuple(each.question for each in encoded)
    layers, heads = model.layout.layers, model.layout.heads
    everything = all_components(layers, heads)
    few = encoded[:_CHECKED_PAIRS]
    if exact is not None:
        drawn = []
        _to_exact(questions, torch.zeros(len(pairs), len(everything)), exact)  # checks before the work, not after
    elif len(everything) <= _ALL:
        drawn = everything
    else:
        drawn = random.Random(0).sample(everything, _DRAWN)
    top = 0 if exact is not None or drawn == everything else _TOP
    report = _Progress(progress, len(pairs) + (0 if exact is not None else len(drawn) + top))

    length = max(len(ids) for each in encoded for ids in (each.reference_ids, each.counterfactual_ids))
    plan = plan_for(model, Shape("total", length, 1, len(pairs)))
    estimate, plan = estimate_effects(model, encoded, plan, report)
    flat = estimate.nodes.flatten(1)
    if not bool(flat.isfinite().all()) or not bool(estimate.queries.isfinite().all()):
        raise Refusal("not_finite", "The estimates are not finite.")

    checked = [*drawn, *(c for c in strongest_components(flat, layers, heads, top) if c not in drawn)]
    checked_exact, _ = retry_on_oom(plan, lambda plan: _totals(model, few, checked, plan))
    if exact is None:
        columns = [everything.index(component) for component in drawn]
        of_all = drawn == everything
        correlation = correlate_ranks(
            flat[: len(few), columns], checked_exact[:, : len(drawn)], "total", drawn=not of_all
        )
        report(len(pairs) + len(drawn) + top)
    else:
        correlation = _to_exact(questions, flat, exact)
    without = sum(len(each.reference_ids) != len(each.counterfactual_ids) for each in encoded)
    return Attribution(
        model=model.card.id,
        revision=model.card.revision,
        questions=questions,
        heads=estimate.nodes[..., :-1].contiguous(),
        mlps=estimate.nodes[..., -1].contiguous(),
        queries=estimate.queries,
        keys=None if without == len(pairs) else estimate.keys,
        pairs_without_keys=without,
        reference=estimate.reference,
        correlation=correlation,
        checked=tuple(str(component) for component in checked),
        checked_exact=checked_exact,
    )


class _Progress:
    """A progress callback with a fixed total; does nothing without one."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total = progress, total

    def __call__(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._total)


@torch.no_grad()
def _totals(
    model: LoadedModel, encoded: Sequence[EncodedPair], components: Sequence[Component], plan: Plan
) -> Float[Tensor, "pair component"]:
    """Exact total effects of a list of components, in one wave that each joins at its layer."""
    order = sorted(components, key=lambda c: (c.layer, c.head is None, c.head))
    effects = torch.empty(len(encoded), len(order), dtype=model.work_dtype)
    by_length: dict[int, list[int]] = {}
    for row, each in enumerate(encoded):
        by_length.setdefault(len(each.reference_ids), []).append(row)
    for length, rows in by_length.items() if order else ():
        run = run_from(model, [encoded[row].reference_ids for row in rows], length - 1, plan.tokens)
        source = end_states(model, [encoded[row].counterfactual_ids for row in rows], plan.tokens)

        def enter(layer: int, place: EntryPoint, run: Run = run, source: EndStates = source) -> Tensor | None:
            heads = [c.head for c in order if c.layer == layer and c.head is not None]
            if place == "heads" and heads:
                here = run.z[:, layer]
                delta = (source.z[:, layer] - here).transpose(0, 1)
                return model.layout.blocks[layer].head_writes(delta, here, model.dtype)[heads]
            if place == "mlp" and Component(layer) in order:
                return (source.mlp[:, layer] - run.mlp[:, layer])[None]
            return None

        with evaluating(model.hf):
            moved = carry(model, run, "total", enter, len(order), product_rows=plan.rows)
        answers = torch.tensor([[encoded[row].answer_id] for row in rows], device=model.device)
        logits = column_logits(model.layout, moved + run.final, answers)[..., 0]
        effects[rows] = (logits[1:] - logits[0]).T.cpu()
    return effects[:, [order.index(component) for component in components]]


def _by_component(heads: Tensor, mlps: Tensor) -> Float[Tensor, "pair component"]:
    return torch.cat([heads, mlps[..., None]], dim=-1).flatten(1)


def _to_exact(questions: Sequence[str], estimate: Tensor, exact: PatchingEffects) -> RankCorrelation:
    effects = _by_component(exact.heads, exact.mlps)
    if exact.questions != tuple(questions) or effects.shape != estimate.shape:
        raise Refusal(
            "bad_request",
            "The exact effects are not of these pairs and this model.",
            "Pass the result of path_patching for the same list of pairs.",
        )
    if (exact.positions, exact.source, exact.direction) != ("end", "counterfactual", "noising"):
        raise Refusal(
            "bad_request",
            f"The exact effects are of positions {exact.positions!r}, source {exact.source!r}, direction "
            f"{exact.direction!r}; the estimate is of 'end', 'counterfactual', 'noising'.",
            "Pass the result of path_patching with its defaults, or with effect='total'.",
        )
    return correlate_ranks(estimate, effects, exact.effect, drawn=False)
