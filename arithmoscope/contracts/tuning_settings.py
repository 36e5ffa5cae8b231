"""Settings of a training: their defaults, and their limits over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from pydantic import Field

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.terms import MAX_BATCH, MAX_CLIP, MAX_DECAY, MAX_STEPS
from arithmoscope.contracts.tuning_terms import HEAD_PART_CHOICES, HeadPart, Schedule


class TuningSettings(Wire):
    """Settings of a training, fields of every `FineTuneSpec`.

    Attributes:
        steps: Number of optimiser steps.
        batch_size: Pairs per step, drawn without replacement until all were seen.
        learning_rate: Maximum learning rate.
        weight_decay: Weight decay of AdamW.
        schedule: Learning rate schedule after the warm-up: ``"cosine"``, ``"linear"`` or ``"constant"``.
        warmup: Share of the steps with a rising learning rate, 0 to 1.
        clip: Maximum gradient norm; None for no clipping.
        tune: Head slices to train, some of q, k, v and o; None for q and o if heads share keys and values, else all.
        biases: Also train the biases of q, k, v and of MLPs.
        head_scale: Scale the heads' learning rate by all heads / tuned heads, as in the paper.
        accumulate: Gradient accumulation steps: a batch runs in this many parts, which saves memory.
        checkpointing: Recompute layers in the backward pass instead of storing activations.

    Example:
        >>> settings = am.TuningSettings(steps=2, batch_size=4)
        >>> tuned = am.fine_tune(model, ["L1H2"], pairs, settings=settings)
    """

    steps: int = Field(
        default=80,
        ge=1,
        le=MAX_STEPS,
        title="Steps",
        description="Optimiser steps",
        json_schema_extra={"unit": "steps"},
    )
    batch_size: int = Field(
        default=32,
        ge=1,
        le=MAX_BATCH,
        title="Batch size",
        description="Questions per optimiser step",
        json_schema_extra={"unit": "questions"},
    )
    learning_rate: float = Field(
        default=5e-4, gt=0, le=1, title="Learning rate", description="Peak learning rate, after the warm-up"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=MAX_DECAY, title="Weight decay", description="Weight decay of AdamW"
    )
    schedule: Schedule = Field(
        default="cosine", title="Schedule", description="Course of the learning rate after the warm-up"
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        le=1,
        title="Warm-up",
        description="Share of the steps over which the learning rate rises",
        json_schema_extra={"unit": "of the steps"},
    )
    clip: float | None = Field(
        default=1.0,
        gt=0,
        le=MAX_CLIP,
        title="Gradient clipping (max norm)",
        description="Largest norm of a step's gradient; none for no clipping",
    )
    tune: tuple[HeadPart, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=len(HEAD_PART_CHOICES),
        title="Projections trained in each head",
        description="If omitted, query and output under grouped-query attention, otherwise all four",
    )
    biases: bool = Field(default=False, title="Train biases", description="Train the components' biases, too")
    head_scale: bool = Field(
        default=False,
        title="Scale the heads' learning rate",
        description="Multiply the heads' learning rate by H/h, as in the paper: all heads / chosen heads",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=MAX_BATCH,
        title="Gradient accumulation steps",
        description="Parts into which a batch is split to save memory",
        json_schema_extra={"unit": "parts"},
    )
    checkpointing: bool = Field(
        default=False,
        title="Activation checkpointing",
        description="Recompute activations in the backward pass: less memory, more time",
    )


class TuningOptions(TypedDict, total=False):
    """The fields of `TuningSettings` as keyword arguments, for type checkers and editors."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: Schedule
    warmup: float
    clip: float | None
    tune: str | Iterable[str] | None
    biases: bool
    head_scale: bool
    accumulate: int
    checkpointing: bool
