"""Hooks that live inside a ``with`` and are gone after it, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

Watch = Callable[[Tensor], Tensor | None]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, and afterwards every module as it was: somebody may be training this model."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def eager_attention(hf: Any) -> Iterator[None]:
    """Only the eager path forms attention weights; the sweep never pays for it."""
    # The attribute that every attention module reads at each call: `set_attn_implementation` refuses Falcon, whose
    # modules follow it all the same.
    before = hf.config._attn_implementation
    hf.config._attn_implementation = "eager"
    try:
        yield
    finally:
        hf.config._attn_implementation = before


@contextmanager
def on_input(pairs: list[tuple[nn.Module, Watch]]) -> Iterator[None]:
    """Call each watch with its module's input; a tensor it returns takes the input's place."""
    with ExitStack() as stack:
        for module, watch in pairs:

            def pre(_module: nn.Module, args: tuple[Tensor, ...], watch: Watch = watch) -> tuple[Tensor, ...] | None:
                changed = watch(args[0])
                return None if changed is None else (changed, *args[1:])

            stack.callback(module.register_forward_pre_hook(pre).remove)
        yield


@contextmanager
def on_output(pairs: list[tuple[nn.Module, Watch]]) -> Iterator[None]:
    """Call each watch with its module's output; a tensor it returns takes the output's place."""
    with ExitStack() as stack:
        for module, watch in pairs:

            def post(_module: nn.Module, _args: object, output: Tensor, watch: Watch = watch) -> Tensor | None:
                return watch(output)

            stack.callback(module.register_forward_hook(post).remove)
        yield
