"""Cached runs through which perturbations are propagated, attention included.

A run keeps the residual stream from position ``first`` on, and every layer's keys and values before it. A perturbed row
differs from the run only from ``first`` on: it attends to those shared keys and values, and to its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families.layout import Block, apply_narrow, apply_norm
from arithmoscope.engine.forward.activations import (
    PASS_TOKENS,
    TokenIds,
    can_share_prefix,
    repeated,
    run_prefix,
    shared_prefix,
)
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.models.loaded import LoadedModel

# Short rows of a prompt are concatenated into one sequence, so that they share the keys and values before them. A row
# attends only to its own tokens among these many: more waste attention scores, fewer make the matrix products small.
_TOKENS_PER_SEQUENCE = 128
# Longer rows are separate batch entries, each with its own copy of the past, unless the past is longer still.
_LONG = 8


@dataclass(frozen=True)
class Call:
    """The arguments of one layer's attention call besides the stream, cut to the positions from ``first`` on.

    ``mask`` [1, 1 or head, query from first, key] is added to the scores; None if attention is plainly causal.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    mask: Float[Tensor, "1 _ query key"] | None
    first: int
    positions: int

    def repeat(
        self,
        block: Block,
        stream: Float[Tensor, "row token hidden"],
        past: tuple[Tensor, Tensor],
        times: int,
        dtype: torch.dtype,
    ) -> Float[Tensor, "row token hidden"]:
        """The heads' joint output after reading ``stream``, in which the positions from ``first`` on are repeated
        ``times`` times in sequence. Each repetition attends to the past and to itself. Several rows may share a
        prompt's past."""
        normed = stream if block.attention_norm is None else apply_norm(block.attention_norm, stream)
        kwargs = {name: tiled(name, value, times) for name, value in self.kwargs.items()}
        kwargs["attention_mask"] = self._mask(times, stream.device, dtype)
        if kwargs.get("alibi") is not None:  # one bias per key
            before, own = kwargs["alibi"][..., : self.first], kwargs["alibi"][..., self.first :]
            kwargs["alibi"] = torch.cat([before, own.repeat(1, 1, 1, times)], -1).expand(len(stream), -1, -1, -1)
        for name in ("past_key_values", "layer_past"):
            if name in kwargs:
                kwargs[name] = _Past(past, len(stream))
        output = apply_narrow(lambda x: block.attention(x, *self.args, **kwargs)[0], normed, dtype)
        return output if block.head_norm is None else apply_norm(block.head_norm, output)

    def _mask(self, times: int, device: torch.device, dtype: torch.dtype) -> Tensor | None:
        mask = self.mask
        if mask is None:
            if times == 1 and (self.first == 0 or self.positions == 1):
                return None  # the causal default suffices
            length = self.first + self.positions
            visible = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None, self.first :]
            mask = additive(visible, dtype)
        past, own = mask[..., : self.first].repeat(1, 1, times, 1), mask[..., self.first :]
        blocks = own.new_full((*own.shape[:2], times, self.positions, times, self.positions), -torch.inf)
        for each in range(times):
            blocks[:, :, each, :, each] = own
        return torch.cat([past, blocks.flatten(4).flatten(2, 3)], dim=-1)


class _Past:
    """A read-only cache of the past, for ``rows`` rows that cycle through the prompts; it does not store updates."""

    def __init__(self, past: tuple[Tensor, Tensor], rows: int) -> None:
        times = rows // len(past[0])
        self._keys, self._values = (side if times == 1 else side.repeat(times, 1, 1, 1) for side in past)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self._keys.shape[2] == 0:
            return keys, values
        return torch.cat([self._keys, keys], dim=2), torch.cat([self._values, values], dim=2)


def tiled(name: str, value: Any, times: int) -> Any:
    """An argument of attention, its positions repeated in sequence."""
    if name == "position_embeddings" and value is not None:
        return tuple(each.repeat(1, times, 1) for each in value)
    if name == "position_ids" and value is not None:
        return value.repeat(1, times)
    return value


