"""Attention at the last position (END): each layer's query, keys, values and mask, from which the attention row can be
recomputed with another query or other keys.

Rotations, norms on queries and keys, windows, caps and scales are the model's own: the tensors are intercepted just
before the scores are computed. Most families pass them to a function that transformers looks up by name, GPT-J to its
own method, Falcon to torch's ``scaled_dot_product_attention``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import DynamicCache

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import TokenIds, can_share_prefix, repeated, run_prefix, shared_prefix
from arithmoscope.engine.forward.cached_run import additive, tiled
from arithmoscope.engine.models.loaded import LoadedModel

_CACHES = ("past_key_values", "layer_past")


@dataclass(frozen=True)
class EndAttention:
    """The inputs of one layer's attention at END, for prompts of one length.

    query   after its norm and rotation; one row
    mask    added to the scores; -inf or a huge negative number at positions that END may not attend to
    read    attention's input at END, after the layer's norm
    """

    query: Float[Tensor, "prompt head row head_dim"]
    keys: Float[Tensor, "prompt kv_head position head_dim"]
    values: Float[Tensor, "prompt kv_head position head_dim"]
    mask: Float[Tensor, "_ _ 1 position"] | None
    scaling: float
    softcap: float | None
    read: Float[Tensor, "prompt 1 hidden"]

    def heads(
        self,
        query: Float[Tensor, "prompt head row head_dim"] | None = None,
        keys: Float[Tensor, "prompt kv_head position head_dim"] | None = None,
    ) -> Float[Tensor, "prompt head row head_dim"]:
        """Each head's exact output at END, by default the original one; with other ``query`` or ``keys`` if given.

        Query heads that share keys and values are computed together, without expanding these.
        """
        query, keys = self.query if query is None else query, self.keys if keys is None else keys
        prompts, heads, rows, width = query.shape
        groups = keys.shape[1]
        grouped = query.reshape(prompts, groups, -1, width)  # per key head: its query heads and their rows
        scores = grouped @ keys.transpose(-1, -2) * self.scaling
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        scores = scores.view(prompts, heads, rows, -1)
        if self.mask is not None:
            scores = scores + self.mask
        weights = scores.softmax(-1).view(prompts, groups, -1, scores.shape[-1])
        return (weights @ self.values).view(prompts, heads, rows, -1)


@torch.no_grad()
def cache_before_end(model: LoadedModel, prompts: Sequence[TokenIds]) -> DynamicCache:
    """Keys and values of all positions before END, for prompts of one length. They do not depend on END.

    The prompts' common prefix runs once.
    """
    last = len(prompts[0]) - 1
    shared = min(shared_prefix(sorted(prompts)), last) if can_share_prefix(model, last + 1) else 0
    cache = repeated(run_prefix(model, prompts[0][:shared]), len(prompts)) if shared else DynamicCache()
    if shared < last:
        ids = torch.tensor([ids[shared:last] for ids in prompts], device=model.device)
        model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def last_tokens(model: LoadedModel, prompts: Sequence[TokenIds]) -> Int[Tensor, "prompt 1"]:
    """The last token of each prompt, to be run on top of `cache_before_end`."""
    return torch.tensor([ids[-1:] for ids in prompts], device=model.device)


class Listener:
    """Records the attention calls of the forward pass over END that runs inside `listening`."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._layers = {id(block.attention): layer for layer, block in enumerate(model.layout.blocks)}
        self._calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._recorded: dict[int, EndAttention] = {}
        self._query: Tensor | None = None
        self._recomputing = False  # inside `queries`
        self.current: nn.Module | None = None

    def __getitem__(self, layer: int) -> EndAttention:
        if layer not in self._recorded:
            raise self._not_recorded(layer)
        return self._recorded[layer]

    def _not_recorded(self, layer: int) -> Refusal:
        name = type(self._model.hf).__name__
        return Refusal("unsupported_architecture", f"The attention of layer {layer} of this {name} cannot be recorded.")

    def queries(
        self, layer: int, read: Float[Tensor, "prompt row hidden"]
    ) -> Float[Tensor, "prompt head row head_dim"]:
        """The layer's queries for alternative inputs of attention at END, in the work precision. All rows take END's
        own position, independent of their prompt. Works only inside `listening`; also calls hooks on modules inside
        attention."""
        args, kwargs = self._calls[layer]
        rows = read.shape[1]
        options = {name: tiled(name, value, rows) for name, value in kwargs.items() if name != "hidden_states"}
        options.update({name: None for name in _CACHES if name in options})
        block = self._model.layout.blocks[layer]
        attention: Any = block.attention
        self._recomputing, self._query, previous, self.current = True, None, self.current, attention
        try:
            # `forward`, so that no hook on attention itself takes this for a forward pass of the model.
            attention.forward(read.to(block.device, self._model.dtype), *args[1:], **options)
        finally:
            self._recomputing, self.current = False, previous
        if self._query is None:
            raise self._not_recorded(layer)
        return self._query.to(self._model.work_dtype)

    def on_call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Pre-hook of attention: keeps the arguments, with which `queries` calls it again."""
        self.current = module
        self._calls[self._layers[id(module)]] = (args, kwargs)

    def on_scores(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        scaling: float | None,
        softcap: float | None,
    ) -> bool:
        """Receives query, keys and values just before the scores are computed. Returns True if the output is not needed
        (inside `queries`)."""
        if self._recomputing:
            self._query = query
            return True
        if self.current is None or id(self.current) not in self._layers:
            return False
        layer, wide = self._layers[id(self.current)], self._model.work_dtype
        args, kwargs = self._calls[layer]
        read = args[0] if args else kwargs["hidden_states"]
        self._recorded[layer] = EndAttention(
            query=query[:, :, -1:].detach().to(wide),
            keys=keys.detach().to(wide),
            values=values.detach().to(wide),
            mask=None if mask is None else additive(mask[:, :, -1:], wide),
            scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
            softcap=softcap,
            read=read[:, -1:].detach(),
        )
        return False


@contextmanager
def listening(model: LoadedModel) -> Iterator[Listener]:
    """Listens to every layer's attention. Inside it, run the decoder on END alone with `cache_before_end` as cache."""
    listener = Listener(model)
    with ExitStack() as stack:
        for block in model.layout.blocks:
            stack.callback(block.attention.register_forward_pre_hook(listener.on_call, with_kwargs=True).remove)
        stack.enter_context(_LISTENING.get(type(model.hf).__name__, _interface)(model, listener))
        yield listener


