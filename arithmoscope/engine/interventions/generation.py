"""Greedy decoding of answers of several tokens with components knocked out, many sets at once.

Components are knocked out at the same positions of the prompt as in `ablation`, and at every generated token, with the
replacements of END. Rows share only the keys and values before the first changed position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_ANSWER_TOKENS, Ablation, KnockPositions
from arithmoscope.engine.forward.activations import can_share_prefix, repeated
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.forward.end_attention import cache_before_end
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.interventions.ablation import by_length, end_writes, first_position, run_and_donor
from arithmoscope.engine.interventions.paired_runs import prepare_pairs
from arithmoscope.engine.interventions.replacements import Means, Writes
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair
from arithmoscope.prompts.tokens.length_checks import refuse_cut_answers


def check_answer_tokens(model: LoadedModel, encoded: Sequence[EncodedPair], tokens: int) -> None:
    """Checks the number of answer tokens.

    Raises:
        Refusal: ``bad_request`` if it is out of range; ``prompt_too_long`` if prompt and answer exceed the model's
            context; the refusal of `refuse_cut_answers` if an answer has more tokens.
    """
    if not 1 <= tokens <= MAX_ANSWER_TOKENS:
        detail = f"answer_tokens is {tokens}; it must be from 1 to {MAX_ANSWER_TOKENS}."
        raise Refusal("bad_request", detail, "Choose another number.")
    refuse_cut_answers(encoded, tokens)
    for number, pair in enumerate(encoded, start=1):
        if model.context is not None and len(pair.reference_ids) + tokens > model.context:
            raise Refusal(
                "prompt_too_long",
                f"Pair {number}: {len(pair.reference_ids)} tokens and {tokens} of the answer; {model.card.id} reads "
                f"{model.context}.",
            )


@torch.no_grad()
def answers_under_knockout(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    sets: Bool[Tensor, "row layer component"],
    ablation: Ablation,
    positions: KnockPositions,
    mean: Means | None,
    plan: Plan,
    tokens: int,
    report: Callable[[float], None] = lambda _fraction: None,
) -> Int[Tensor, "row pair token"]:
    """The first ``tokens`` tokens generated for every pair with each set knocked out, on the CPU."""
    generated = torch.empty(len(sets), len(encoded), tokens, dtype=torch.long)
    done, total = 0, len(sets) * len(encoded)
    with evaluating(model.hf):
        for group in by_length(encoded):
            length = len(encoded[group[0]].reference_ids)
            max_batch = max(1, plan.tokens // (length + tokens))
            pairs_at_once = min(plan.pairs, max_batch, len(group))
            for start in range(0, len(group), pairs_at_once):
                rows = group[start : start + pairs_at_once]
                pairs = [encoded[row] for row in rows]
                prepared = prepare_pairs(model, pairs, plan.tokens)
                _, donor = run_and_donor(model, prepared, ablation, positions, mean, plan)
                end_donor = end_writes(model, pairs, ablation, mean, plan.tokens)
                step = max(1, max_batch // len(rows))
                for low in range(0, len(sets), step):
                    batch = sets[low : low + step]
                    generated[low : low + step, rows] = _generate(
                        model, pairs, batch, positions, donor, end_donor, tokens
                    )
                    done += len(batch) * len(rows)
                    report(done / total)
    return generated


def _generate(
    model: LoadedModel,
    pairs: Sequence[EncodedPair],
    sets: Bool[Tensor, "row layer component"],
    positions: KnockPositions,
    donor: Writes,
    end_donor: Writes,
    tokens: int,
) -> Int[Tensor, "row pair token"]:
    """Generates for prompts of one length; in a batch, the rows of a prompt are adjacent. ``donor``: replacements in
    the prompt; ``end_donor``: at generated tokens."""
    n, r = len(pairs), len(sets)
    prompts = [pair.reference_ids for pair in pairs]
    length = len(prompts[0])
    cached = positions == "end" and length > 1 and can_share_prefix(model, length)
    cache = repeated(cache_before_end(model, prompts), r) if cached else DynamicCache()
    ids = torch.tensor([prompt[-1:] if cached else prompt for prompt in prompts], device=model.device)
    ids = ids.repeat_interleave(r, 0)
    replaced = length - first_position(positions, length)
    z, mlp = (side.unflatten(0, (n, -1))[:, -replaced:] for side in (donor.z, donor.mlp))
    generated = []
    for _ in range(tokens):
        with _knocked_out(model, sets, z, mlp):
            output: Any = model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
        ids = model.layout.unembed(output.last_hidden_state[:, -1:]).argmax(-1)
        generated.append(ids)
        z, mlp = end_donor.z[:, None], end_donor.mlp[:, None]
    return torch.cat(generated, dim=1).unflatten(0, (n, r)).transpose(0, 1).cpu()


def _knocked_out(
    model: LoadedModel,
    sets: Bool[Tensor, "row layer component"],
    z: Float[Tensor, "prompt position layer head head_dim"],
    mlp: Float[Tensor, "prompt position layer hidden"],
) -> ExitStack:
    """Hooks that replace the outputs of each row's components by ``z`` and ``mlp``, at the last positions of a pass."""
    n, r, heads = len(z), len(sets), model.layout.heads
    stack = ExitStack()

    def replacing(masks: Tensor, replacement: Tensor) -> Callable[[Tensor], Tensor]:
        def replace(states: Tensor) -> Tensor:
            shaped = states.reshape(n, r, states.shape[1], *replacement.shape[2:])
            last = replacement.shape[1]
            replaced = torch.where(masks.to(states.device), replacement.to(states)[:, None], shaped[:, :, -last:])
            return torch.cat([shaped[:, :, :-last], replaced], dim=2).reshape(states.shape)

        return replace

    for layer, block in enumerate(model.layout.blocks):
        layer_sets = sets[:, layer]
        if bool(layer_sets[:, :heads].any()):
            hook = replacing(layer_sets[None, :, None, :heads, None], z[:, :, layer])
            stack.enter_context(on_input([(block.heads_out, hook)]))
        if bool(layer_sets[:, heads].any()):
            hook = replacing(layer_sets[None, :, None, heads, None], mlp[:, :, layer])
            stack.enter_context(on_output([(block.mlp_output, hook)]))
    return stack


def is_answer(text: str, answer: str) -> bool:
    """True if a generated text begins with exactly the answer: ``8``, ``8.`` and ``8\\n3 + ...`` answer 8; ``80``,
    ``8.5`` and ``8,000`` do not."""
    text, answer = text.lstrip(), answer.strip()
    if not text.startswith(answer):
        return False
    rest = text[len(answer) :]
    if answer[-1:].isdecimal() and rest[:1] in ".," and rest[1:2].isdecimal():
        return False
    return not rest[:1].isalnum()
