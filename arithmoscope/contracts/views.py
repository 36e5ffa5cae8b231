"""Views of a finished analysis, computed on first request and then stored. `VIEWS` has one row per view.

Its address, its file, its parameter and its name on the command line follow from the row; its function is the row of
`arithmoscope.engine.experiments.views`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.knockout_terms import HeadClass
from arithmoscope.contracts.prompts import Role
from arithmoscope.contracts.results import AttentionPattern, Row
from arithmoscope.contracts.terms import Metric

ViewKind = Literal["attention", "key", "roles", "lens", "stages", "writes"]


class KeyRow(Wire):
    """One component: its mean effect, the p-value of a mean of 0 (two-sided studentised bootstrap over distinct
    questions), and the smallest false discovery rate at which it passes (q-value). Both are None below ten
    questions."""

    component: str
    mean: float | None
    p_value: float | None
    q_value: float | None


class KeyTable(Wire):
    """Key components by one metric: every component, the most negative mean first.

    ``false_discovery``: components with a negative mean that pass at a false discovery rate of 5 %. ``threshold``:
    components below ``threshold_at`` (the paper's -5 % of the reference logit; None for other metrics). ``heads``:
    number of heads of the model, the base of percentages.
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
    """Answer of ``GET /api/experiments/{id}/key``: key components by metric, with their statistics."""

    tables: tuple[KeyTable, ...]


class HeadRoles(Wire):
    """One head's attention from END by role, averaged over the prompts; each row sums to 1 (``difference`` to 0)."""

    component: str
    head_class: HeadClass
    mass: tuple[float, ...]
    ci_low: Row
    ci_high: Row
    difference: tuple[float, ...]
    baseline: tuple[float, ...]


class RoleReport(Wire):
    """Answer of ``GET /api/experiments/{id}/roles``: every head's attention from END by role. Columns follow ``roles``.

    ``average_head``: mean over all heads. ``difference``: reference run - counterfactual run. ``baseline``: the mass
    expected if roles were shuffled among the tokens, the first token apart. An operand or operator head has at least
    ``times`` the mass of both the baseline and the average head.
    """

    roles: tuple[Role, ...]
    prompts: int
    times: float
    average_head: tuple[float, ...]
    heads: tuple[HeadRoles, ...]


class LensToken(Wire):
    """A token and its probability under the logit lens."""

    token: str
    probability: float


class LensLayer(Wire):
    """Logit lens after one layer: the residual stream at END through the final norm and the unembedding. ``layer`` -1
    is the embedding. ``logit``, ``probability`` and ``rank`` are the answer's."""

    layer: int
    top: tuple[LensToken, ...]
    logit: float
    probability: float
    rank: int


class LensReport(Wire):
    """Answer of ``GET /api/experiments/{id}/lens?prompt=``: the logit lens at END by layer, the embedding first."""

    prompt: int
    answer: str
    layers: tuple[LensLayer, ...]


class StagesReport(Wire):
    """Answer of ``GET /api/experiments/{id}/stages``: the emergence of the answer by layer, averaged over the prompts.

    ``probability`` and ``rank`` (median): of the answer, after the embedding and each layer. ``operands``: cosine of
    each MLP's input with the unembedding rows of the operands; ``answer``: cosine of its output with that of the
    answer; ``..._other``: the same for other numbers. ``start``, ``inflection`` and ``end``: layers by the rule in
    docs/methods/lens.md, None if the curves do not show them, with 95 % intervals over bootstrap draws of the
    questions. ``found``: share of the draws in which the rule finds them.
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
    """A number token and the logit that a component's output gives it."""

    token: str
    logit: float


class WritesReport(Wire):
    """Answer of ``GET /api/experiments/{id}/writes?component=``: a component's output at END as logits of number
    tokens, averaged over the prompts: the most promoted and most suppressed tokens, and the mean of the answer's."""

    component: str
    prompts: int
    promoted: tuple[WriteToken, ...]
    suppressed: tuple[WriteToken, ...]
    answer: float


@dataclass(frozen=True, slots=True)
class ViewRow:
    """A view of a finished analysis, served at ``/api/experiments/{id}/{name}``.

    Attributes:
        name: Its name, and the last part of its address.
        report: The answer as JSON.
        title: A few words for the API's documentation.
        summary: The documentation of its address.
        help: One line for the command line.
        parameter: Set if there is a view for each prompt or for each component.
        needs_model: Whether it is computed with the model, not only from the stored arrays.
        file: Name of its file in the store; ``{view}`` is the name with the parameter.
    """

    name: ViewKind
    report: type[Wire]
    title: str
    summary: str
    help: str
    parameter: Literal["prompt", "component"] | None = None
    needs_model: bool = True
    file: str = "view.{view}.json"


_ROWS = (
    ViewRow(
        "attention",
        AttentionPattern,
        "One layer of one prompt",
        "Returns the attention of one layer and prompt in the reference run.\n\n"
        "`weights` is [head][query][key]; each row sums to 1. 404: no such layer or prompt. 503: it is not stored, and "
        "no worker is available to compute it.",
        "attention patterns",
        parameter="prompt",
        file="{view}.safetensors",
    ),
    ViewRow(
        "key",
        KeyReport,
        "The key components",
        "Returns the key components by false discovery rate and by the paper's threshold, for every computed metric.",
        "key components",
        needs_model=False,
    ),
    ViewRow(
        "roles",
        RoleReport,
        "The attention of every head by role",
        "Returns the attention of every head from END to each role, over the first 256 kept prompts, with baselines.",
        "attention by token role",
    ),
    ViewRow(
        "lens",
        LensReport,
        "The predictions of one prompt, layer by layer",
        "Returns the predictions from the residual stream at END after each layer of the reference run, the embedding "
        "first. 404: no such prompt.",
        "logit lens",
        parameter="prompt",
    ),
    ViewRow(
        "stages",
        StagesReport,
        "The stages in which the answer emerges",
        "Returns the answer's probability and rank by layer and the two cosine curves, with their start, turning point "
        "and end, over the first 256 kept prompts.",
        "emergence of the answer by layer",
    ),
    ViewRow(
        "writes",
        WritesReport,
        "The tokens that a component promotes and suppresses",
        "Returns the number tokens that a component promotes and suppresses most at END, over the first 256 kept "
        "prompts.\n\n422: not a component's name, or the model has no such component.",
        "output of one component as logits",
        parameter="component",
    ),
)

VIEWS: dict[ViewKind, ViewRow] = {row.name: row for row in _ROWS}
