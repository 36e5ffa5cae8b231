"""What the last position (END) attends with: in every layer its query, the keys and values that it sees, and the row of
attention weights that they give, so that the row can be formed anew from another query or from other keys.

Rotations, norms on queries and keys, windows, caps and scales are the model's own: what is kept here is what its code
handed over just before the scores. Most families hand it to a function that transformers looks up by name, GPT-J to a
method of its own, Falcon to torch's ``scaled_dot_product_attention``.
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
from arithmoscope.engine.forward.activations import TokenIds, repeated, run_prefix, shared_prefix, shares_beginnings
from arithmoscope.engine.models.loaded import LoadedModel

_CACHES = ("past_key_values", "layer_past")


@dataclass(frozen=True)
class EndAttention:
    """One layer's attention at END, as it was called for some prompts of one length.

    query   after its norm and rotation; one row
    mask    added to the scores; infinitely or enormously negative where END may not look
    read    what attention read at END, the layer's norm applied
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
        """Each head's output at END, exactly: what it was, or with another query, or with other keys.

        Query heads that share keys and values are computed side by side; nothing is expanded.
        """
        query, keys = self.query if query is None else query, self.keys if keys is None else keys
        prompts, heads, rows, width = query.shape
        groups = keys.shape[1]
        grouped = query.reshape(prompts, groups, -1, width)  # the query heads of one key head, and their rows
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
    """Keys and values of every position before END, of prompts of one length. END never changes them.

    What all prompts begin with in common is run once.
    """
    last = len(prompts[0]) - 1
    shared = min(shared_prefix(sorted(prompts)), last) if shares_beginnings(model, last + 1) else 0
    cache = repeated(run_prefix(model, prompts[0][:shared]), len(prompts)) if shared else DynamicCache()
    if shared < last:
        ids = torch.tensor([ids[shared:last] for ids in prompts], device=model.device)
        model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def last_tokens(model: LoadedModel, prompts: Sequence[TokenIds]) -> Int[Tensor, "prompt 1"]:
    """END of each prompt, to be run after `cache_before_end`."""
    return torch.tensor([ids[-1:] for ids in prompts], device=model.device)


