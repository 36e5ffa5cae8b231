"""First-order estimates of effects from the gradient of the answer's logit at END, for attribution patching."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families.layout import Block
from arithmoscope.engine.forward.activations import TokenIds
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.forward.end_attention import EndAttention, Listener, cache_before_end, last_tokens, listening
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.forward.logits import column_logits
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair


@dataclass(frozen=True)
class GradientEstimates:
    """Estimates for a list of pairs; keys are NaN where the prompts of a pair differ in length."""

    nodes: Float[Tensor, "pair layer head_or_mlp"]
    queries: Float[Tensor, "pair layer head"]
    keys: Float[Tensor, "pair layer head"]
    reference: Float[Tensor, " pair"]


def estimate_effects(
    model: LoadedModel, encoded: Sequence[EncodedPair], plan: Plan, report: Callable[[int], None]
) -> tuple[GradientEstimates, Plan]:
    """Estimates in batches of pairs of equal lengths, without padding; and the plan that fitted into memory."""
    by_lengths: dict[tuple[int, int], list[int]] = {}
    for row, each in enumerate(encoded):
        by_lengths.setdefault((len(each.reference_ids), len(each.counterfactual_ids)), []).append(row)
    layers, heads, n = model.layout.layers, model.layout.heads, len(encoded)
    whole = GradientEstimates(
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


def _estimate_batch(model: LoadedModel, encoded: Sequence[EncodedPair]) -> GradientEstimates:
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
    return GradientEstimates(
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
