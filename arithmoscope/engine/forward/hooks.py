"""Context managers for forward hooks and temporary model settings; leaving the ``with`` always removes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

TensorHook = Callable[[Tensor], Tensor | None]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout). Afterwards every module is in its earlier mode: the model may be in training."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def eager_attention(hf: Any) -> Iterator[None]:
    """Eager attention, the only implementation that returns attention weights; everything else uses the faster one."""
    # Every attention module reads this attribute at each call. `set_attn_implementation` rejects Falcon, although its
    # modules read it, too.
    previous = hf.config._attn_implementation
    hf.config._attn_implementation = "eager"
    try:
        yield
    finally:
        hf.config._attn_implementation = previous


@contextmanager
def on_input(pairs: list[tuple[nn.Module, TensorHook]]) -> Iterator[None]:
    """Calls each hook with its module's first input; a returned tensor replaces the input."""
    with ExitStack() as stack:
        for module, hook in pairs:

            def pre(_module: nn.Module, args: tuple[Tensor, ...], hook: TensorHook = hook) -> tuple[Tensor, ...] | None:
                replaced = hook(args[0])
                return None if replaced is None else (replaced, *args[1:])

            stack.callback(module.register_forward_pre_hook(pre).remove)
        yield


@contextmanager
def on_output(pairs: list[tuple[nn.Module, TensorHook]]) -> Iterator[None]:
    """Calls each hook with its module's output; a returned tensor replaces the output."""
    with ExitStack() as stack:
        for module, hook in pairs:

            def post(_module: nn.Module, _args: object, output: Tensor, hook: TensorHook = hook) -> Tensor | None:
                return hook(output)

            stack.callback(module.register_forward_hook(post).remove)
        yield
