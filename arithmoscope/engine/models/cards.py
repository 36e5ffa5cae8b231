"""A model's card out of its configuration, and the reasons for which a configuration is refused unread weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arithmoscope.contracts.models import ModelCard, ModelSource
from arithmoscope.engine.families import unsupported, why_unsupported

# Solved examples that are put before a bare sum unless told otherwise: the demo model answers almost nothing without.
RECOMMENDED_SHOTS = 2
# More layers or heads than any model has: modules would be built for them until memory ends.
_MOST = 10_000
_WIDEST = 100_000_000

_LAYERS = ("num_hidden_layers", "n_layer")
_HEADS = ("num_attention_heads", "n_head")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads")
_WIDTHS = ("hidden_size", "n_embd", "head_dim", "intermediate_size", "vocab_size")
_LIMITS = {**dict.fromkeys((*_LAYERS, *_HEADS, *_KV_HEADS), _MOST), **dict.fromkeys(_WIDTHS, _WIDEST)}


def card_of_config(
    config: Mapping[str, Any],
    *,
    model_id: str,
    architecture: str | None,
    source: ModelSource,
    revision: str,
    parameters: int,
    name: str | None = None,
    reason: str | None = None,
) -> ModelCard:
    """A card out of a transformers config. ``reason``: why it cannot run, besides its configuration."""
    unusable = why_unusable(config, architecture)
    heads = _size(config, _HEADS)
    one_kv_head = config.get("multi_query") is True and not config.get("new_decoder_architecture")
    return ModelCard(
        id=model_id,
        name=name or model_id,
        source=source,
        revision=revision,
        layers=_size(config, _LAYERS),
        heads=heads,
        kv_heads=1 if one_kv_head else _size(config, _KV_HEADS) or heads,
        parameters=parameters,
        shots=RECOMMENDED_SHOTS,
        supported=(unusable or reason) is None,
        reason=unusable or reason,
    )


def broken_card(model_id: str, reason: str, source: ModelSource = "folder") -> ModelCard:
    """A card that says why there is nothing else to say."""
    return ModelCard(
        id=model_id,
        name=model_id,
        source=source,
        revision="",
        layers=0,
        heads=0,
        kv_heads=0,
        parameters=0,
        shots=0,
        supported=False,
        reason=reason,
    )


def why_unusable(config: Mapping[str, Any], architecture: str | None) -> str | None:
    """A sentence for a model that its configuration alone rules out, None for any other."""
    return why_unsupported(architecture) or looks_ahead(config, architecture) or _packed(config) or _nonsense(config)


def looks_ahead(config: Mapping[str, Any], architecture: str | None) -> str | None:
    """A sentence for a model whose tokens see later ones: every method here takes it that they do not."""
    if config.get("use_bidirectional_attention"):
        return unsupported(architecture, "with tokens that look ahead (use_bidirectional_attention)")
    return None


def _packed(config: Mapping[str, Any]) -> str | None:
    told = config.get("quantization_config")
    if not told:
        return None
    method = told.get("quant_method") if isinstance(told, dict) else None
    return (
        f"Its weights are quantised ({str(method or 'in an unnamed way')[:40]}), and packed weights are not read: "
        "take the model's plain weights, in 8 bits with dtype int8 if need be."
    )


def _nonsense(config: Mapping[str, Any]) -> str | None:
    for name, most in _LIMITS.items():
        value = config.get(name)
        if value is not None and (type(value) is not int or not 0 < value <= most):
            return f"Its config.json says {name} = {value!r}"[:200] + "."
    heads, shared = _size(config, _HEADS), _size(config, _KV_HEADS)
    if shared and heads % shared:
        return f"Its config.json says {heads} heads, which cannot share {shared} key and value heads."
    return None


def _size(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of these that is said, 0 where none is or it is nonsense."""
    value = next((config[name] for name in names if config.get(name)), 0)
    return value if type(value) is int and 0 < value <= _MOST else 0
