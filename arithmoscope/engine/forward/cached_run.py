"""Runs that perturbations can be carried through, attention included.

A run keeps its residual stream from position ``first`` on, and every layer's keys and values before it. Rows that
differ from the run only from ``first`` on attend to those keys and values, which all of them share, and to their own.
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
    repeated,
    run_prefix,
    shared_prefix,
    shares_beginnings,
)
from arithmoscope.engine.forward.hooks import evaluating, on_input, on_output
from arithmoscope.engine.models.loaded import LoadedModel

# Rows of a prompt that are few tokens long are set one after the other, so that they share the keys and values before
# them. Each row sees only its own tokens among so many, so more of them waste scores; fewer make the products small.
_TOGETHER = 128
# Longer rows are set apart, each with its own copy of those keys and values, unless these are longer still.
_LONG = 8


@dataclass(frozen=True)
class Call:
    """One layer's call of its attention: the arguments besides the stream, cut to the positions from ``first`` on.

    ``mask`` [1, 1 or head, query from first, key] is added to the scores; None where attention is plainly causal.
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
        """What the heads write after reading ``stream``, in which the positions from ``first`` on stand ``times``
        times one after the other. Each time sees the past and itself. Several rows may share a prompt's past."""
        read = stream if block.attention_norm is None else apply_norm(block.attention_norm, stream)
        kwargs = {name: _tiled(name, value, times) for name, value in self.kwargs.items()}
        kwargs["attention_mask"] = self._mask(times, stream.device, dtype)
        if kwargs.get("alibi") is not None:  # one bias a key
            before, own = kwargs["alibi"][..., : self.first], kwargs["alibi"][..., self.first :]
            kwargs["alibi"] = torch.cat([before, own.repeat(1, 1, 1, times)], -1).expand(len(stream), -1, -1, -1)
        for name in ("past_key_values", "layer_past"):
            if name in kwargs:
                kwargs[name] = _Past(past, len(stream))
        wrote = apply_narrow(lambda x: block.attention(x, *self.args, **kwargs)[0], read, dtype)
        return wrote if block.head_norm is None else apply_norm(block.head_norm, wrote)

    def _mask(self, times: int, device: torch.device, dtype: torch.dtype) -> Tensor | None:
        mask = self.mask
        if mask is None:
            if times == 1 and (self.first == 0 or self.positions == 1):
                return None  # needs none to be written out
            length = self.first + self.positions
            see = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None, self.first :]
            mask = _additive(see, dtype)
        past, own = mask[..., : self.first].repeat(1, 1, times, 1), mask[..., self.first :]
        blocks = own.new_full((*own.shape[:2], times, self.positions, times, self.positions), -torch.inf)
        for each in range(times):
            blocks[:, :, each, :, each] = own
        return torch.cat([past, blocks.flatten(4).flatten(2, 3)], dim=-1)


class _Past:
    """A cache that holds what came before ``rows`` rows, in turn of each prompt, and keeps nothing of what comes."""

    def __init__(self, past: tuple[Tensor, Tensor], rows: int) -> None:
        times = rows // len(past[0])
        self._keys, self._values = (side if times == 1 else side.repeat(times, 1, 1, 1) for side in past)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self._keys.shape[2] == 0:
            return keys, values
        return torch.cat([self._keys, keys], dim=2), torch.cat([self._values, values], dim=2)


def _tiled(name: str, value: Any, times: int) -> Any:
    if name == "position_embeddings":
        return tuple(each.repeat(1, times, 1) for each in value)
    if name == "position_ids":
        return value.repeat(1, times)
    return value


