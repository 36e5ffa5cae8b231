"""Fine-tuning: trains the chosen components alone, and evaluates the model before and after."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds.base import BINARY, CSV, ZIP, Artifact, ExperimentKind, canonical_prompts
from arithmoscope.contracts.prompts import PromptsSpec, TemplatePrompts
from arithmoscope.contracts.results import SCHEMA_VERSION, ModelFacts, Provenance
from arithmoscope.contracts.terms import MAX_BATCH, MAX_STEPS, MAX_TUNED, ComponentName, ExperimentId
from arithmoscope.contracts.tuning_results import Evaluation, Split, TrainingCurve, Tunable
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS, Ending, HeadPart, Schedule, Tuner

# The questions of a fine-tuning that names none. Wrongly answered ones stay: they remain to be learned.
TWO_DIGITS = TemplatePrompts(
    source="template", operations=("add", "subtract"), operands=(10, 99), pairs=2_000, keep_wrong=True
)


class FineTuneSpec(Wire):
    """Fine-tuning: trains the chosen components alone (or the parameters that ``tuner`` selects) on ``prompts``.

    The questions of ``prompts`` are split by their operands into three sets that share none: training, ``validation``
    (during training) and ``test`` (before and after it). A given ``validation`` or ``test`` set replaces that part, and
    must not share operands with the others. Settings in detail: docs/methods/fine_tune.md.
    """

    kind: Literal["fine_tune"]
    model: str = Field(min_length=1, max_length=200)
    parent: ExperimentId | None = Field(default=None, description="The analysis that found the components, if any")
    tuner: Tuner = Field(default="precise", description="Parameters trained")
    components: tuple[ComponentName, ...] = Field(
        default=(), max_length=MAX_TUNED, description="Components to train; needed unless the tuner trains whole models"
    )
    prompts: PromptsSpec = Field(
        default=TWO_DIGITS,
        description="Questions to train on; if omitted or empty, sums and differences of two-digit numbers",
    )
    validation: PromptsSpec | None = Field(default=None, description="Validation questions; split off if omitted")
    test: PromptsSpec | None = Field(default=None, description="Test questions; split off if omitted")
    steps: int = Field(default=80, ge=1, le=MAX_STEPS, description="Optimiser steps")
    batch_size: int = Field(default=32, ge=1, le=MAX_BATCH, description="Questions per step")
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, le=100, description="Weight decay (AdamW)")
    schedule: Schedule = Field(default="cosine", description="Learning rate schedule after the warm-up")
    warmup: float = Field(default=0.05, ge=0, le=1, description="Share of the steps over which the learning rate rises")
    clip: float | None = Field(default=1.0, gt=0, le=1e6, description="Gradient clipping (max norm); null for none")
    tune: tuple[HeadPart, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=4,
        description="Projections of each head to train; null: q and o under grouped-query attention, else all four",
    )
    biases: bool = Field(default=False, description="Train the components' biases, too")
    head_scale: bool = Field(
        default=False, description="Multiply the heads' learning rate by H/h, as in the paper: all heads / chosen heads"
    )
    accumulate: int = Field(default=1, ge=1, le=MAX_BATCH, description="Gradient accumulation steps")
    checkpointing: bool = Field(default=False, description="Activation checkpointing: less memory, more time")
    validate_every: int = Field(default=10, ge=1, le=MAX_STEPS, description="Steps between validations")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the training")

    @field_validator("prompts", mode="before")
    @classmethod
    def _template_by_default(cls, prompts: object) -> object:
        return TWO_DIGITS if prompts == {} else prompts

    @model_validator(mode="after")
    def _something_to_tune(self) -> FineTuneSpec:
        for name in ("components", "tune"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must not repeat")
        if not self.components and self.tuner not in WHOLE_TUNERS:
            raise PydanticCustomError(
                "bad_component",
                "{detail}",  # pyright: ignore[reportArgumentType]
                {
                    "detail": "No component is named, so there is nothing to tune.",
                    "way_out": "Name components, or choose the tuner 'full'.",
                },
            )
        return self


class FineTuneResult(Wire):
    """Answer of ``GET /api/experiments/{id}/result`` for a fine-tuning.

    ``kept``: the step whose weights are kept. If the training was cancelled or stopped on a non-finite loss
    (``problem``), these are the last good ones; a cancelled training is not evaluated. ``tuned``: id of the tuned model
    in the catalogue. ``deltas_bytes``: size of its stored weight changes. ``seconds_per_step``: median.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["fine_tune"] = "fine_tune"
    spec: FineTuneSpec
    model: ModelFacts
    complete: bool
    tunable: Tunable
    split: Split
    ended: Ending
    kept: int
    problem: str | None
    curve: TrainingCurve
    seconds_per_step: float | None
    evaluation: Evaluation | None
    tuned: str | None
    deltas_bytes: int
    deltas_sha256: str
    notes: tuple[str, ...] = Field(default=())
    provenance: Provenance


# Options that a tuner ignores, and that therefore change no number.
_IGNORED: dict[Tuner, tuple[str, ...]] = {
    "offsets": ("tune", "biases", "head_scale"),
    "lora": ("head_scale",),
    "full": ("components", "tune", "biases", "head_scale"),
    "full_matrices": ("components", "tune", "biases", "head_scale"),
}


def _canonical(spec: FineTuneSpec, plain: dict[str, Any]) -> None:
    plain["parent"] = None  # changes no number
    for name in ("prompts", "validation", "test"):
        if plain[name] is not None:
            canonical_prompts(plain[name])
    for name in _IGNORED.get(spec.tuner, ()):
        plain[name] = None


# The changed weights, from which the tuned model is rebuilt.
DELTAS = "deltas.safetensors"

KIND = ExperimentKind(
    name="fine_tune",
    title="Fine-tuning",
    help="train only the key components and test the model before and after",
    spec=FineTuneSpec,
    result=FineTuneResult,
    artifacts=(
        Artifact(
            DELTAS,
            BINARY,
            "The changes of the weights",
            "Returns only the parameters that a fine-tuning changed, for `Deltas.load`, which applies them to the base "
            "model. If it was cancelled or failed, they are those of its last good step. 409 for other kinds of "
            "experiment.",
            operation="deltas",
        ),
        Artifact(
            "adapter.zip",
            ZIP,
            "The changes as a PEFT adapter",
            "Returns a folder that PEFT loads onto the base model. 409 if the changes have no low rank (slices of "
            "heads do, whole MLPs do not), and for other kinds of experiment.",
        ),
        Artifact(
            "history.csv",
            CSV,
            "The training history",
            "Returns the training history of a fine-tuning: one row per step. 409 for other kinds of experiment.",
        ),
        Artifact(
            "judged.csv",
            CSV,
            "Before and after, question by question",
            "Returns the model's answers before and after a fine-tuning: one row per question. 409 for other kinds of "
            "experiment.",
        ),
        Artifact(
            "repatched.csv",
            CSV,
            "Path patching before and after",
            "Returns every component's effect before and after a fine-tuning, and the difference: one row per "
            "component. 409 for other kinds of experiment.",
        ),
    ),
    canonical=_canonical,
    parent="optional",
    last_chunk_suffices=True,
)
