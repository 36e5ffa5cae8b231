"""A finished analysis read back from its stored files: the start of every experiment and view that builds on it."""

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
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.terms import Metric
from arithmoscope.engine.measures.metrics import metric_values
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair, PromptSet, prepare

# Returns one of the analysis's artifacts by name.
ReadArtifact = Callable[[str], bytes]
_ARRAYS = ("heads", "mlps", "competitor_heads", "competitor_mlps", "reference")
_OPTIONAL = ("probability_heads", "probability_mlps")


@dataclass(frozen=True)
class Analysis:
    """The spec and model revision of an analysis; the indices of its kept pairs in the submitted list, and for each the
    token ids of both prompts and of the answer.
    """

    spec: PathPatchingSpec
    revision: str
    kept: tuple[int, ...]
    ids: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...]


@dataclass(frozen=True, eq=False)
class StoredEffects:
    """The effects of the kept pairs, with the names of `PatchingEffects`."""

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

    def negated(self) -> StoredEffects:
        """With the opposite sign: in ``denoising`` the component that restores most is the one whose removal hurts
        most.
        """
        changes = {name: getattr(self, name) for name in (*_ARRAYS[:-1], *_OPTIONAL)}
        return replace(self, **{name: None if values is None else -values for name, values in changes.items()})


def read_analysis(read: ReadArtifact) -> Analysis:
    """Reads the stored result. Raises Refusal as ``read`` does."""
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


def read_effects(read: ReadArtifact) -> StoredEffects:
    """The stored arrays; nothing in the file is executed. Raises Refusal (``no_result``) if they cannot be read."""
    try:
        with np.load(io.BytesIO(read("arrays.npz")), allow_pickle=False) as arrays:
            tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _ARRAYS}
            for name in _OPTIONAL:
                tensors[name] = torch.from_numpy(arrays[name]) if name in arrays.files else None
            return StoredEffects(questions=tuple(arrays["questions"].tolist()), **tensors)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise Refusal("no_result", "The stored arrays of the analysis cannot be read.") from error


def analysis_prompts(model: LoadedModel, analysis: Analysis) -> PromptSet:
    """The prompts of the analysis, prepared again.

    Raises:
        Refusal: ``model_changed`` if a kept pair now has other tokens: the chat template has changed, or this version
            of the program words its prompts differently.
    """
    prompts = analysis.spec.prompts
    prepared = prepare(prompts, model.text, model.chat if prompts.chat else None)
    # Resampling replaces the counterfactuals by other prompts.
    own_counterfactuals = analysis.spec.source != "resample"
    for index, (reference, counterfactual, answer) in zip(analysis.kept, analysis.ids, strict=True):
        pair = prepared.pairs[index] if index < len(prepared.pairs) else None
        if (
            pair is None
            or (pair.reference_ids, pair.answer_id) != (reference, answer)
            or (own_counterfactuals and pair.counterfactual_ids != counterfactual)
        ):
            raise Refusal(
                "model_changed",
                f"Prompt {index} has other tokens than when this result was computed: the model's chat template or "
                "the program has changed since.",
            )
    return prepared


def kept_pairs(model: LoadedModel, analysis: Analysis, at_most: int) -> list[EncodedPair]:
    """The first ``at_most`` pairs that the result is computed from."""
    pairs = analysis_prompts(model, analysis).pairs
    return [pairs[index] for index in analysis.kept[:at_most]]