@dataclass(frozen=True)
class Run:
    """Prompts of one length, from position ``first`` on. A row is a position of a prompt, prompt by prompt.

    z       each head's output before the output projection
    stream  residual stream that each layer reads
    heads   what the heads of each layer write together
    mid     residual stream that each MLP reads
    mlp     each MLP's output
    final   residual stream before the final norm
    past    each layer's keys and values before ``first``
    calls   how each layer's attention was called, for any one of the prompts
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
        """What the heads of a layer write more than in this run, when its stream is moved by each of ``rows``."""
        block, call = model.layout.blocks[layer], self.calls[layer]
        before, own = self.stream[:, layer], self.heads[:, layer]
        apart = model.runs_alone or (self.positions >= _LONG and self.positions >= call.first)
        together = max(1, max(_TOGETHER, call.first) // self.positions)
        step = 1 if model.runs_alone else len(rows) if apart else together
        parts = []
        for some in rows.split(step):
            n = len(some)
            # In a model that is spread over several devices, a layer computes where it is.
            stream = (some + before).to(block.device).unflatten(1, (self.prompts, self.positions))
            if apart:
                wrote = call.repeat(block, stream.flatten(0, 1), self.past[layer], 1, model.dtype)
            else:
                wrote = call.repeat(block, stream.transpose(0, 1).flatten(1, 2), self.past[layer], n, model.dtype)
                wrote = wrote.unflatten(1, (n, self.positions)).transpose(0, 1)
            parts.append(wrote.to(rows.device).reshape(some.shape) - own)
        return torch.cat(parts)


@torch.no_grad()
def run_from(model: LoadedModel, prompts: Sequence[TokenIds], first: int, tokens: int = PASS_TOKENS) -> Run:
    """Run prompts of one length, at most ``tokens`` tokens at once, and keep what there is from ``first`` on.

    What all prompts begin with in common is run once, as far as it lies before ``first``.
    Refuses (``bad_setting``) a model whose attention is computed in a way that gives no mask to follow.
    """
    if (way := model.hf.config._attn_implementation) not in ("sdpa", "eager"):
        raise Refusal(
            "bad_setting",
            f"Attention is followed as 'sdpa' or 'eager' compute it; this model uses {way!r}.",
            "Call model.hf.set_attn_implementation('sdpa') first.",
        )
    layout, length = model.layout, len(prompts[0])
    alone = model.runs_alone
    shared = min(shared_prefix(sorted(prompts)), first) if shares_beginnings(model, length) else 0
    step = 1 if alone else max(1, tokens // (length - shared))
    run, prefix = _empty(model, len(prompts), length - first), None
    keys: list[list[tuple[Tensor, Tensor]]] = []
    calls: tuple[Call, ...] = ()
    with evaluating(model.hf):
        for start in range(0, len(prompts), step):
            part = prompts[start : start + step]
            if shared:
                prefix = prefix or run_prefix(model, prompts[0][:shared])
            cache = repeated(prefix, len(part)) if prefix is not None else DynamicCache()
            seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
            rows = slice(start * run.positions, (start + len(part)) * run.positions)
            with _keeping(model, run, rows), _listening(model, seen):
                ids = torch.tensor([ids[shared:] for ids in part], device=model.device)
                layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
            layers: Any = cache.layers
            keys.append([(each.keys[:, :, :first].clone(), each.values[:, :, :first].clone()) for each in layers])
            calls = calls or tuple(_call(*each, length, first, shared, model.dtype) for each in seen)
    past = tuple(tuple(torch.cat(side) for side in zip(*layer, strict=True)) for layer in zip(*keys, strict=True))
    return Run(**{**{f.name: getattr(run, f.name) for f in fields(run)}, "past": past, "calls": calls})


def _empty(model: LoadedModel, prompts: int, positions: int) -> Run:
    layout, rows = model.layout, prompts * positions

    def room(*shape: int) -> Tensor:
        return torch.empty(rows, *shape, dtype=model.work_dtype, device=model.device)

    wide = (layout.layers, layout.hidden)
    return Run(
        prompts=prompts,
        positions=positions,
        z=room(layout.layers, layout.heads, layout.head_dim),
        stream=room(*wide),
        heads=room(*wide),
        mid=room(*wide),
        mlp=room(*wide),
        final=room(layout.hidden),
        past=(),
        calls=(),
    )


def _keeping(model: LoadedModel, run: Run, rows: slice) -> ExitStack:
    def into(target: Tensor) -> Callable[[Tensor], None]:
        def keep(states: Tensor) -> None:
            last = states[:, -run.positions :]
            target[rows] = last.reshape(-1, *target.shape[1:]).to(target)

        return keep

    blocks = list(enumerate(model.layout.blocks))
    stack = ExitStack()
    stack.enter_context(on_input([(b.heads_out, into(run.z[:, i])) for i, b in blocks]))
    stack.enter_context(on_output([(b.attention_output, into(run.heads[:, i])) for i, b in blocks]))
    stack.enter_context(on_input([(b.mlp_input, into(run.mid[:, i])) for i, b in blocks]))
    stack.enter_context(on_output([(b.mlp_output, into(run.mlp[:, i])) for i, b in blocks]))
    stack.enter_context(on_input([(model.layout.final_norm, into(run.final))]))
    for layer, block in blocks:
        stack.enter_context(_reading(block, into(run.stream[:, layer])))
    return stack


def _reading(block: Block, keep: Callable[[Tensor], None]) -> ExitStack:
    """Watch the residual stream that a layer reads: the input of the first norm, or of attention if there is none."""
    stack = ExitStack()
    if block.attention_norm is not None:
        stack.enter_context(on_input([(block.attention_norm, keep)]))
        return stack

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(args[0] if args else kwargs["hidden_states"])

    stack.callback(block.attention.register_forward_pre_hook(hook, with_kwargs=True).remove)
    return stack


def _listening(model: LoadedModel, seen: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> ExitStack:
    """How attention is called, layer by layer."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs))

    stack = ExitStack()
    for block in model.layout.blocks:
        stack.callback(block.attention.register_forward_pre_hook(hook, with_kwargs=True).remove)
    return stack


def _call(
    args: tuple[Any, ...], kwargs: dict[str, Any], length: int, first: int, shared: int, dtype: torch.dtype
) -> Call:
    """A call as heard in a pass over the positions from ``shared`` on, cut to those from ``first`` on.

    Prompts of a batch differ in nothing but their tokens, so the first one speaks for all.
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
        mask = mask[:1, :, skip:]
        mask = _additive(mask, dtype) if mask.dtype == torch.bool else mask
    return Call(args[1:], kept, mask, first, length - first)


def _additive(see: Tensor, dtype: torch.dtype) -> Tensor:
    """What may be seen as something to add to scores."""
    return torch.zeros(see.shape, dtype=dtype, device=see.device).masked_fill(~see, -torch.inf)


def first_difference(a: TokenIds, b: TokenIds) -> int:
    """The first position where two prompts of one length differ; their last one if they do not."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a) - 1)
