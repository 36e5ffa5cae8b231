"""How much is computed at once: planned to a budget of bytes, halved when memory runs out all the same.

The number of rows moves a matrix product by about 3e-5, so a plan is kept with what was computed under it, and an
experiment that is taken up again keeps its plan. Sizes are powers of two below a ceiling: wherever memory is ample,
the plan is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import Effect
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.models.memory import free_bytes

T = TypeVar("T")

# On a CPU: enough rows to read each weight from fast memory, few enough that an MLP's inner activations stay in the
# cache. On a GPU: enough to fill it.
_ROWS = {"cpu": 2_048}
_ROWS_GPU = 16_384
_TOKENS = 8_192
_PAIRS = 512
# Room that is left to others, and to what an allocator loses.
_SHARE = 0.7
# Perturbations and states beyond this gain nothing on a CPU, whatever is free.
_CPU_BYTES = 2**30
# All logits of a row take more room than anything else of it.
UNEMBED_SHARE = 16


@dataclass(frozen=True)
class Plan:
    """``pairs`` at once, of these ``components`` at once, in products of ``rows``; passes of ``tokens``."""

    pairs: int
    components: int
    rows: int
    tokens: int

    def halved(self) -> Plan | None:
        """The next smaller plan, all of it halved; None when there is none."""
        smaller = {name: max(1, size // 2) for name, size in asdict(self).items()}
        plan = Plan(**smaller)
        return None if plan == self else plan


@dataclass(frozen=True)
class Shape:
    """What decides the bytes of a measurement: ``pairs`` of up to ``length`` tokens, ``positions`` of them followed."""

    effect: Effect
    length: int
    positions: int
    pairs: int
    probability: bool = False


def budget_of(model: LoadedModel) -> int:
    """Bytes that a measurement is planned to beyond the model, measured from its devices."""
    free = _measured(model)
    return min(free, _CPU_BYTES) if model.device.type == "cpu" else free


def _measured(model: LoadedModel) -> int:
    return int(min(free_bytes(device) for device in model.devices) * _SHARE)


def plan_for(model: LoadedModel, shape: Shape, budget: int | None = None) -> Plan:
    """The largest plan within ``budget`` bytes, by default as many as the device has to give.

    Refuses (``out_of_memory``) a budget that no plan keeps to.
    """
    if budget is not None:
        return _within(model, shape, budget)
    try:
        return _within(model, shape, budget_of(model))
    except Refusal:  # more than a CPU gains by, but it may be there
        return _within(model, shape, _measured(model))


def _within(model: LoadedModel, shape: Shape, budget: int) -> Plan:
    layout = model.layout
    pairs = min(_up(shape.pairs), _PAIRS)
    plan = Plan(
        pairs=pairs,
        components=_up(layout.layers * (layout.heads + 1)),
        rows=_ROWS.get(model.device.type, _ROWS_GPU),
        tokens=min(_TOKENS, _up(2 * pairs * shape.length)),
    )
    while (parts := bytes_of(model, shape, plan)) and sum(parts.values()) > budget:
        smaller = _smaller(plan, parts)
        if smaller is None:
            raise Refusal(
                "out_of_memory",
                f"One prompt and one component at a time need {sum(parts.values()):,} bytes beyond the model; "
                f"the budget is {budget:,}.",
            )
        plan = smaller
    return plan


def bytes_of(model: LoadedModel, shape: Shape, plan: Plan) -> dict[str, int]:
    """What a plan takes at most, by what it is for: ``states``, ``perturbations``, ``products`` and ``passes``."""
    layout = model.layout
    wide = torch.finfo(model.work_dtype).bits // 8
    narrow = torch.finfo(model.dtype).bits // 8
    heads, hidden = layout.heads * layout.head_dim, layout.hidden
    inner = max((max(p.shape) for p in layout.blocks[0].mlp.parameters()), default=hidden)
    components = min(plan.components, layout.layers * (layout.heads + 1))
    a_run = layout.layers * (heads + 2 * hidden) * wide  # a position of a run at END
    # Both runs' keys and values: kept for `total`, and in any pass that continues a shared beginning.
    past = 4 * layout.layers * layout.kv_heads * layout.head_dim * narrow
    states = plan.pairs * (4 * a_run + 4 * model.embeddings * wide + shape.length * past)
    if shape.effect == "total":
        kept = layout.layers * (2 * heads + 4 * hidden) * wide
        states += plan.pairs * shape.positions * 2 * kept
    perturbations = (1 + components) * plan.pairs * shape.positions * hidden * wide
    product = max(plan.rows, shape.positions)
    products = product * (4 * inner + 8 * hidden + 4 * heads) * wide
    if shape.effect == "total":
        products += product * layout.heads * (2 * shape.length + 128) * wide
        products += product * 4 * layout.heads * layout.head_dim * wide  # copies of what comes before long rows
    if shape.probability:  # all logits of a row at once
        products += 3 * (product // UNEMBED_SHARE) * model.embeddings * wide
    tokens = max(plan.tokens, shape.length)
    passes = tokens * (4 * inner + 8 * hidden + 4 * heads + 2 * layout.heads * shape.length) * narrow
    return {"states": states, "perturbations": perturbations, "products": products, "passes": passes}


def _smaller(plan: Plan, parts: dict[str, int]) -> Plan | None:
    """Halve what the largest part is made of, as long as there is something to halve."""
    for part in sorted(parts, key=lambda name: -parts[name]):
        names = {"states": ("pairs",), "perturbations": ("components", "pairs"), "products": ("rows",)}
        for name in names.get(part, ("tokens",)):
            size = getattr(plan, name)
            # Few components fill no product: then fewer pairs cost less than fewer components.
            least = 16 if name == "components" and plan.pairs > 1 else 1
            if size > least:
                return replace(plan, **{name: size // 2})
    return None


def retry_on_oom(plan: Plan, run: Callable[[Plan], T]) -> tuple[T, Plan]:
    """``run(plan)``, with a halved plan whenever memory runs out, and the plan that it ended with.

    Refuses (``out_of_memory``) when the smallest plan runs out, too.
    """
    while True:
        try:
            return run(plan), plan
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            smaller = plan.halved()
            if smaller is None:
                raise Refusal("out_of_memory", "One prompt and one component at a time do not fit.") from error
        # Outside of the except block: the traceback would keep the tensors alive.
        plan = smaller
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed; on a CPU torch says so in a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error)
    return (
        "not enough memory" in said
        or "ALLOC_FAILED" in said
        or "can't allocate memory" in said
        or "out of memory" in said
    )


def _up(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
