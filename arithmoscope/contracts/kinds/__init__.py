"""The kinds of experiment: what each asks, answers and stores. `KINDS` has one row per kind.

The API's addresses, the worker's dispatch, the command line and the page's forms follow from these rows.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from arithmoscope.contracts.kinds import fine_tune, knockout, path_patching, transfer
from arithmoscope.contracts.kinds.base import ExperimentKind
from arithmoscope.contracts.kinds.fine_tune import FineTuneResult, FineTuneSpec
from arithmoscope.contracts.kinds.knockout import KnockoutResult, KnockoutSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.kinds.transfer import TransferResult, TransferSpec
from arithmoscope.contracts.terms import METHOD_VERSION

Kind = Literal["path_patching", "knockout", "transfer", "fine_tune"]
ExperimentSpec = Annotated[PathPatchingSpec | KnockoutSpec | TransferSpec | FineTuneSpec, Field(discriminator="kind")]
ExperimentResult = Annotated[
    PathPatchingResult | KnockoutResult | TransferResult | FineTuneResult, Field(discriminator="kind")
]
_ROWS: tuple[ExperimentKind, ...] = (path_patching.KIND, knockout.KIND, transfer.KIND, fine_tune.KIND)

KINDS: dict[str, ExperimentKind] = {kind.name: kind for kind in _ROWS}
# Kinds that read a finished analysis, and run on its model.
ON_AN_ANALYSIS: tuple[str, ...] = tuple(kind.name for kind in _ROWS if kind.parent == "required")


def parent_of(spec: ExperimentSpec) -> str | None:
    """Id of the analysis that a spec names; None if it names none."""
    return None if isinstance(spec, PathPatchingSpec) else spec.parent


def experiment_key(spec: ExperimentSpec, *, revision: str, dtype: str, device_kind: str) -> str:
    """Key of an experiment, equal for equal questions: SHA-256 of the canonical spec, the model's revision, the version
    of the method, the dtype and the kind of device."""
    plain = spec.model_dump(mode="json")
    KINDS[spec.kind].canonical(spec, plain)
    identity = [plain, revision, METHOD_VERSION, dtype, device_kind]
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
