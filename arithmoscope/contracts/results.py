"""What an analysis found: numbers with their sample size, their interval and their control."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.prompts import Token
from arithmoscope.contracts.specs import Effect, Metric, PathPatchingSpec

SCHEMA_VERSION = 1

# A cell is None where no number exists (NaN never goes over the wire).
Row = tuple[float | None, ...]
Grid = tuple[Row, ...]


class Effects(Wire):
    """Mean over pairs, standard deviation (ddof 1) and 95 % interval of every head [layer][head] or MLP [layer].

    The interval is a percentile bootstrap over distinct questions, 10 000 draws, seed 0. ``std`` and interval are
    None for one pair.
    """

    mean: Grid
    std: Grid
    ci_low: Grid
    ci_high: Grid


class MetricResult(Wire):
    """One metric: heads as [layer][head]; MLPs as [layer][one cell]. ``left_out`` pairs had no defined value."""

    unit: str
    n_pairs: int
    left_out: int
    heads: Effects
    mlps: Effects


class PairResult(Wire):
    """One kept pair: what was asked, what the model said. Logits are raw, in the model's own scale."""

    index: int
    reference: tuple[Token, ...]
    counterfactual: tuple[Token, ...]
    answer: str
    answer_id: int
    competitor: str
    competitor_id: int
    top: str
    correct: bool
    reference_logit: float
    counterfactual_logit: float
    reference_probability: float


class DroppedPair(Wire):
    """A pair that is not in the numbers, and why. ``index`` counts in the list asked for."""

    index: int
    reference: str
    answer: str
    reason: str


class ModelFacts(Wire):
    """The model that the numbers are of."""

    id: str
    name: str
    revision: str
    architecture: str
    layers: int
    heads: int
    kv_heads: int
    parameters: int


class Checks(Wire):
    """Why the numbers can be believed: a control and a brute-force comparison made in this very run.

    ``noise_floor``: largest |effect| of the unpatched control row, in logits.
    ``spot_check``: components recomputed with one hooked forward pass each; ``spot_check_error`` is the largest
    |difference| to the reported effects, in logits.
    """

    noise_floor: float
    spot_check: tuple[str, ...]
    spot_check_pairs: int
    spot_check_error: float


class Plan(Wire):
    """How the work was cut to fit into memory, the smallest cuts where an out-of-memory error made them smaller.

    ``pairs`` and ``components`` at once in the wave, ``rows`` in one matrix product, ``pass_tokens`` in one plain
    forward pass, ``budget_bytes`` beyond the model. None where the method does not cut that way.
    """

    pairs: int
    components: int | None = None
    rows: int | None = None
    pass_tokens: int | None = None
    budget_bytes: int | None = None


class Provenance(Wire):
    """Enough to make the numbers again. Results of early versions have no ``plan``."""

    code_version: str
    method_version: int
    torch: str
    transformers: str
    dtype: str
    device: str
    prompt_set_hash: str
    chunk_pairs: int
    plan: Plan | None = None
    created_at: datetime
    seconds: float


class PathPatchingResult(Wire):
    """``GET /api/experiments/{id}/result``. ``complete`` is false when a cancel cut the set short.

    ``spec`` says what was done: effect, positions, source, direction. Effects are patched - reference; with direction
    ``denoising``, where the reference's parts are put into the counterfactual run, patched - counterfactual.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["path_patching"] = "path_patching"
    spec: PathPatchingSpec
    effect: Effect
    model: ModelFacts
    complete: bool
    n_asked: int
    n_distinct: int
    n_correct: int
    notes: tuple[str, ...]
    pairs: tuple[PairResult, ...]
    dropped: tuple[DroppedPair, ...]
    attention_pairs: tuple[int, ...] = ()  # pairs whose attention patterns are stored
    metrics: dict[Metric, MetricResult]
    checks: Checks
    provenance: Provenance


class PartialMetric(Wire):
    """Running means over the pairs finished so far: heads [layer][head], MLPs [layer]."""

    heads: Grid
    mlps: Row


class Partial(Wire):
    """The data of an SSE ``partial`` event."""

    n_pairs: int
    metrics: dict[Metric, PartialMetric]


class AttentionPattern(Wire):
    """``GET /api/experiments/{id}/attention``: one layer of one prompt's reference run, [head][query][key]."""

    layer: int
    tokens: tuple[Token, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]
