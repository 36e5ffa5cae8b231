"""Results of path patching: effects per pair and component, their summaries and ranking, and their stored form."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.ranking import RankingRow
from arithmoscope.contracts.terms import DEFAULT_METRIC, Direction, Effect, Metric, Positions, Source
from arithmoscope.engine.measures.metrics import EffectSummary, metric_values, summarise
from arithmoscope.engine.serialization import PairResult, pack

# Version of the stored bytes: increase the number when they change.
FORMAT = "arithmoscope.path_patching.3"


@dataclass(frozen=True, eq=False)
class PatchingEffects(PairResult):
    """Effects of all components on all pairs, on the CPU: patched minus unpatched run.

    The unpatched run is the reference run, or the counterfactual run if ``direction`` is ``"denoising"``.

    Attributes:
        effect: ``"direct"``, ``"through_mlps"`` or ``"total"``.
        positions: Patched positions: ``"end"`` or ``"all"``.
        source: Source of the patch.
        direction: ``"noising"`` or ``"denoising"``.
        model: The model's id.
        revision: The revision of its weights.
        questions: The question of each pair; the bootstrap resamples questions.
        heads: Change of the answer's logit at END by head [pair, layer, head].
        mlps: The same by MLP [pair, layer].
        competitor_heads: Change of the competing number's logit [pair, layer, head].
        competitor_mlps: The same by MLP [pair, layer].
        probability_heads: Change of the answer's probability [pair, layer, head]; None unless requested.
        probability_mlps: The same by MLP [pair, layer].
        reference: The answer's logit in the reference run [pair].
        counterfactual: Its logit in the counterfactual run (for ``"resample"`` in the drawn run) [pair].
        reference_competitor: The competing number's logit in the reference run [pair].
        reference_probability: The answer's probability in the reference run [pair].
        answers: Token id of each answer [pair].
        competitors: Token id of each competing number, the best other number of the reference run [pair].
        top: Top token of the reference run [pair].
        correct: True where it is the answer [pair].
        noise: |logit of the unpatched control row - logit of the run|, the larger of both tokens' [pair].

    Example:
        >>> effects = am.path_patching(model, pairs)
        >>> heads, mlps = effects.values("logit_difference")
        >>> effects.summary("logit_difference").n_pairs
        16
        >>> most_negative = effects.ranking("logit_difference")[0].component
        >>> effects.save("effects.safetensors")
        >>> again = am.PatchingEffects.load("effects.safetensors")
        >>> len(am.PatchingEffects.concatenate([effects, again]))
        32
        >>> len(am.PatchingEffects.from_bytes(effects.to_bytes()))
        16
    """

    file_format = FORMAT
    noun = "path patching effects"

    effect: Effect
    positions: Positions
    source: Source
    direction: Direction
    model: str
    revision: str
    questions: tuple[str, ...]
    heads: Float[Tensor, "pair layer head"]
    mlps: Float[Tensor, "pair layer"]
    competitor_heads: Float[Tensor, "pair layer head"]
    competitor_mlps: Float[Tensor, "pair layer"]
    probability_heads: Float[Tensor, "pair layer head"] | None
    probability_mlps: Float[Tensor, "pair layer"] | None
    reference: Float[Tensor, " pair"]
    counterfactual: Float[Tensor, " pair"]
    reference_competitor: Float[Tensor, " pair"]
    reference_probability: Float[Tensor, " pair"]
    answers: Int[Tensor, " pair"]
    competitors: Int[Tensor, " pair"]
    top: Int[Tensor, " pair"]
    correct: Bool[Tensor, " pair"]
    noise: Float[Tensor, " pair"]

    @check_arguments()
    def values(self, metric: Metric) -> tuple[Float[Tensor, "pair layer head"], Float[Tensor, "pair layer"]]:
        """Effects in a metric's unit.

        Args:
            metric: ``"logit"`` (change), ``"relative_logit"`` (percent of |reference logit|), ``"logit_difference"``
                (minus the change of the competing number) or ``"probability"`` (change; only if computed).

        Returns:
            Heads [pair, layer, head] and MLPs [pair, layer]; NaN where the metric is undefined for a pair.

        Raises:
            Refusal: ``bad_request`` for an unknown metric, ``metric_not_computed`` for a probability that was not
                computed.
        """
        return metric_values(self, metric)

    @check_arguments()
    def summary(self, metric: Metric) -> EffectSummary:
        """Mean, standard deviation and 95 % interval of every component.

        Args:
            metric: A metric, as in `values`.

        Returns:
            Statistics over the pairs [layer, head + 1], the MLP last in each row, in the metric's unit.

        Raises:
            Refusal: As `values`.
        """
        heads, mlps = self.values(metric)
        return summarise(torch.cat([heads, mlps[..., None]], dim=-1), self.questions)

    @check_arguments()
    def ranking(
        self, metric: Metric = DEFAULT_METRIC, experiment_id: str = "", summary: EffectSummary | None = None
    ) -> list[RankingRow]:
        """Components by mean effect, as in ``components.csv``.

        Args:
            metric: A metric, as in `values`.
            experiment_id: Text for the column ``experiment_id``.
            summary: The result of `summary`, if already computed.

        Returns:
            One row per component, ascending by the mean effect: the component whose removal hurts most is first; with
            ``direction="denoising"`` the one that restores most is last. Undefined means come at the end.

        Raises:
            Refusal: As `values`, unless ``summary`` is passed.
        """
        summary = summary or self.summary(metric)
        cells = [s.flatten().tolist() for s in (summary.mean, summary.std, summary.ci_low, summary.ci_high)]
        components = all_components(self.heads.shape[1], self.heads.shape[2])
        order = sorted(range(len(components)), key=lambda index: (_is_nan(cells[0][index]), cells[0][index], index))
        rows = []
        for rank, index in enumerate(order, start=1):
            component = components[index]
            mean, std, low, high = (None if _is_nan(cell[index]) else cell[index] for cell in cells)
            rows.append(
                RankingRow(
                    rank=rank,
                    component=str(component),
                    kind=component.kind,
                    layer=component.layer,
                    head=component.head,
                    effect_mean=mean,
                    effect_std=std,
                    ci_low=low,
                    ci_high=high,
                    n_pairs=summary.n_pairs,
                    metric=metric,
                    effect=self.effect,
                    experiment_id=experiment_id,
                    model=self.model,
                    revision=self.revision,
                )
            )
        return rows

    def _packed(self) -> bytes:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return pack(FORMAT, {name: value for name, value in values.items() if value is not None})


def _is_nan(value: float) -> bool:
    return value != value
