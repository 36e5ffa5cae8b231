"""Facts about a finished run that the results of every kind of experiment state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import torch
import transformers

from arithmoscope.contracts.results import ModelFacts, Plan, Provenance
from arithmoscope.contracts.terms import METHOD_VERSION
from arithmoscope.engine.forward import batching as plans
from arithmoscope.engine.models.loaded import LoadedModel


@dataclass(frozen=True)
class RunFacts:
    """Facts about a finished run.

    plan         plan of the last chunk; None if there is no single plan
    budget       bytes beyond the model that ``plan`` was made for
    chunk_pairs  pairs measured together, where there is no plan
    """

    model: LoadedModel
    experiment_id: str
    prompt_set_hash: str
    notes: tuple[str, ...]
    complete: bool
    created_at: datetime
    seconds: float
    plan: plans.Plan | None = None
    budget: int | None = None
    chunk_pairs: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that a result of any kind has."""
        return {
            "experiment_id": self.experiment_id,
            "model": self._model(),
            "complete": self.complete,
            "notes": self.notes,
            "provenance": self._provenance(),
        }

    def _model(self) -> ModelFacts:
        card, layout = self.model.card, self.model.layout
        return ModelFacts(
            id=card.id,
            name=card.name,
            revision=card.revision,
            architecture=type(self.model.hf).__name__,
            layers=layout.layers,
            heads=layout.heads,
            kv_heads=layout.kv_heads,
            parameters=card.parameters,
        )

    def _provenance(self) -> Provenance:
        plan, device = self.plan, self.model.device
        return Provenance(
            code_version=version("arithmoscope"),
            method_version=METHOD_VERSION,
            torch=torch.__version__,
            transformers=transformers.__version__,
            dtype=self.model.precision,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            prompt_set_hash=self.prompt_set_hash,
            chunk_pairs=self.chunk_pairs if plan is None else plan.pairs,
            plan=None
            if plan is None
            else Plan(
                pairs=plan.pairs,
                components=plan.components,
                rows=plan.rows,
                pass_tokens=plan.tokens,
                budget_bytes=self.budget,
            ),
            created_at=self.created_at,
            seconds=self.seconds,
        )