@contextmanager
def _implementation(hf: Any, name: str) -> Iterator[None]:
    """Switches the model's attention implementation temporarily."""
    previous = hf.config._attn_implementation
    hf.config._attn_implementation = name
    try:
        yield
    finally:
        hf.config._attn_implementation = previous


@contextmanager
def _interface(model: LoadedModel, listener: Listener) -> Iterator[None]:
    """Wraps the function that transformers has registered for the model's attention implementation."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # imports every quantizer that is installed

    hf: Any = model.hf
    name = hf.config._attn_implementation
    name = name if name in ("eager", "sdpa") else "sdpa"  # the others compute masks inside their kernels
    previous = ALL_ATTENTION_FUNCTIONS._local_mapping.get(name)
    registered = ALL_ATTENTION_FUNCTIONS.get(name)

    def attend(
        module: nn.Module, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        if listener.on_scores(query, keys, values, mask, kwargs.get("scaling"), kwargs.get("softcap")):
            return query.new_zeros(len(query), query.shape[2], query.shape[1], values.shape[-1]), None
        # The eager function is not registered: each family defines its own in its module.
        original = registered or sys.modules[type(module).__module__].eager_attention_forward  # pyright: ignore
        return original(module, query, keys, values, mask, *args, **kwargs)

    ALL_ATTENTION_FUNCTIONS[name] = attend
    try:
        with _implementation(hf, name):
            yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[name]
        if previous is not None:
            ALL_ATTENTION_FUNCTIONS[name] = previous


@contextmanager
def _own_method(model: LoadedModel, listener: Listener) -> Iterator[None]:
    """Wraps GPT-J's method ``_attn`` on every attention module that has one."""
    modules: list[Any] = [b.attention for b in model.layout.blocks if hasattr(b.attention, "_attn")]

    def attend(original: Callable[..., Any], scaling: float) -> Callable[..., Any]:
        def wrapped(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Any:
            if listener.on_scores(query, key, value, attention_mask, scaling, None):
                return query.new_zeros(*query.shape[:-1], value.shape[-1], dtype=value.dtype), None
            return original(query, key, value, attention_mask)

        return wrapped

    try:
        for module in modules:
            module._attn = attend(module._attn, 1 / float(module.scale_attn))
        yield
    finally:
        for module in modules:
            vars(module).pop("_attn", None)


@contextmanager
def _falcon(model: LoadedModel, listener: Listener) -> Iterator[None]:
    """Wraps torch's ``scaled_dot_product_attention``. Falcon's eager path computes the same inline in its forward
    pass, where it cannot be intercepted."""
    with _implementation(model.hf, "sdpa"), _ScaledDotProduct(listener):
        yield


class _ScaledDotProduct(TorchFunctionMode):
    """Intercepts ``scaled_dot_product_attention`` for a listener."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            if self._listener.on_scores(query, key, value, kwargs.get("attn_mask"), kwargs.get("scale"), None):
                return query.new_zeros(*query.shape[:-1], value.shape[-1])
        return func(*args, **kwargs)


# Families with their own interception; all others go through transformers' registry of attention functions.
_LISTENING: dict[str, Callable[[LoadedModel, Listener], AbstractContextManager[None]]] = {
    "FalconForCausalLM": _falcon,
    "GPTJForCausalLM": _own_method,
}
