"""Results of a knock-out: the model's answers with the first k components out, and with random ones out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation, KnockMetric, KnockPositions
from arithmoscope.engine.measures.knockout_curves import Curve, curve_of
from arithmoscope.engine.serialization import pack, unpack

FORMAT = "arithmoscope.knockout.1"
UNITS: dict[KnockMetric, str] = {
    "accuracy": "share of pairs whose top token is the answer",
    "probability": "probability of the answer",
    "logit_difference": "logits, answer minus the best competing number of the reference run",
    "exact_match": "share of pairs whose whole answer is written by greedy decoding",
}
# Index of the pair axis.
_PAIR_AXIS = {"logits": 1, "probability": 1, "correct": 1}
_PAIR_AXIS |= {f"control_{name}": axis + 1 for name, axis in _PAIR_AXIS.items()}
_PAIR_AXIS |= dict.fromkeys(("reference", "answers", "competitors"), 0)
# Only if answers were decoded in full.
_WRITTEN_AXIS = {"written": 1, "exact": 1, "control_exact": 2}
_SETTINGS = ("ablation", "positions", "seed", "model", "revision", "components", "controls")


@dataclass(frozen=True, eq=False)
class Knockout:
    """What the model says with the first k of ``components`` out, k = 0 first, on every pair; on the CPU.

    controls     the random draws, each as many components in its order
    matched      whether a drawn component is of the layer of the one that it stands for, and was not chosen
    logits       of the answer and of the competing number; raw, in the model's own scale
    probability  of the answer
    correct      whether the answer is the top token
    control_...  the same for the draws; k = 0 is the same run for all
    reference    logits of the plain reference run
    answers, competitors  their token ids
    written      tokens that greedy decoding writes, if answers of several were asked for; and whether they are
    exact        exactly the answer. Everything else is about the answer's first token
    """

    ablation: Ablation
    positions: KnockPositions
    seed: int
    model: str
    revision: str
    components: tuple[str, ...]
    controls: tuple[tuple[str, ...], ...]
    questions: tuple[str, ...]
    matched: Bool[Tensor, "draw component"]
    logits: Float[Tensor, "k pair 2"]
    probability: Float[Tensor, "k pair"]
    correct: Bool[Tensor, "k pair"]
    control_logits: Float[Tensor, "draw k pair 2"]
    control_probability: Float[Tensor, "draw k pair"]
    control_correct: Bool[Tensor, "draw k pair"]
    reference: Float[Tensor, "pair 2"]
    answers: Int[Tensor, " pair"]
    competitors: Int[Tensor, " pair"]
    written: Int[Tensor, "k pair token"] | None = None
    exact: Bool[Tensor, "k pair"] | None = None
    control_exact: Bool[Tensor, "draw k pair"] | None = None

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def noise(self) -> Float[Tensor, " pair"]:
        """|logit with nothing out - logit of the plain run|, the larger of the two tokens'."""
        return (self.logits[0] - self.reference).abs().amax(-1)

    def curve(self, metric: KnockMetric | str = "accuracy") -> Curve:
        """Means over the pairs with intervals, and the random draws'. Refuses a metric that there is not."""
        if metric == "accuracy":
            chosen, control = self.correct.double(), self.control_correct.double()
        elif metric == "probability":
            chosen, control = self.probability, self.control_probability
        elif metric == "logit_difference":
            chosen, control = (each[..., 0] - each[..., 1] for each in (self.logits, self.control_logits))
        elif metric == "exact_match":
            if self.exact is None or self.control_exact is None:
                raise Refusal("metric_not_computed", "Answers were not decoded.", "Set answer_tokens.")
            chosen, control = self.exact.double(), self.control_exact.double()
        else:
            raise Refusal("metric_not_computed", f"There is no metric {metric!r}; there are {', '.join(UNITS)}.")
        return curve_of(metric, UNITS[metric], chosen, control, self.questions)

    @classmethod
    def concatenate(cls, parts: Sequence[Knockout]) -> Knockout:
        """The pairs of all parts, in order; all parts are of one model, one order and the same draws."""
        if any(getattr(part, name) != getattr(parts[0], name) for part in parts for name in _SETTINGS):
            raise ValueError("cannot concatenate parts of different knock-outs")
        joined = {
            name: torch.cat([getattr(part, name) for part in parts], axis)
            for name, axis in (_PAIR_AXIS | _WRITTEN_AXIS).items()
            if getattr(parts[0], name) is not None
        }
        questions = tuple(question for part in parts for question in part.questions)
        return replace(parts[0], questions=questions, **joined)

    def to_bytes(self) -> bytes:
        """As safetensors, the words in its metadata."""
        return pack(FORMAT, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Knockout:
        """What `to_bytes` wrote. Refuses (``bad_request``) anything else."""
        try:
            stored = unpack(data, FORMAT)
            lists: dict[str, Any] = {name: tuple(stored.pop(name)) for name in ("components", "questions")}
            lists["controls"] = tuple(tuple(draw) for draw in stored.pop("controls"))
            knockout = cls(**stored, **lists)
            if any(getattr(knockout, name).shape[axis] != len(knockout) for name, axis in _PAIR_AXIS.items()):
                raise ValueError("not every tensor has every pair")
            return knockout
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise Refusal("bad_request", "These bytes are not a knock-out.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Knockout:
        """Read what `save` wrote."""
        return cls.from_bytes(Path(path).read_bytes())
