"""Model cards built from a configuration, and the checks that reject a model before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from arithmoscope.contracts.models import ModelCard, ModelSource
from arithmoscope.contracts.prompt_terms import DEFAULT_SHOTS, MAX_SHOTS, AnswerTokens
from arithmoscope.engine.families import unsupported, why_unsupported

# Above the size of any real model: transformers would build modules for such a configuration until memory runs out.
_MAX_COUNT = 10_000
_MAX_WIDTH = 100_000_000

_LAYERS = ("num_hidden_layers", "n_layer")
_HEADS = ("num_attention_heads", "n_head")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads")
_WIDTHS = ("hidden_size", "n_embd", "head_dim", "intermediate_size", "vocab_size")
_LIMITS = {**dict.fromkeys((*_LAYERS, *_HEADS, *_KV_HEADS), _MAX_COUNT), **dict.fromkeys(_WIDTHS, _MAX_WIDTH)}


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
    """The card of a transformers configuration. ``reason``: a reason outside the configuration why the model cannot
    run."""
    unusable = why_unusable(config, architecture)
    heads = _size(config, _HEADS)
    multi_query = config.get("multi_query") is True and not config.get("new_decoder_architecture")
    return ModelCard(
        id=model_id,
        name=name or model_id,
        source=source,
        revision=revision,
        layers=_size(config, _LAYERS),
        heads=heads,
        kv_heads=1 if multi_query else _size(config, _KV_HEADS) or heads,
        parameters=parameters,
        shots=DEFAULT_SHOTS,
        supported=(unusable or reason) is None,
        reason=unusable or reason,
    )


def with_defaults(card: ModelCard, manifest: Mapping[str, Any]) -> ModelCard:
    """The card with the manifest's number of worked examples and treatment of answers, as far as it has valid ones."""
    update: dict[str, Any] = {}
    if type(shots := manifest.get("shots")) is int and 0 <= shots <= MAX_SHOTS:
        update["shots"] = shots
    if (answer := manifest.get("answer")) in get_args(AnswerTokens):
        update["answer"] = answer
    return card.model_copy(update=update)


def broken_card(model_id: str, reason: str, source: ModelSource = "folder") -> ModelCard:
    """The card of a model whose files cannot be read, with the reason."""
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
    """The reason why a configuration alone rules a model out; None if it does not."""
    return (
        why_unsupported(architecture)
        or why_not_causal(config, architecture)
        or _why_quantised(config)
        or _why_invalid(config)
    )


def why_not_causal(config: Mapping[str, Any], architecture: str | None) -> str | None:
    """The reason for a model with bidirectional attention, None for a causal one: every method assumes causality."""
    if config.get("use_bidirectional_attention"):
        return unsupported(architecture, "with tokens that look ahead (use_bidirectional_attention)")
    return None


def _why_quantised(config: Mapping[str, Any]) -> str | None:
    quantization = config.get("quantization_config")
    if not quantization:
        return None
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    return (
        f"Its weights are quantised ({str(method or 'unknown method')[:40]}), and quantised weights are not supported: "
        "use the model's unquantised weights, with dtype int8 if memory is short."
    )


def _why_invalid(config: Mapping[str, Any]) -> str | None:
    for name, limit in _LIMITS.items():
        value = config.get(name)
        if value is not None and (type(value) is not int or not 0 < value <= limit):
            return f"Its config.json says {name} = {value!r}"[:200] + "."
    heads, kv_heads = _size(config, _HEADS), _size(config, _KV_HEADS)
    if kv_heads and heads % kv_heads:
        return f"Its config.json says {heads} heads, which cannot share {kv_heads} key and value heads."
    return None


def _size(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The first of these settings that is set; 0 if none is or its value is invalid."""
    value = next((config[name] for name in names if config.get(name)), 0)
    return value if type(value) is int and 0 < value <= _MAX_COUNT else 0
