"""Forward passes that keep the output of every head and MLP at the last position (END).

Equal prompts run once. Prompts are grouped by exact length, so there is no padding and no padding mask. The common
prefix of a group runs once, and its keys and values are shared.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import AnswerTokens, PromptPair
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair
from arithmoscope.prompts.tokens.encoded import encode_answer

TokenIds = tuple[int, ...]

# An additional forward pass pays off if it saves this many tokens.
_PASS_OVERHEAD_TOKENS = 48
# Default number of tokens per pass; bounds its activations to a few hundred MB for a 7B model.
PASS_TOKENS = 8_192


@dataclass(frozen=True)
class EndStates:
    """Activations at END of each prompt.

    z      each head's output before the output projection
    mlp    each MLP's output
    mid    residual stream that each MLP reads
    final  residual stream before the final norm
    """

    z: Float[Tensor, "prompt layer head head_dim"]
    mlp: Float[Tensor, "prompt layer hidden"]
    mid: Float[Tensor, "prompt layer hidden"]
    final: Float[Tensor, "prompt hidden"]

    def __getitem__(self, index: Tensor | Sequence[int]) -> EndStates:
        rows = torch.as_tensor(index, device=self.final.device)
        return EndStates(self.z[rows], self.mlp[rows], self.mid[rows], self.final[rows])


def encode_all(model: LoadedModel, pairs: Sequence[PromptPair], answer: AnswerTokens = "whole") -> list[EncodedPair]:
    """The pairs as token ids. ``answer``: with ``whole``, every answer must be a single token; ``first`` uses the first
    token of a longer answer; ``each`` makes one pair per answer token.

    Raises:
        Refusal: Any refusal of a pair, which names the pair, counted from 1.
    """
    encoded = []
    for number, pair in enumerate(pairs, start=1):
        try:
            pair_encodings = encode_answer(pair, model.text, model.chat if pair.chat else None, answer, number - 1)
            check_fit(model, pair_encodings)
            encoded += pair_encodings
        except Refusal as refusal:
            raise Refusal(refusal.code, f"Pair {number}: {refusal.detail}", refusal.way_out) from refusal
    return encoded


def check_fit(model: LoadedModel, encoded: Sequence[EncodedPair]) -> None:
    """Checks that prompts fit into the model's context and that it has an embedding for every token.

    Raises:
        Refusal: ``prompt_too_long`` or ``bad_tokenizer``.
    """
    for pair in encoded:
        for ids in (pair.reference_ids, pair.counterfactual_ids):
            if model.context is not None and len(ids) > model.context:
                raise Refusal(
                    "prompt_too_long", f"A prompt has {len(ids)} tokens; {model.card.id} reads {model.context}."
                )
            if max((*ids, pair.answer_id)) >= model.embeddings:
                raise Refusal(
                    "bad_tokenizer",
                    f"The prompt uses token {max((*ids, pair.answer_id))}; the model has {model.embeddings} tokens.",
                )


@torch.no_grad()
def end_states(model: LoadedModel, prompts: Sequence[TokenIds], tokens: int = PASS_TOKENS) -> EndStates:
    """The states at END of prompts of any lengths, a row per prompt in the order given; at most ``tokens`` tokens per
    pass.

    Cost: one pass over the tokens of each distinct prompt, shared prefixes counted once.
    """
    layout = model.layout
    unique = list(dict.fromkeys(prompts))
    row_of = {ids: row for row, ids in enumerate(unique)}
    n, layers, dtype = len(unique), layout.layers, model.work_dtype
    states = EndStates(
        z=torch.empty(n, layers, layout.heads, layout.head_dim, dtype=dtype, device=model.device),
        mlp=torch.empty(n, layers, layout.hidden, dtype=dtype, device=model.device),
        mid=torch.empty(n, layers, layout.hidden, dtype=dtype, device=model.device),
        final=torch.empty(n, layout.hidden, dtype=dtype, device=model.device),
    )
    with evaluating(model.hf):
        for group in group_prompts(unique):
            rows = torch.tensor([row_of[ids] for ids in group], device=model.device)
            _run_group(model, group, rows, states, tokens)
    return states[[row_of[ids] for ids in prompts]]


def _run_group(model: LoadedModel, group: list[TokenIds], rows: Tensor, states: EndStates, tokens: int) -> None:
    """Runs prompts of one length and writes their states into ``rows`` of ``states``."""
    layout = model.layout
    shared = shared_prefix(group) if can_share_prefix(model, len(group[0])) else 0
    step = max(1, tokens // (len(group[0]) - shared))
    if model.runs_alone:
        shared, step = 0, 1
    prefix = None
    for start in range(0, len(group), step):
        batch, batch_rows = group[start : start + step], rows[start : start + step]
        cache = None
        if shared:
            prefix = prefix or run_prefix(model, group[0][:shared])
            cache = repeated(prefix, len(batch))
        blocks = list(enumerate(layout.blocks))
        with (
            on_input([(b.heads_out, _StoreEnd(states.z[:, i], batch_rows)) for i, b in blocks]),
            on_input([(b.mlp_input, _StoreEnd(states.mid[:, i], batch_rows)) for i, b in blocks]),
            on_output([(b.mlp_output, _StoreEnd(states.mlp[:, i], batch_rows)) for i, b in blocks]),
            on_input([(layout.final_norm, _StoreEnd(states.final, batch_rows))]),
        ):
            ids = torch.tensor([prompt[shared:] for prompt in batch], device=model.device)
            layout.decoder(input_ids=ids, past_key_values=cache, use_cache=cache is not None)


class _StoreEnd:
    """A hook that copies the last position of its tensor into rows of ``target``."""

    def __init__(self, target: Tensor, rows: Tensor) -> None:
        self._target, self._rows = target, rows

    def __call__(self, states: Tensor) -> None:
        end = states[:, -1].to(self._target)
        self._target[self._rows] = end.view(len(end), *self._target.shape[1:])


def run_prefix(model: LoadedModel, prefix: TokenIds) -> DynamicCache:
    """The keys and values of a common prefix.

    The cache is built without a configuration, so that it drops no token; the mask takes care of sliding windows.
    """
    cache = DynamicCache()
    ids = torch.tensor([prefix], device=model.device)
    model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def repeated(prefix: DynamicCache, times: int) -> DynamicCache:
    """A copy of a prefix's cache for ``times`` prompts; the pass that uses it appends to the copy only."""
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(times)
    return cache


