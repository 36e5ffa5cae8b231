"""Models in double precision throughout. Norms, softmaxes and GPT-J's attention go through float32 for weights of any
precision, and its rounding error would hide a finite difference."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class EverywhereDouble(TorchFunctionMode):
    """Every conversion to float32 inside the ``with`` goes to float64 instead."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if each is torch.float32 else each for each in args)
        kwargs = {name: torch.float64 if each is torch.float32 else each for name, each in (kwargs or {}).items()}
        return func(*args, **kwargs)
