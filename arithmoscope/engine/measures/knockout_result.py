"""Results of a knock-out: the model's answers with the first k components out, and with random ones out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation, KnockMetric, KnockPositions
from arithmoscope.engine.measures.knockout_curves import KnockoutCurve, curve_of
from arithmoscope.engine.serialization import pack, read_file, unpack, write_file

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
    """The model's answers with the first k of ``components`` ablated, k = 0 first, on every pair; on the CPU.

    Attributes:
        ablation: The replacement: ``"mean"``, ``"zero"`` or ``"resample"``.
        positions: Where outputs were replaced.
        seed: Seed of the draws.
        model: The model's id.
        revision: The revision of its weights.
        components: The components, in the order of ablation.
        controls: The random draws, each of as many components, in order.
        questions: The question of each pair.
        matched: True if a drawn component is in the layer of the one it replaces and was not chosen [draw, component].
        logits: Logits of the answer and of the competing number [k, pair, 2].
        probability: The answer's probability [k, pair].
        correct: True where the answer is the top token [k, pair].
        control_logits: The same for the draws [draw, k, pair, 2]; k = 0 is the same run for all. Likewise
            ``control_probability`` and ``control_correct`` [draw, k, pair].
        reference: Logits of the plain reference run [pair, 2].
        answers: Token id of each answer [pair].
        competitors: Token id of each competing number [pair].
        written: Tokens of greedy decoding [k, pair, token]; None unless ``answer_tokens`` was set.
        exact: True where they are exactly the answer [k, pair]; all other fields are about its first token. Likewise
            ``control_exact`` [draw, k, pair].

    Example:
        >>> knockout = am.knockout(model, pairs, ["L1H2", "MLP0"], controls=2)
        >>> accuracy = knockout.curve("accuracy").mean  # by k
        >>> knockout.save("knockout.safetensors")
        >>> again = am.Knockout.load("knockout.safetensors")
        >>> len(am.Knockout.concatenate([knockout, again]))
        32
        >>> len(am.Knockout.from_bytes(knockout.to_bytes()))
        16
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
        """|logit at k = 0 - logit of the plain run|, the larger of both tokens'."""
        return (self.logits[0] - self.reference).abs().amax(-1)

    @check_arguments()
    def curve(self, metric: KnockMetric = "accuracy") -> KnockoutCurve:
        """Means over the pairs by k, with intervals, and those of the random draws.

        Args:
            metric: ``"accuracy"``, ``"probability"``, ``"logit_difference"``, or ``"exact_match"`` (only with
                ``answer_tokens``).

        Returns:
            Mean, interval and controls for k = 0, 1, ..., in the metric's unit.

        Raises:
            Refusal: ``bad_request`` for an unknown metric, ``metric_not_computed`` for answers that were not decoded.
        """
        if metric == "accuracy":
            chosen, control = self.correct.double(), self.control_correct.double()
        elif metric == "probability":
            chosen, control = self.probability, self.control_probability
        elif metric == "logit_difference":
            chosen, control = (each[..., 0] - each[..., 1] for each in (self.logits, self.control_logits))
        else:
            if self.exact is None or self.control_exact is None:
                raise Refusal("metric_not_computed", "Answers were not decoded.", "Set answer_tokens.")
            chosen, control = self.exact.double(), self.control_exact.double()
        return curve_of(metric, UNITS[metric], chosen, control, self.questions)

    @classmethod
    @check_arguments()
    def concatenate(cls, parts: Sequence[Knockout]) -> Knockout:
        """The pairs of several results as one.

        Args:
            parts: Results of one model with the same components, draws and options.

        Returns:
            All pairs, in order.

        Raises:
            Refusal: ``bad_request`` if the parts do not match, or there are none.
        """
        if not parts or any(getattr(part, name) != getattr(parts[0], name) for part in parts for name in _SETTINGS):
            raise Refusal(
                "bad_request",
                "The parts are not results of one model and one set of options.",
                "Pass results of the same call for other pairs.",
            )
        joined = {
            name: torch.cat([getattr(part, name) for part in parts], axis)
            for name, axis in (_PAIR_AXIS | _WRITTEN_AXIS).items()
            if getattr(parts[0], name) is not None
        }
        questions = tuple(question for part in parts for question in part.questions)
        return replace(parts[0], questions=questions, **joined)

    def to_bytes(self) -> bytes:
        """Serialises to safetensors; text fields are in the metadata.

        Returns:
            The bytes of the file that `save` writes.
        """
        return pack(FORMAT, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    @check_arguments()
    def from_bytes(cls, data: bytes) -> Knockout:
        """Reads the result of `to_bytes`.

        Args:
            data: The bytes.

        Returns:
            The same result, bit for bit.

        Raises:
            Refusal: ``bad_request`` if the bytes are not such a file.
        """
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

    @check_arguments()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file.

        Args:
            path: The file to write.

        Raises:
            Refusal: ``bad_file`` if the file cannot be written.
        """
        write_file(path, self.to_bytes())

    @classmethod
    @check_arguments()
    def load(cls, path: str | os.PathLike[str]) -> Knockout:
        """Read a file that `save` wrote.

        Args:
            path: The file to read.

        Returns:
            The same result, bit for bit.

        Raises:
            Refusal: ``bad_request`` if the file has other content, ``bad_file`` if it cannot be read.
        """
        return cls.from_bytes(read_file(path))
