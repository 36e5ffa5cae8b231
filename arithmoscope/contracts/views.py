"""What is computed of a finished analysis when somebody looks, and kept: key components, roles, lens, writes."""

from __future__ import annotations

from typing import Literal

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.knockout_terms import HeadClass
from arithmoscope.contracts.prompts import Role
from arithmoscope.contracts.results import Row
from arithmoscope.contracts.specs import Metric

# What can be looked at; `attention` is the oldest of them, and its own contract.
ViewKind = Literal["attention", "key", "roles", "lens", "stages", "writes"]


class KeyRow(Wire):
    """One component: its mean effect, whether that is off 0 (two-sided studentised bootstrap over distinct questions),
    and the smallest false discovery rate at which it passes. None below ten questions."""

    component: str
    mean: float | None
    p_value: float | None
    q_value: float | None


class KeyTable(Wire):
    """One metric: every component, the most negative first.

    ``false_discovery`` are those with a negative mean that pass at a rate of 5 %; ``threshold`` those below
    ``threshold_at`` (the paper: -5 % of the reference logit; None for other metrics). ``heads``: the model's, of which
    shares are counted.
    """

    metric: Metric
    unit: str
    questions: int
    heads: int
    rows: tuple[KeyRow, ...]
    false_discovery: tuple[str, ...] | None
    threshold_at: float | None
    threshold: tuple[str, ...] | None


class KeyReport(Wire):
    """``GET /api/experiments/{id}/key``: which components are key, and how sure that is."""

    tables: tuple[KeyTable, ...]


class HeadRoles(Wire):
    """One head: the END row's mass on every role, averaged over the prompts; each sums to 1 (``difference`` to 0)."""

    component: str
    head_class: HeadClass
    mass: tuple[float, ...]
    ci_low: Row
    ci_high: Row
    difference: tuple[float, ...]
    baseline: tuple[float, ...]


class RoleReport(Wire):
    """``GET /api/experiments/{id}/roles``: where every head looks from END. Columns follow ``roles``.

    ``average_head``: the mean over all heads. ``difference``: reference run - counterfactual run. ``baseline``: what
    the mass would be if the roles were dealt to the tokens at random, the first token apart. An operand or operator
    head has at least ``times`` the mass of the baseline and of the average head.
    """

    roles: tuple[Role, ...]
    prompts: int
    times: float
    average_head: tuple[float, ...]
    heads: tuple[HeadRoles, ...]


class LensToken(Wire):
    token: str
    probability: float


class LensLayer(Wire):
    """The residual stream at END read as the output would be. ``layer`` -1 is the embedding, then after each layer."""

    layer: int
    top: tuple[LensToken, ...]
    logit: float
    probability: float
    rank: int


class LensReport(Wire):
    """``GET /api/experiments/{id}/lens?prompt=``: the answer's way through the layers, the embedding first."""

    prompt: int
    answer: str
    layers: tuple[LensLayer, ...]


class StagesReport(Wire):
    """``GET /api/experiments/{id}/stages``: how the answer comes up, averaged over the prompts.

    ``probability`` and ``rank`` (median) of the answer after the embedding and each layer. ``operands``: cosine of what
    each MLP reads with the operands' unembedding rows; ``answer``: of what it writes with the answer's; ``..._other``
    the same with other numbers. ``start``, ``inflection``, ``end``: layers by the rule in docs/methods/lens.md, None
    where the curves do not show them; 95 % intervals over draws of the questions, and the share of draws in which the
    rule finds them.
    """

    prompts: int
    probability: Row
    rank: Row
    operands: Row
    operands_other: Row
    answer: Row
    answer_other: Row
    start: int | None
    inflection: int | None
    end: int | None
    start_interval: tuple[float, float] | None
    inflection_interval: tuple[float, float] | None
    end_interval: tuple[float, float] | None
    found: float


class WriteToken(Wire):
    token: str
    logit: float


class WritesReport(Wire):
    """``GET /api/experiments/{id}/writes?component=``: what a component writes at END, averaged over the prompts, as
    logits of number tokens: the most promoted and the most suppressed, and the answer's own mean."""

    component: str
    prompts: int
    promoted: tuple[WriteToken, ...]
    suppressed: tuple[WriteToken, ...]
    answer: float