class Listener:
    """Keeps how attention was called in the forward pass of END that runs while it listens; see `listening`."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._layers = {id(block.attention): layer for layer, block in enumerate(model.layout.blocks)}
        self._calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._seen: dict[int, EndAttention] = {}
        self._asked: Tensor | None = None
        self._asking = False
        self.current: nn.Module | None = None

    def __getitem__(self, layer: int) -> EndAttention:
        if layer not in self._seen:
            raise self._lost(layer)
        return self._seen[layer]

    def _lost(self, layer: int) -> Refusal:
        name = type(self._model.hf).__name__
        return Refusal(
            "unsupported_architecture", f"How this {name} computes attention cannot be followed in layer {layer}."
        )

    def queries(
        self, layer: int, read: Float[Tensor, "prompt row hidden"]
    ) -> Float[Tensor, "prompt head row head_dim"]:
        """The layer's queries at END, if attention read each of these rows there: at END's own position, whatever
        prompt the rows come from. In the work precision. Only while listening; hooks on modules inside attention are
        called, too."""
        args, kwargs = self._calls[layer]
        rows = read.shape[1]
        told = {name: _tiled(name, value, rows) for name, value in kwargs.items() if name != "hidden_states"}
        told.update({name: None for name in _CACHES if name in told})
        block = self._model.layout.blocks[layer]
        attention: Any = block.attention
        self._asking, self._asked, before, self.current = True, None, self.current, attention
        try:
            # `forward`, so that no hook on attention itself takes this for a forward pass of the model.
            attention.forward(read.to(block.device, self._model.dtype), *args[1:], **told)
        finally:
            self._asking, self.current = False, before
        if self._asked is None:
            raise self._lost(layer)
        return self._asked.to(self._model.work_dtype)

    def called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Attention is about to run: how it is called is how it can be asked later."""
        self.current = module
        self._calls[self._layers[id(module)]] = (args, kwargs)

    def heard(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        scaling: float | None,
        softcap: float | None,
    ) -> bool:
        """Query, keys and values as the running attention hands them over; whether its output is of no interest."""
        if self._asking:
            self._asked = query
            return True
        if self.current is None or id(self.current) not in self._layers:
            return False
        layer, wide = self._layers[id(self.current)], self._model.work_dtype
        args, kwargs = self._calls[layer]
        read = args[0] if args else kwargs["hidden_states"]
        self._seen[layer] = EndAttention(
            query=query[:, :, -1:].detach().to(wide),
            keys=keys.detach().to(wide),
            values=values.detach().to(wide),
            mask=_additive(mask, wide),
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
            stack.callback(block.attention.register_forward_pre_hook(listener.called, with_kwargs=True).remove)
        stack.enter_context(_LISTENING.get(type(model.hf).__name__, _interface)(model, listener))
        yield listener


@contextmanager
def _implementing(hf: Any, name: str) -> Iterator[None]:
    before = hf.config._attn_implementation
    hf.config._attn_implementation = name
    try:
        yield
    finally:
        hf.config._attn_implementation = before


@contextmanager
def _interface(model: LoadedModel, listener: Listener) -> Iterator[None]:
    """In front of the function that transformers knows under the name of the model's way of attending."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # imports every quantizer that is installed

    hf: Any = model.hf
    name = hf.config._attn_implementation
    name = name if name in ("eager", "sdpa") else "sdpa"  # the others work out masks inside their kernels
    before = ALL_ATTENTION_FUNCTIONS._local_mapping.get(name)
    usual = ALL_ATTENTION_FUNCTIONS.get(name)

    def attend(
        module: nn.Module, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        if listener.heard(query, keys, values, mask, kwargs.get("scaling"), kwargs.get("softcap")):
            return query.new_zeros(len(query), query.shape[2], query.shape[1], values.shape[-1]), None
        # The eager function is not in the table: each family has its own, beside its attention.
        own = usual or sys.modules[type(module).__module__].eager_attention_forward  # pyright: ignore
        return own(module, query, keys, values, mask, *args, **kwargs)

    ALL_ATTENTION_FUNCTIONS[name] = attend
    try:
        with _implementing(hf, name):
            yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[name]
        if before is not None:
            ALL_ATTENTION_FUNCTIONS[name] = before


@contextmanager
def _own_method(model: LoadedModel, listener: Listener) -> Iterator[None]:
    """In front of GPT-J's method ``_attn``, wherever it has one."""
    modules: list[Any] = [b.attention for b in model.layout.blocks if hasattr(b.attention, "_attn")]

    def attend(own: Callable[..., Any], scaling: float) -> Callable[..., Any]:
        def wrapped(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Any:
            if listener.heard(query, key, value, attention_mask, scaling, None):
                return query.new_zeros(*query.shape[:-1], value.shape[-1], dtype=value.dtype), None
            return own(query, key, value, attention_mask)

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
    """In front of torch's own attention. Falcon's eager path, the same function, is arithmetic in the middle of its
    forward pass."""
    with _implementing(model.hf, "sdpa"), _ScaledDotProduct(listener):
        yield


class _ScaledDotProduct(TorchFunctionMode):
    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            if self._listener.heard(query, key, value, kwargs.get("attn_mask"), kwargs.get("scale"), None):
                return query.new_zeros(*query.shape[:-1], value.shape[-1])
        return func(*args, **kwargs)


# How to listen to a family; all others go through transformers' table of attention functions.
_LISTENING: dict[str, Callable[[LoadedModel, Listener], AbstractContextManager[None]]] = {
    "FalconForCausalLM": _falcon,
    "GPTJForCausalLM": _own_method,
}


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The mask's row of END as something to add to scores."""
    if mask is None:  # END sees everything before it
        return None
    row = mask[:, :, -1:]
    if row.dtype == torch.bool:
        return torch.zeros(row.shape, dtype=dtype, device=row.device).masked_fill(~row, -torch.inf)
    return row.to(dtype)


def _tiled(name: str, value: Any, rows: int) -> Any:
    """An argument of attention at END, for several rows that all stand at END's position."""
    if name == "position_embeddings" and value is not None:
        return tuple(each.expand(-1, rows, -1) for each in value)
    if name == "position_ids" and value is not None:
        return value.expand(-1, rows)
    return value
