"""Fine-tuning: trains the chosen components alone, and evaluates the model before and after."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.kinds.base import (
    BINARY,
    CSV,
    ZIP,
    Artifact,
    ExperimentKind,
    canonical_prompts,
)
from arithmoscope.contracts.options import Exclusion, possible
from arithmoscope.contracts.prompts import PromptsSpec, TemplatePrompts
from arithmoscope.contracts.results import SCHEMA_VERSION, ModelFacts, Provenance
from arithmoscope.contracts.terms import (
    MAX_MODEL_ID,
    MAX_SEED,
    MAX_STEPS,
    MAX_TUNED,
    ComponentName,
    ExperimentId,
)
from arithmoscope.contracts.tuning_results import Evaluation, Split, TrainingCurve, Tunable
from arithmoscope.contracts.tuning_settings import TuningSettings
from arithmoscope.contracts.tuning_terms import (
    IGNORED_OPTIONS,
    WHOLE_TUNERS,
    Ending,
    Tuner,
)

EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "components",
        ((),),
        {"tuner": WHOLE_TUNERS},
        "no component is named",
        "No component is named, so there is nothing to tune.",
        "Name components, or choose the tuner 'full'.",
        "bad_component",
    ),
)

# The questions of a fine-tuning that names none. Wrongly answered ones stay: they remain to be learned.
TWO_DIGITS = TemplatePrompts(
    source="template", operations=("add", "subtract"), operands=(10, 99), pairs=2_000, keep_wrong=True
)


class _Question(Wire):
    """The fields before the settings: pydantic takes the fields of the last base first, and stored specs keep their
    order."""

    kind: Literal["fine_tune"] = Field(title="Kind", description="Kind of experiment")
    model: str = Field(
        min_length=1, max_length=MAX_MODEL_ID, title="Model", description="Id of the model, as in the list of models"
    )
    parent: ExperimentId | None = Field(
        default=None, title="Analysis", description="The analysis that found the components, if any"
    )
    tuner: Tuner = Field(
        default="precise", title="Parameters trained", description="Parameters that training changes; all others stay"
    )
    components: tuple[ComponentName, ...] = Field(
        default=(),
        max_length=MAX_TUNED,
        title="Components",
        description="Components to train; needed unless whole models are trained",
        json_schema_extra={"unit": "components"},
    )
    prompts: PromptsSpec = Field(
        default=TWO_DIGITS,
        title="Training questions",
        description="Questions, split by operands into three sets; if omitted, sums and differences of two digits",
    )
    validation: PromptsSpec | None = Field(
        default=None, title="Validation questions", description="Questions for validation; split off if omitted"
    )
    test: PromptsSpec | None = Field(
        default=None, title="Test questions", description="Questions for the final test; split off if omitted"
    )


class FineTuneSpec(TuningSettings, _Question):
    """Fine-tuning: trains the chosen components alone (or the parameters that ``tuner`` selects) on ``prompts``.

    The questions of ``prompts`` are split by their operands into three sets that share none: training, ``validation``
    (during training) and ``test`` (before and after it). A given ``validation`` or ``test`` set replaces that part, and
    must not share operands with the others. Settings in detail: docs/methods/fine_tune.md.
    """

    validate_every: int = Field(
        default=10,
        ge=1,
        le=MAX_STEPS,
        title="Steps between validations",
        description="Optimiser steps from one validation to the next",
        json_schema_extra={"unit": "steps"},
    )
    seed: int = Field(
        default=0, ge=0, le=MAX_SEED, title="Seed", description="Seed of the order of questions and of random draws"
    )

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
        return possible(self, EXCLUSIONS)


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


def _canonical(spec: FineTuneSpec, plain: dict[str, Any]) -> None:
    plain["parent"] = None  # changes no number
    for name in ("prompts", "validation", "test"):
        if plain[name] is not None:
            canonical_prompts(plain[name])
    for name in IGNORED_OPTIONS.get(spec.tuner, ()):
        plain[name] = None


# The changed weights, from which the tuned model is rebuilt.
DELTAS = "deltas.safetensors"

KIND = ExperimentKind(
    name="fine_tune",
    title="Fine-tuning",
    command="fine-tune",
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
    form="tune",
    last_chunk_suffices=True,
)
