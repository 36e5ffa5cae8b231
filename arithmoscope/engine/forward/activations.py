"""Forward passes that keep what every head and MLP wrote at the last position (END).

Equal prompts are run once, prompts are grouped by exact length (no padding anywhere, so no mask to get wrong), and
what the prompts of a group begin with in common is run once and its keys and values shared.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
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

# One more forward pass is worth it when it saves this many tokens.
_PASS_OVERHEAD_TOKENS = 48
# Bounds the activations of one pass: a few hundred MB for a 7B model.
PASS_TOKENS = 8_192


@dataclass(frozen=True)
class EndStates:
    """What was in the residual stream at END of each prompt.

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
    """The pairs as token ids; a refusal names the pair, counted from 1. ``answer``: ``whole`` answers have one token;
    ``first`` takes those of several by their first token, ``each`` gives a pair a token.

    Refuses (``bad_request``) what is no list of pairs.
    """
    if isinstance(pairs, PromptPair | str) or not isinstance(pairs, Iterable):
        found = type(pairs).__name__
        raise Refusal("bad_request", f"The prompt pairs are a list, not one {found}.", "Write [pair].")
    encoded = []
    for number, pair in enumerate(pairs, start=1):
        try:
            if not isinstance(pair, PromptPair):
                raise Refusal(
                    "bad_request",
                    f"It is {type(pair).__name__}, not a PromptPair.",
                    "Write PromptPair(reference=..., counterfactual=..., answer=...).",
                )
            several = encode_answer(pair, model.text, model.chat if pair.chat else None, answer, number - 1)
            check_fit(model, several)
            encoded += several
        except Refusal as refusal:
            raise Refusal(refusal.code, f"Pair {number}: {refusal.detail}", refusal.way_out) from refusal
    return encoded


def check_fit(model: LoadedModel, encoded: Sequence[EncodedPair]) -> None:
    """Refuses prompts that are longer than the model's context, and tokens that it has no embedding for."""
    for pair in encoded:
        for ids in (pair.reference_ids, pair.counterfactual_ids):
            if model.context is not None and len(ids) > model.context:
                raise Refusal(
                    "prompt_too_long", f"A prompt has {len(ids)} tokens; {model.card.id} reads {model.context}."
                )
            if max((*ids, pair.answer_id)) >= model.embeddings:
                raise Refusal(
                    "bad_tokenizer",
                    f"The prompt uses token {max((*ids, pair.answer_id))}; the model knows {model.embeddings} tokens.",
                )


@torch.no_grad()
def end_states(model: LoadedModel, prompts: Sequence[TokenIds], tokens: int = PASS_TOKENS) -> EndStates:
    """Run prompts of any lengths, at most ``tokens`` tokens at once; the rows of the answer follow the list given.

    Cost: one pass over each distinct prompt's tokens, shared beginnings counted once.
    """
    layout = model.layout
    unique = list(dict.fromkeys(prompts))
    row_of = {ids: row for row, ids in enumerate(unique)}
    n, layers, dtype = len(unique), layout.layers, model.work_dtype
    kept = EndStates(
        z=torch.empty(n, layers, layout.heads, layout.head_dim, dtype=dtype, device=model.device),
        mlp=torch.empty(n, layers, layout.hidden, dtype=dtype, device=model.device),
        mid=torch.empty(n, layers, layout.hidden, dtype=dtype, device=model.device),
        final=torch.empty(n, layout.hidden, dtype=dtype, device=model.device),
    )
    with evaluating(model.hf):
        for group in group_prompts(unique):
            rows = torch.tensor([row_of[ids] for ids in group], device=model.device)
            _run_group(model, group, rows, kept, tokens)
    return kept[[row_of[ids] for ids in prompts]]


