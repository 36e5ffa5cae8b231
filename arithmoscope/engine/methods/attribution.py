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

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.families.layout import Block
from arithmoscope.engine.forward.activations import EndStates, TokenIds, encode_all, end_states
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for, retry_on_oom
from arithmoscope.engine.forward.cached_run import Run, run_from
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.forward.end_attention import EndAttention, Listener, cache_before_end, last_tokens, listening
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.forward.logits import column_logits
from arithmoscope.engine.interventions.propagation import EntryPoint, carry
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.rank_correlation import RankCorrelation, correlate_ranks, strongest_components
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import read_tensors, write_tensors
from arithmoscope.prompts import EncodedPair

# Exact effects are computed for all components of a model with at most so many, else for a random sample and the top.
_ALL = 64
_DRAWN = 32
_TOP = 16
_CHECKED_PAIRS = 16


@dataclass(frozen=True, eq=False)
class Attribution:
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

    def verify_first(self, k: int) -> list[Component]:
        """The components with the largest estimates, to verify with exact path patching.

        Args:
            k: Number of components.

        Returns:
            The ``k`` heads and MLPs with the largest mean |estimate|, largest first.
        """
        return strongest_components(_by_component(self.heads, self.mlps), self.heads.shape[1], self.heads.shape[2], k)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file.

        Args:
            path: The file to write.
        """
        whole = {field.name: getattr(self, field.name) for field in fields(self)}
        write_tensors(path, "attribution", {**whole, "correlation": asdict(self.correlation)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Attribution:
        """Read a file that `save` wrote.

        Args:
            path: The file to read.

        Returns:
            The same estimates, bit for bit.

        Raises:
            Refusal: ``bad_request`` if the file holds something else.
        """
        read = read_tensors(path, "attribution")
        for name in ("questions", "checked"):
            read[name] = tuple(read[name])
        return cls(**{**read, "correlation": RankCorrelation(**read["correlation"])})


@dataclass(frozen=True)
class _Estimate:
    """Estimates for a list of pairs; keys are NaN where the prompts of a pair differ in length."""

    nodes: Float[Tensor, "pair layer head_or_mlp"]
    queries: Float[Tensor, "pair layer head"]
    keys: Float[Tensor, "pair layer head"]
    reference: Float[Tensor, " pair"]


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
    estimate, plan = _estimate(model, encoded, plan, report)
    flat = estimate.nodes.flatten(1)
    if not bool(flat.isfinite().all()) or not bool(estimate.queries.isfinite().all()):
        raise Refusal("not_finite", "The estimates are not finite.")

    checked = [*drawn, *(c for c in strongest_components(flat, layers, heads, top) if c not in drawn)]
    checked_exact, _ = retry_on_oom(plan, lambda plan: _totals(model, few, checked, plan))
    if exact is None:
        at = [everything.index(component) for component in drawn]
        of_all = drawn == everything
        correlation = correlate_ranks(flat[: len(few), at], checked_exact[:, : len(drawn)], "total", drawn=not of_all)
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


def _estimate(
    model: LoadedModel, encoded: Sequence[EncodedPair], plan: Plan, report: Callable[[int], None]
) -> tuple[_Estimate, Plan]:
    """Estimates in batches of pairs of equal lengths, without padding; and the plan that fitted into memory."""
    by_lengths: dict[tuple[int, int], list[int]] = {}
    for row, each in enumerate(encoded):
        by_lengths.setdefault((len(each.reference_ids), len(each.counterfactual_ids)), []).append(row)
    layers, heads, n = model.layout.layers, model.layout.heads, len(encoded)
    whole = _Estimate(
        torch.empty(n, layers, heads + 1, dtype=model.work_dtype),
        torch.empty(n, layers, heads, dtype=model.work_dtype),
        torch.full((n, layers, heads), torch.nan, dtype=model.work_dtype),
        torch.empty(n, dtype=model.work_dtype),
    )
    done = 0

    def measure(rest: Sequence[int], plan: Plan) -> int:
        nonlocal done
        longest = max(len(encoded[rest[0]].reference_ids), len(encoded[rest[0]].counterfactual_ids))
        batch = list(rest[: 1 if model.runs_alone else max(1, min(plan.pairs, plan.tokens // longest))])
        for name, values in vars(_estimate_batch(model, [encoded[row] for row in batch])).items():
            getattr(whole, name)[batch] = values.cpu()
        report(done := done + len(batch))
        return len(batch)

    with evaluating(model.hf), _frozen(model.hf):
        plan = run_in_chunks(by_lengths.values(), plan, measure)
    return whole, plan


def _estimate_batch(model: LoadedModel, encoded: Sequence[EncodedPair]) -> _Estimate:
    """Estimates for pairs of equal lengths."""
    blocks = model.layout.blocks
    references = [each.reference_ids for each in encoded]
    sources = [each.counterfactual_ids for each in encoded]
    with torch.no_grad():
        source, source_attention, _ = _run_end(model, sources, None)
        answers = torch.tensor([[each.answer_id] for each in encoded], device=model.device)
    with torch.enable_grad():
        reads = [source_attention[layer].read for layer in range(len(blocks))]
        reference, attention, queries = _run_end(model, references, reads)
        logit = column_logits(model.layout, reference.final.to(model.work_dtype), answers)[:, 0]
        if not bool(logit.isfinite().all()):
            raise Refusal("not_finite", "The reference run's logits are not finite.")
        gradients = torch.autograd.grad(logit.sum(), [*reference.z, *reference.mlp])
    aligned = len(references[0]) == len(sources[0])
    nodes, by_query, by_keys = [], [], []
    with torch.no_grad():
        for layer, block in enumerate(blocks):
            z = _by_head(model, reference.z[layer])
            slope = _by_head(model, gradients[layer])
            heads = ((_by_head(model, source.z[layer]) - z) * slope).sum(-1)
            delta = (source.mlp[layer] - reference.mlp[layer])[:, -1].to(model.work_dtype)
            mlp = (delta * gradients[len(blocks) + layer][:, -1].to(model.work_dtype)).sum(-1, keepdim=True)
            nodes.append(torch.cat([heads, mlp], dim=-1).cpu())
            end = attention[layer]
            before = end.heads()[:, :, 0]
            _check_attention(model, block, layer, before, z)
            by_query.append(((end.heads(queries[layer])[:, :, 0] - before) * slope).sum(-1).cpu())
            if aligned:
                patched = end.heads(keys=source_attention[layer].keys)[:, :, 0]
                by_keys.append(((patched - before) * slope).sum(-1).cpu())
    return _Estimate(
        torch.stack(nodes, dim=1),
        torch.stack(by_query, dim=1),
        torch.stack(by_keys, dim=1) if aligned else torch.full_like(torch.stack(by_query, dim=1), torch.nan),
        logit.detach().cpu(),
    )


@dataclass
class _EndGraph:
    """Outputs at END by layer, each [prompt, 1, width], and the stream [prompt, hidden] before the final norm; all of
    them part of the graph."""

    z: list[Tensor]
    mlp: list[Tensor]
    final: Tensor


def _run_end(
    model: LoadedModel, prompts: Sequence[TokenIds], reads: Sequence[Tensor] | None
) -> tuple[_EndGraph, list[EndAttention], list[Tensor]]:
    """The forward pass of END on a cache of the earlier positions, and each layer's query at END if its input were
    ``reads``."""
    layout = model.layout
    cache = cache_before_end(model, prompts)
    kept = _EndGraph([], [], torch.empty(0))

    def last(states: Tensor) -> None:
        kept.final = states[:, -1]

    def wrote(states: Tensor) -> Tensor:
        kept.mlp.append(states)
        return states.clone()  # Falcon later adds to it in place

    def begin(states: Tensor) -> Tensor:
        return states.requires_grad_() if torch.is_grad_enabled() else states

    def attends(states: Tensor) -> None:
        kept.z.append(states)

    embeddings: Any = model.hf.get_input_embeddings()
    with listening(model) as listener:
        with (
            on_output([(embeddings, begin)]),
            on_input([(block.heads_out, attends) for block in layout.blocks]),
            on_output([(block.mlp_output, wrote) for block in layout.blocks]),
            on_input([(layout.final_norm, last)]),
        ):
            layout.decoder(input_ids=last_tokens(model, prompts), past_key_values=cache, use_cache=True)
        queries = [] if reads is None else _queries(listener, reads)
    return kept, [listener[layer] for layer in range(layout.layers)], queries


@torch.no_grad()
def _queries(listener: Listener, reads: Sequence[Tensor]) -> list[Tensor]:
    return [listener.queries(layer, read) for layer, read in enumerate(reads)]


def _by_head(model: LoadedModel, states: Tensor) -> Float[Tensor, "pair head head_dim"]:
    return states.detach()[:, -1].to(model.work_dtype).view(len(states), model.layout.heads, model.layout.head_dim)


def _check_attention(model: LoadedModel, block: Block, layer: int, ours: Tensor, own: Tensor) -> None:
    """Compares the attention output recomputed from the reference's own query and keys with the model's.

    Raises:
        Refusal: ``unsupported_architecture`` if they differ.
    """
    tolerance = max(1e-3, 8 * torch.finfo(model.dtype).eps) * float(own.abs().max())
    error = float((ours - own).abs().max())
    if not error <= tolerance:  # NaN, too
        raise Refusal(
            "unsupported_architecture",
            f"The attention of layer {layer} ({type(block.attention).__name__}) is not computed as the engine computes "
            f"it: off by {error:.2g}.",
        )


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


@contextmanager
def _frozen(hf: torch.nn.Module) -> Iterator[None]:
    """Switches gradients off for all weights: the gradient is taken at activations only."""
    learning = [parameter for parameter in hf.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
