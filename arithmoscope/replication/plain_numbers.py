"""Numbers as stored: plain JSON, five significant digits, None for what is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

Numbers = dict[str, Any]
_DIGITS = 5


def plain(value: Any) -> Any:
    """Tensors, tuples and floats as JSON values; NaN and infinity become None."""
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