def _run_group(model: LoadedModel, group: list[TokenIds], rows: Tensor, kept: EndStates, tokens: int) -> None:
    layout = model.layout
    shared = shared_prefix(group) if shares_beginnings(model, len(group[0])) else 0
    step = max(1, tokens // (len(group[0]) - shared))
    if model.runs_alone:
        shared, step = 0, 1
    prefix = None
    for start in range(0, len(group), step):
        part, part_rows = group[start : start + step], rows[start : start + step]
        cache = None
        if shared:
            prefix = prefix or run_prefix(model, group[0][:shared])
            cache = repeated(prefix, len(part))
        blocks = list(enumerate(layout.blocks))
        with (
            on_input([(b.heads_out, _Keep(kept.z[:, i], part_rows)) for i, b in blocks]),
            on_input([(b.mlp_input, _Keep(kept.mid[:, i], part_rows)) for i, b in blocks]),
            on_output([(b.mlp_output, _Keep(kept.mlp[:, i], part_rows)) for i, b in blocks]),
            on_input([(layout.final_norm, _Keep(kept.final, part_rows))]),
        ):
            ids = torch.tensor([prompt[shared:] for prompt in part], device=model.device)
            layout.decoder(input_ids=ids, past_key_values=cache, use_cache=cache is not None)


class _Keep:
    """Copies the last position of what passes a hook into rows of ``target``."""

    def __init__(self, target: Tensor, rows: Tensor) -> None:
        self._target, self._rows = target, rows

    def __call__(self, states: Tensor) -> None:
        end = states[:, -1].to(self._target)
        self._target[self._rows] = end.view(len(end), *self._target.shape[1:])


def run_prefix(model: LoadedModel, prefix: TokenIds) -> DynamicCache:
    """The keys and values of a common beginning.

    A cache that knows no configuration drops no token: what a sliding window may see is the mask's business.
    """
    cache = DynamicCache()
    ids = torch.tensor([prefix], device=model.device)
    model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def repeated(prefix: DynamicCache, times: int) -> DynamicCache:
    """A copy for ``times`` prompts: the pass that uses it appends to its own keys and values, not to the prefix's."""
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(times)
    return cache


def group_prompts(prompts: Sequence[TokenIds]) -> list[list[TokenIds]]:
    """Prompts of equal length that are run together, so that the tokens to run are few."""
    by_length: dict[int, list[TokenIds]] = defaultdict(list)
    for ids in prompts:
        by_length[len(ids)].append(ids)
    return [group for same in by_length.values() for group in _split(sorted(same))]


def _split(group: list[TokenIds]) -> list[list[TokenIds]]:
    """Split a sorted group where its prompts part earliest, if the longer common beginnings pay for more passes."""
    shared = shared_prefix(group)
    parts: list[list[TokenIds]] = [[group[0]]]
    for before, ids in pairwise(group):
        if _common(before, ids) <= shared:
            parts.append([])
        parts[-1].append(ids)
    if len(parts) == 1 or len(parts) == len(group):
        return [group]
    finer = [piece for part in parts for piece in _split(part)]
    saved = _tokens(group) - sum(_tokens(piece) for piece in finer)
    return finer if saved > _PASS_OVERHEAD_TOKENS * (len(finer) - 1) else [group]


def _tokens(group: list[TokenIds]) -> int:
    shared = shared_prefix(group)
    return shared + len(group) * (len(group[0]) - shared)


def shares_beginnings(model: LoadedModel, length: int) -> bool:
    """Whether the beginning of a prompt of ``length`` tokens may be run by itself. Not where the positions' frequencies
    depend on how long the pass is (Phi-3's long versions, dynamic scaling)."""
    if model.runs_alone:
        return False
    config = model.hf.config
    told: Any = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for rope in [told, *(each for each in told.values() if isinstance(each, dict))]:
        if rope.get("rope_type", rope.get("type")) in ("longrope", "dynamic"):
            known = rope.get("original_max_position_embeddings")
            known = known or getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
            return length <= known
    return True


def shared_prefix(group: list[TokenIds]) -> int:
    """Length of the common beginning of a sorted group, at least one token short of the end; 0 for one prompt."""
    return 0 if len(group) == 1 else min(_common(min(group), max(group)), len(group[0]) - 1)


def _common(a: TokenIds, b: TokenIds) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
