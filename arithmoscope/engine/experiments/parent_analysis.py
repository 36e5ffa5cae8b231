"""A finished analysis, read back from what is kept of it: whatever is asked of it later starts here."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import Metric, PathPatchingSpec
from arithmoscope.engine.measures.metrics import metric_values
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair, PromptSet, prepare

# Gives one of the analysis's artifacts by its name.
Read = Callable[[str], bytes]
_ARRAYS = ("heads", "mlps", "competitor_heads", "competitor_mlps", "reference")
_OPTIONAL = ("probability_heads", "probability_mlps")


@dataclass(frozen=True)
class Analysis:
    """What was asked, of which weights; the kept pairs by their numbers in the list asked for, and of each the token
    ids of its two prompts and of its answer."""

    spec: PathPatchingSpec
    revision: str
    kept: tuple[int, ...]
    ids: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...]


@dataclass(frozen=True, eq=False)
class StoredEffects:
    """The effects of the kept pairs, as `PatchingEffects` names them."""

    questions: tuple[str, ...]
    heads: Float[Tensor, "pair layer head"]
    mlps: Float[Tensor, "pair layer"]
    competitor_heads: Float[Tensor, "pair layer head"]
    competitor_mlps: Float[Tensor, "pair layer"]
    probability_heads: Float[Tensor, "pair layer head"] | None
    probability_mlps: Float[Tensor, "pair layer"] | None
    reference: Float[Tensor, " pair"]

    def values(self, metric: Metric | str) -> tuple[Float[Tensor, "pair layer head"], Float[Tensor, "pair layer"]]:
        """Effects in a metric's unit; NaN where the metric is undefined for a pair."""
        return metric_values(self, metric)

    def turned(self) -> StoredEffects:
        """With the other sign: where parts were put back (``denoising``), what restores most is what hurts most when it
        is out."""
        changes = {name: getattr(self, name) for name in (*_ARRAYS[:-1], *_OPTIONAL)}
        return replace(self, **{name: None if values is None else -values for name, values in changes.items()})


def read_analysis(read: Read) -> Analysis:
    """Refuses what ``read`` refuses."""
    result: dict[str, Any] = json.loads(read("result.json"))
    return Analysis(
        spec=PathPatchingSpec.model_validate(result["spec"]),
        revision=result["model"]["revision"],
        kept=tuple(pair["index"] for pair in result["pairs"]),
        ids=tuple(
            (_ids(pair["reference"]), _ids(pair["counterfactual"]), pair["answer_id"]) for pair in result["pairs"]
        ),
    )


def _ids(tokens: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(token["id"] for token in tokens)


def read_effects(read: Read) -> StoredEffects:
    """The arrays as they are stored; nothing in the file is executed. Refuses (``no_result``) what is none."""
    try:
        with np.load(io.BytesIO(read("arrays.npz")), allow_pickle=False) as arrays:
            held: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _ARRAYS}
            for name in _OPTIONAL:
                held[name] = torch.from_numpy(arrays[name]) if name in arrays.files else None
            return StoredEffects(questions=tuple(arrays["questions"].tolist()), **held)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise Refusal("no_result", "The stored arrays of the analysis cannot be read.") from error


def prepared_again(model: LoadedModel, analysis: Analysis) -> PromptSet:
    """The analysis's prompts as it was asked them. Refuses (``model_changed``) where a kept pair has other tokens by
    now: the chat template is another one, or this version of the program words its prompts in another way."""
    prompts = analysis.spec.prompts
    prepared = prepare(prompts, model.text, model.chat if prompts.chat else None)
    # Resampling puts other prompts in the place of the counterfactuals.
    as_asked = analysis.spec.source != "resample"
    for index, (reference, counterfactual, answer) in zip(analysis.kept, analysis.ids, strict=True):
        pair = prepared.pairs[index] if index < len(prepared.pairs) else None
        if (
            pair is None
            or (pair.reference_ids, pair.answer_id) != (reference, answer)
            or (as_asked and pair.counterfactual_ids != counterfactual)
        ):
            raise Refusal(
                "model_changed",
                f"Prompt {index} is read in another way than when this result was made: the model's chat template or "
                "the program has changed since.",
            )
    return prepared


def kept_pairs(model: LoadedModel, analysis: Analysis, at_most: int) -> list[EncodedPair]:
    """The first pairs that are in the result's numbers."""
    pairs = prepared_again(model, analysis).pairs
    return [pairs[index] for index in analysis.kept[:at_most]]
