"""Parts of results: effects with sample size and interval, checks, provenance, and what a run publishes on the way."""

from __future__ import annotations

from datetime import datetime

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.prompts import Token
from arithmoscope.contracts.terms import Metric

SCHEMA_VERSION = 1

# A cell is None where no number exists (NaN is never sent).
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
    """Effects in one metric: heads as [layer][head], MLPs as [layer][one cell]. ``left_out`` counts pairs without a
    defined value."""

    unit: str
    n_pairs: int
    left_out: int
    heads: Effects
    mlps: Effects


class PairResult(Wire):
    """One kept pair: its prompts and the model's answers. Logits are raw, in the model's own scale.

    ``competitor``: the best other number token of the reference run, fixed for the logit difference. ``top``: the top
    token of the reference run.
    """

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
    """A pair left out of the results, and the reason. ``index``: its place in the submitted list, from 0."""

    index: int
    reference: str
    answer: str
    reason: str


class ModelFacts(Wire):
    """The model that was analysed."""

    id: str
    name: str
    revision: str
    architecture: str
    layers: int
    heads: int
    kv_heads: int
    parameters: int


class Checks(Wire):
    """Numerical checks made in the same run: a control and a brute-force comparison.

    ``noise_floor``: largest |effect| of the unpatched control row, in logits.
    ``spot_check``: components recomputed with one hooked forward pass each; ``spot_check_error``: largest
    |difference| to the reported effects, in logits.
    """

    noise_floor: float
    spot_check: tuple[str, ...]
    spot_check_pairs: int
    spot_check_error: float


class Plan(Wire):
    """Batch sizes that kept the run within memory; the smallest ones if an out-of-memory error reduced them.

    ``pairs`` and ``components``: processed at once in the wave. ``rows``: in one matrix product. ``pass_tokens``: in
    one plain forward pass. ``budget_bytes``: memory available besides the model. None if the method does not split the
    work that way.
    """

    pairs: int
    components: int | None = None
    rows: int | None = None
    pass_tokens: int | None = None
    budget_bytes: int | None = None


class Provenance(Wire):
    """Everything needed to reproduce the numbers. Results of early versions have no ``plan``."""

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


class PartialMetric(Wire):
    """Running means over the finished pairs: heads [layer][head], MLPs [layer]."""

    heads: Grid
    mlps: Row


class Partial(Wire):
    """Data of the SSE event ``partial``."""

    n_pairs: int
    metrics: dict[Metric, PartialMetric]


class AttentionPattern(Wire):
    """Answer of ``GET /api/experiments/{id}/attention``: attention weights of one layer in the reference run of one
    prompt, as [head][query][key]."""

    layer: int
    tokens: tuple[Token, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]
