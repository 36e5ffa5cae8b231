"""Attribution patching at the last position: an estimate of every component's total effect from one gradient.

What it measures. To first order, how the answer's logit at END changes when what a component gives there is replaced
by what it gives in the counterfactual run, everything after it recomputed:

    heads, mlps     (a_counterfactual - a_reference) . g_a         a: the head's output z before the projection, or
                                                                  what the MLP writes; g_a = d logit / d a at END
    queries, keys   (z(q') - z(q)) . g_z                           the head's attention row of END formed anew, softmax
                                                                  and all, from the counterfactual's query at END or
                                                                  its keys at the positions that END sees

The correction for queries and keys matters: a saturated softmax has no gradient, so the plain estimate of a query's
effect is near 0 exactly where attention is most decided. A query of the counterfactual is formed at the reference's
position. Keys are aligned position by position, so they need prompts of equal length.

Sources: Nanda, Attribution Patching, 2023; Syed et al., Attribution Patching Outperforms Automated Circuit Discovery,
2023; Kramar et al., AtP*: An Efficient and Scalable Method for Localizing LLM Behaviour to Components, 2024 (the
correction for queries and keys).

Approximate, without an error bound; therefore every result carries its rank correlation to exact numbers, computed
for all components of a small model and for some drawn at random of a large one (those drawn, so that the correlation
is that of the whole model), besides the components that it would have you verify first.

Cost. Two forward passes, and one backward pass of a single token: END changes nothing before it, so the gradient
needs the graph of END alone.

When it misleads. Patches are large steps and norms, MLPs and softmaxes bend: signs can be wrong, and two effects that
cancel hide one another. It chooses what to verify; `path_patching(effect="total")` verifies.
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

# Up to as many components the exact numbers are computed for all; beyond, for some drawn at random and the top.
_ALL = 64
_DRAWN = 32
_TOP = 16
_CHECKED_PAIRS = 16


@dataclass(frozen=True, eq=False)
class Attribution:
    """Estimated effects on every pair, in logits of the answer, on the CPU.

    keys         NaN for a pair whose prompts differ in length, None if they all do; ``pairs_without_keys`` counts them
    reference    the answer's logit in the reference run
    correlation  to the exact numbers: of the ``exact`` that was given, or of ``checked``
    checked      components whose exact total effects were computed here, on the first ``len(checked_exact)`` pairs:
                 those drawn first, then those of `verify_first`
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
        """To the exact effects of all components on the same pairs. Refuses (``bad_request``) other
        pairs, and effects of another patch."""
        return _to_exact(self.questions, _by_component(self.heads, self.mlps), exact)

    def verify_first(self, k: int) -> list[Component]:
        """The ``k`` heads and MLPs with the largest mean |estimate|: what to compute exactly first."""
        return strongest_components(_by_component(self.heads, self.mlps), self.heads.shape[1], self.heads.shape[2], k)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        whole = {field.name: getattr(self, field.name) for field in fields(self)}
        write_tensors(path, "attribution", {**whole, "correlation": asdict(self.correlation)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Attribution:
        """Read what `save` wrote. Refuses (``bad_request``) any other file."""
        read = read_tensors(path, "attribution")
        for name in ("questions", "checked"):
            read[name] = tuple(read[name])
        return cls(**{**read, "correlation": RankCorrelation(**read["correlation"])})


@dataclass(frozen=True)
class _Estimate:
    """Of some pairs; keys NaN where the prompts of a pair differ in length."""

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
    """Every head's, MLP's, query's and key's estimated effect on every pair, in logits of the right answer.

    ``exact``: effects of the same pairs to be compared with; else exact total effects are computed here, for all
    components of a small model, for a sample of a large one. ``progress(done, total)`` counts pairs, then checks.

    Refuses what `path_patching` refuses, and an attention whose row at END cannot be formed anew as the model does.
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
        _to_exact(questions, torch.zeros(len(pairs), len(everything)), exact)  # refuse before the work, not after
    elif len(everything) <= _ALL:
        drawn = everything
    else:
        drawn = random.Random(0).sample(everything, _DRAWN)
    top = 0 if exact is not None or drawn == everything else _TOP
    tell = _Count(progress, len(pairs) + (0 if exact is not None else len(drawn) + top))

    length = max(len(ids) for each in encoded for ids in (each.reference_ids, each.counterfactual_ids))
    plan = plan_for(model, Shape("total", length, 1, len(pairs)))
    estimate, plan = _estimate(model, encoded, plan, tell)
    flat = estimate.nodes.flatten(1)
    if not bool(flat.isfinite().all()) or not bool(estimate.queries.isfinite().all()):
        raise Refusal("not_finite", "The estimates are not finite.")

    checked = [*drawn, *(c for c in strongest_components(flat, layers, heads, top) if c not in drawn)]
    checked_exact, _ = retry_on_oom(plan, lambda plan: _totals(model, few, checked, plan))
    if exact is None:
        at = [everything.index(component) for component in drawn]
        of_all = drawn == everything
        correlation = correlate_ranks(flat[: len(few), at], checked_exact[:, : len(drawn)], "total", drawn=not of_all)
        tell(len(pairs) + len(drawn) + top)
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


class _Count:
    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total = progress, total

    def __call__(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._total)


def _estimate(
    model: LoadedModel, encoded: Sequence[EncodedPair], plan: Plan, tell: Callable[[int], None]
) -> tuple[_Estimate, Plan]:
    """Pairs of equal lengths go through the model together; no padding anywhere. And the plan that was kept to."""
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
        part = list(rest[: 1 if model.runs_alone else max(1, min(plan.pairs, plan.tokens // longest))])
        for name, found in vars(_some(model, [encoded[row] for row in part])).items():
            getattr(whole, name)[part] = found.cpu()
        tell(done := done + len(part))
        return len(part)

    with evaluating(model.hf), _frozen(model.hf):
        plan = run_in_chunks(by_lengths.values(), plan, measure)
    return whole, plan


def _some(model: LoadedModel, encoded: Sequence[EncodedPair]) -> _Estimate:
    blocks = model.layout.blocks
    references = [each.reference_ids for each in encoded]
    sources = [each.counterfactual_ids for each in encoded]
    with torch.no_grad():
        source, source_attention, _ = _run_end(model, sources, None)
        wanted = torch.tensor([[each.answer_id] for each in encoded], device=model.device)
    with torch.enable_grad():
        reads = [source_attention[layer].read for layer in range(len(blocks))]
        reference, attention, queries = _run_end(model, references, reads)
        logit = column_logits(model.layout, reference.final.to(model.work_dtype), wanted)[:, 0]
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
            moved = (source.mlp[layer] - reference.mlp[layer])[:, -1].to(model.work_dtype)
            mlp = (moved * gradients[len(blocks) + layer][:, -1].to(model.work_dtype)).sum(-1, keepdim=True)
            nodes.append(torch.cat([heads, mlp], dim=-1).cpu())
            end = attention[layer]
            before = end.heads()[:, :, 0]
            _refuse_another(model, block, layer, before, z)
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
    """What was written at END, layer by layer, each [prompt, 1, width], and the stream [prompt, hidden] before the
    final norm; all part of the graph."""

    z: list[Tensor]
    mlp: list[Tensor]
    final: Tensor


def _run_end(
    model: LoadedModel, prompts: Sequence[TokenIds], reads: Sequence[Tensor] | None
) -> tuple[_EndGraph, list[EndAttention], list[Tensor]]:
    """The forward pass of END after everything before it; and each layer's query there, had it read ``reads``."""
    layout = model.layout
    cache = cache_before_end(model, prompts)
    kept = _EndGraph([], [], torch.empty(0))

    def last(states: Tensor) -> None:
        kept.final = states[:, -1]

    def wrote(states: Tensor) -> Tensor:
        kept.mlp.append(states)
        return states.clone()  # Falcon goes on to add to it in place

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
        queries = [] if reads is None else _asked(listener, reads)
    return kept, [listener[layer] for layer in range(layout.layers)], queries


@torch.no_grad()
def _asked(listener: Listener, reads: Sequence[Tensor]) -> list[Tensor]:
    return [listener.queries(layer, read) for layer, read in enumerate(reads)]


def _by_head(model: LoadedModel, states: Tensor) -> Float[Tensor, "pair head head_dim"]:
    return states.detach()[:, -1].to(model.work_dtype).view(len(states), model.layout.heads, model.layout.head_dim)


def _refuse_another(model: LoadedModel, block: Block, layer: int, ours: Tensor, own: Tensor) -> None:
    """Form the row from the reference's own query and keys, and hold it against what the model computed."""
    tolerance = max(1e-3, 8 * torch.finfo(model.dtype).eps) * float(own.abs().max())
    error = float((ours - own).abs().max())
    if not error <= tolerance:  # NaN, too
        raise Refusal(
            "unsupported_architecture",
            f"The attention of layer {layer} ({type(block.attention).__name__}) is not formed as the engine forms it: "
            f"off by {error:.2g}.",
        )


@torch.no_grad()
def _totals(
    model: LoadedModel, encoded: Sequence[EncodedPair], components: Sequence[Component], plan: Plan
) -> Float[Tensor, "pair component"]:
    """Exact total effects of some components, by one wave from the layer of each."""
    order = sorted(components, key=lambda c: (c.layer, c.head is None, c.head))
    found = torch.empty(len(encoded), len(order), dtype=model.work_dtype)
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
                moved = (source.z[:, layer] - here).transpose(0, 1)
                return model.layout.blocks[layer].head_writes(moved, here, model.dtype)[heads]
            if place == "mlp" and Component(layer) in order:
                return (source.mlp[:, layer] - run.mlp[:, layer])[None]
            return None

        with evaluating(model.hf):
            moved = carry(model, run, "total", enter, len(order), product_rows=plan.rows)
        answers = torch.tensor([[encoded[row].answer_id] for row in rows], device=model.device)
        logits = column_logits(model.layout, moved + run.final, answers)[..., 0]
        found[rows] = (logits[1:] - logits[0]).T.cpu()
    return found[:, [order.index(component) for component in components]]


def _by_component(heads: Tensor, mlps: Tensor) -> Float[Tensor, "pair component"]:
    return torch.cat([heads, mlps[..., None]], dim=-1).flatten(1)


def _to_exact(questions: Sequence[str], estimate: Tensor, exact: PatchingEffects) -> RankCorrelation:
    effects = _by_component(exact.heads, exact.mlps)
    if exact.questions != tuple(questions) or effects.shape != estimate.shape:
        raise Refusal(
            "bad_request",
            "The exact effects are not of these pairs and this model.",
            "Give those that path_patching found for the same list of pairs.",
        )
    if (exact.positions, exact.source, exact.direction) != ("end", "counterfactual", "noising"):
        raise Refusal(
            "bad_request",
            f"The exact effects are of positions {exact.positions!r}, source {exact.source!r}, direction "
            f"{exact.direction!r}; the estimate is of 'end', 'counterfactual', 'noising'.",
            "Give those that path_patching finds by default, or with effect='total'.",
        )
    return correlate_ranks(estimate, effects, exact.effect, drawn=False)


@contextmanager
def _frozen(hf: torch.nn.Module) -> Iterator[None]:
    """The gradient is wanted at activations: no graph is kept for weights, and theirs are left as they are."""
    learning = [parameter for parameter in hf.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