def group_prompts(prompts: Sequence[TokenIds]) -> list[list[TokenIds]]:
    """Groups of prompts of equal length to run together, chosen to minimise the tokens to run."""
    by_length: dict[int, list[TokenIds]] = defaultdict(list)
    for ids in prompts:
        by_length[len(ids)].append(ids)
    return [group for same_length in by_length.values() for group in _split(sorted(same_length))]


def _split(group: list[TokenIds]) -> list[list[TokenIds]]:
    """Splits a sorted group where its prompts first diverge, if the longer prefixes outweigh the additional passes."""
    shared = shared_prefix(group)
    parts: list[list[TokenIds]] = [[group[0]]]
    for previous, ids in pairwise(group):
        if _common_prefix(previous, ids) <= shared:
            parts.append([])
        parts[-1].append(ids)
    if len(parts) == 1 or len(parts) == len(group):
        return [group]
    subgroups = [subgroup for part in parts for subgroup in _split(part)]
    saved = _tokens_to_run(group) - sum(_tokens_to_run(subgroup) for subgroup in subgroups)
    return subgroups if saved > _PASS_OVERHEAD_TOKENS * (len(subgroups) - 1) else [group]


def _tokens_to_run(group: list[TokenIds]) -> int:
    shared = shared_prefix(group)
    return shared + len(group) * (len(group[0]) - shared)


def can_share_prefix(model: LoadedModel, length: int) -> bool:
    """True if the prefix of a prompt of ``length`` tokens may run by itself. False if the rotary frequencies depend on
    the length of the pass (Phi-3's long-context versions, dynamic scaling)."""
    if model.runs_alone:
        return False
    config = model.hf.config
    ropes: Any = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for rope in [ropes, *(each for each in ropes.values() if isinstance(each, dict))]:
        if rope.get("rope_type", rope.get("type")) in ("longrope", "dynamic"):
            limit = rope.get("original_max_position_embeddings")
            limit = limit or getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
            return length <= limit
    return True


def shared_prefix(group: list[TokenIds]) -> int:
    """Length of the common prefix of a group's prompts, at most one token short of the whole; 0 for a single prompt."""
    return 0 if len(group) == 1 else min(_common_prefix(min(group), max(group)), len(group[0]) - 1)


def _common_prefix(a: TokenIds, b: TokenIds) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