@dataclass(frozen=True)
class Run:
    """Activations of prompts of one length, from position ``first`` on. A row is a position of a prompt, prompt by
    prompt.

    z       each head's output before the output projection
    stream  residual stream that each layer reads
    heads   joint output of each layer's heads
    mid     residual stream that each MLP reads
    mlp     each MLP's output
    final   residual stream before the final norm
    past    each layer's keys and values before ``first``
    calls   the arguments of each layer's attention call; the same for all prompts
    """

    prompts: int
    positions: int
    z: Float[Tensor, "row layer head head_dim"]
    stream: Float[Tensor, "row layer hidden"]
    heads: Float[Tensor, "row layer hidden"]
    mid: Float[Tensor, "row layer hidden"]
    mlp: Float[Tensor, "row layer hidden"]
    final: Float[Tensor, "row hidden"]
    past: tuple[tuple[Tensor, Tensor], ...]
    calls: tuple[Call, ...]

    def attend(
        self, model: LoadedModel, layer: int, rows: Float[Tensor, "n row hidden"]
    ) -> Float[Tensor, "n row hidden"]:
        """The change of a layer's joint head output, relative to this run, when its stream changes by each of
        ``rows``."""
        block, call = model.layout.blocks[layer], self.calls[layer]
        base_stream, base_output = self.stream[:, layer], self.heads[:, layer]
        separate = model.runs_alone or (self.positions >= _LONG and self.positions >= call.first)
        per_sequence = max(1, max(_TOKENS_PER_SEQUENCE, call.first) // self.positions)
        step = 1 if model.runs_alone else len(rows) if separate else per_sequence
        parts = []
        for batch in rows.split(step):
            n = len(batch)
            # In a model spread over several devices, each layer computes on its own.
            stream = (batch + base_stream).to(block.device).unflatten(1, (self.prompts, self.positions))
            if separate:
                output = call.repeat(block, stream.flatten(0, 1), self.past[layer], 1, model.dtype)
            else:
                output = call.repeat(block, stream.transpose(0, 1).flatten(1, 2), self.past[layer], n, model.dtype)
                output = output.unflatten(1, (n, self.positions)).transpose(0, 1)
            parts.append(output.to(rows.device).reshape(batch.shape) - base_output)
        return torch.cat(parts)


@torch.no_grad()
def run_from(model: LoadedModel, prompts: Sequence[TokenIds], first: int, tokens: int = PASS_TOKENS) -> Run:
    """Runs prompts of one length, at most ``tokens`` tokens per pass, and keeps the activations from ``first`` on.

    The prompts' common prefix, as far as it lies before ``first``, runs once.

    Raises:
        Refusal: ``bad_setting`` if the model's attention implementation passes no explicit mask.
    """
    if (implementation := model.hf.config._attn_implementation) not in ("sdpa", "eager"):
        raise Refusal(
            "bad_setting",
            f"This needs the attention implementation 'sdpa' or 'eager'; this model uses {implementation!r}.",
            "Call model.hf.set_attn_implementation('sdpa') first.",
        )
    layout, length = model.layout, len(prompts[0])
    alone = model.runs_alone
    shared = min(shared_prefix(sorted(prompts)), first) if can_share_prefix(model, length) else 0
    step = 1 if alone else max(1, tokens // (length - shared))
    run, prefix = _empty(model, len(prompts), length - first), None
    past_parts: list[list[tuple[Tensor, Tensor]]] = []
    calls: tuple[Call, ...] = ()
    with evaluating(model.hf):
        for start in range(0, len(prompts), step):
            batch = prompts[start : start + step]
            if shared:
                prefix = prefix or run_prefix(model, prompts[0][:shared])
            cache = repeated(prefix, len(batch)) if prefix is not None else DynamicCache()
            recorded: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
            rows = slice(start * run.positions, (start + len(batch)) * run.positions)
            with _store_activations(model, run, rows), _record_calls(model, recorded):
                ids = torch.tensor([ids[shared:] for ids in batch], device=model.device)
                layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
            layers: Any = cache.layers
            past_parts.append([(each.keys[:, :, :first].clone(), each.values[:, :, :first].clone()) for each in layers])
            calls = calls or tuple(_call(*each, length, first, shared, model.dtype) for each in recorded)
    past = tuple(tuple(torch.cat(side) for side in zip(*layer, strict=True)) for layer in zip(*past_parts, strict=True))
    return Run(**{**{f.name: getattr(run, f.name) for f in fields(run)}, "past": past, "calls": calls})


def _empty(model: LoadedModel, prompts: int, positions: int) -> Run:
    layout, rows = model.layout, prompts * positions

    def empty(*shape: int) -> Tensor:
        return torch.empty(rows, *shape, dtype=model.work_dtype, device=model.device)

    wide = (layout.layers, layout.hidden)
    return Run(
        prompts=prompts,
        positions=positions,
        z=empty(layout.layers, layout.heads, layout.head_dim),
        stream=empty(*wide),
        heads=empty(*wide),
        mid=empty(*wide),
        mlp=empty(*wide),
        final=empty(layout.hidden),
        past=(),
        calls=(),
    )


def _store_activations(model: LoadedModel, run: Run, rows: slice) -> ExitStack:
    """Hooks that store a pass's activations at the last positions into ``rows`` of a run."""

    def into(target: Tensor) -> Callable[[Tensor], None]:
        def store(states: Tensor) -> None:
            last = states[:, -run.positions :]
            target[rows] = last.reshape(-1, *target.shape[1:]).to(target)

        return store

    blocks = list(enumerate(model.layout.blocks))
    stack = ExitStack()
    stack.enter_context(on_input([(b.heads_out, into(run.z[:, i])) for i, b in blocks]))
    stack.enter_context(on_output([(b.attention_output, into(run.heads[:, i])) for i, b in blocks]))
    stack.enter_context(on_input([(b.mlp_input, into(run.mid[:, i])) for i, b in blocks]))
    stack.enter_context(on_output([(b.mlp_output, into(run.mlp[:, i])) for i, b in blocks]))
    stack.enter_context(on_input([(model.layout.final_norm, into(run.final))]))
    for layer, block in blocks:
        stack.enter_context(_on_layer_input(block, into(run.stream[:, layer])))
    return stack


def _on_layer_input(block: Block, store: Callable[[Tensor], None]) -> ExitStack:
    """Hooks the residual stream that a layer reads: the input of its first norm, or of attention if it has none."""
    stack = ExitStack()
    if block.attention_norm is not None:
        stack.enter_context(on_input([(block.attention_norm, store)]))
        return stack

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        store(args[0] if args else kwargs["hidden_states"])

    stack.callback(block.attention.register_forward_pre_hook(hook, with_kwargs=True).remove)
    return stack


def _record_calls(model: LoadedModel, recorded: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> ExitStack:
    """Hooks that append the arguments of each layer's attention call to ``recorded``, layer by layer."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        recorded.append((args, kwargs))

    stack = ExitStack()
    for block in model.layout.blocks:
        stack.callback(block.attention.register_forward_pre_hook(hook, with_kwargs=True).remove)
    return stack


def _call(
    args: tuple[Any, ...], kwargs: dict[str, Any], length: int, first: int, shared: int, dtype: torch.dtype
) -> Call:
    """A call recorded in a pass over the positions from ``shared`` on, cut to those from ``first`` on.

    Only the tokens differ among the prompts of a batch, so the arguments of the first one hold for all.
    """
    kept = {name: value for name, value in kwargs.items() if name != "hidden_states"}
    skip = first - shared
    if kept.get("position_embeddings") is not None:
        kept["position_embeddings"] = tuple(each[:1, skip:] for each in kept["position_embeddings"])
    if kept.get("position_ids") is not None:
        kept["position_ids"] = kept["position_ids"][:1, skip:]
    if kept.get("alibi") is not None:
        kept["alibi"] = kept["alibi"][:1]
    mask = kept.get("attention_mask")
    if mask is not None:
        mask = additive(mask[:1, :, skip:], dtype)
    return Call(args[1:], kept, mask, first, length - first)


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask that is added to the scores; of a boolean one, 0 where it is true (visible) and -inf elsewhere."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)


def first_difference(a: TokenIds, b: TokenIds) -> int:
    """The first position where two prompts of equal length differ; the last position if they are equal."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a) - 1)
