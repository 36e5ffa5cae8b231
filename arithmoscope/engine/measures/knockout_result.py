"""Results of a knock-out: the model's answers with the first k components out, and with random ones out."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation, KnockMetric, KnockPositions
from arithmoscope.engine.measures.knockout_curves import KnockoutCurve, curve_of
from arithmoscope.engine.serialization import PairResult

FORMAT = "arithmoscope.knockout.1"
UNITS: dict[KnockMetric, str] = {
    "accuracy": "share of pairs whose top token is the answer",
    "probability": "probability of the answer",
    "logit_difference": "logits, answer minus the best competing number of the reference run",
    "exact_match": "share of pairs whose whole answer is written by greedy decoding",
}


@dataclass(frozen=True, eq=False)
class Knockout(PairResult):
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

    file_format = FORMAT
    noun = "knock-out"

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
