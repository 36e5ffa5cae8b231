"""Batch sizes: planned to fit a memory budget, halved when memory runs out nevertheless.

Batch size changes a matrix product by about 3e-5, so a plan is stored with the results computed under it, and a resumed
experiment keeps its plan. Sizes are powers of two below a ceiling, so that all machines with ample memory use the same
plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.terms import Effect
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.models.memory import free_bytes

T = TypeVar("T")

# Rows of a matrix product. On a CPU: enough to reuse each weight in cache, few enough that an MLP's inner activations
# fit in it, too. On a GPU: enough to fill it.
_ROWS = {"cpu": 2_048}
_ROWS_GPU = 16_384
_TOKENS = 8_192
_PAIRS = 512
# Share of the free memory to plan for; the rest is for other processes and fragmentation.
_SHARE = 0.7
# On a CPU, more memory than this for perturbations and states brings no speed.
_CPU_BYTES = 2**30
# Full logits take more memory than anything else of a row: unembed this many times fewer rows at once.
UNEMBED_SHARE = 16


@dataclass(frozen=True)
class Plan:
    """Batch sizes: pairs and components at once, rows of a matrix product, tokens of a forward pass."""

    pairs: int
    components: int
    rows: int
    tokens: int

    def halved(self) -> Plan | None:
        """The plan with all sizes halved; None if all are 1."""
        smaller = {name: max(1, size // 2) for name, size in asdict(self).items()}
        plan = Plan(**smaller)
        return None if plan == self else plan


@dataclass(frozen=True)
class Shape:
    """The dimensions that determine a measurement's memory: ``pairs`` of up to ``length`` tokens, of which the last
    ``positions`` are recomputed."""

    effect: Effect
    length: int
    positions: int
    pairs: int
    probability: bool = False


def budget_of(model: LoadedModel) -> int:
    """Default memory budget of a measurement in bytes, beyond the model, from its devices' free memory."""
    free = _free_share(model)
    return min(free, _CPU_BYTES) if model.device.type == "cpu" else free


def _free_share(model: LoadedModel) -> int:
    return int(min(free_bytes(device) for device in model.devices) * _SHARE)


def plan_for(model: LoadedModel, shape: Shape, budget: int | None = None) -> Plan:
    """The largest plan within ``budget`` bytes; by default, the budget follows from the devices' free memory.

    Raises:
        Refusal: ``out_of_memory`` if even the smallest plan exceeds the budget.
    """
    if budget is not None:
        return _within(model, shape, budget)
    try:
        return _within(model, shape, budget_of(model))
    except Refusal:  # the CPU budget is a matter of speed; more memory may be free
        return _within(model, shape, _free_share(model))


def _within(model: LoadedModel, shape: Shape, budget: int) -> Plan:
    layout = model.layout
    pairs = min(_next_power_of_two(shape.pairs), _PAIRS)
    plan = Plan(
        pairs=pairs,
        components=_next_power_of_two(layout.layers * (layout.heads + 1)),
        rows=_ROWS.get(model.device.type, _ROWS_GPU),
        tokens=min(_TOKENS, _next_power_of_two(2 * pairs * shape.length)),
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
    """Upper bounds in bytes of a plan's memory, by use: ``states``, ``perturbations``, ``products`` and ``passes``."""
    layout = model.layout
    wide = torch.finfo(model.work_dtype).bits // 8
    narrow = torch.finfo(model.dtype).bits // 8
    heads, hidden = layout.heads * layout.head_dim, layout.hidden
    inner = max((max(p.shape) for p in layout.blocks[0].mlp.parameters()), default=hidden)
    components = min(plan.components, layout.layers * (layout.heads + 1))
    end_state = layout.layers * (heads + 2 * hidden) * wide  # one run at END
    # Both runs' keys and values: kept for `total`, and in any pass that continues a shared prefix.
    past = 4 * layout.layers * layout.kv_heads * layout.head_dim * narrow
    states = plan.pairs * (4 * end_state + 4 * model.embeddings * wide + shape.length * past)
    if shape.effect == "total":
        kept = layout.layers * (2 * heads + 4 * hidden) * wide
        states += plan.pairs * shape.positions * 2 * kept
    perturbations = (1 + components) * plan.pairs * shape.positions * hidden * wide
    product = max(plan.rows, shape.positions)
    products = product * (4 * inner + 8 * hidden + 4 * heads) * wide
    if shape.effect == "total":
        products += product * layout.heads * (2 * shape.length + 128) * wide
        products += product * 4 * layout.heads * layout.head_dim * wide  # copies of the past for long rows
    if shape.probability:  # all logits of a row at once
        products += 3 * (product // UNEMBED_SHARE) * model.embeddings * wide
    tokens = max(plan.tokens, shape.length)
    passes = tokens * (4 * inner + 8 * hidden + 4 * heads + 2 * layout.heads * shape.length) * narrow
    return {"states": states, "perturbations": perturbations, "products": products, "passes": passes}


def _smaller(plan: Plan, parts: dict[str, int]) -> Plan | None:
    """Halves the size that drives the largest part, if it can be halved; otherwise that of the next largest."""
    for part in sorted(parts, key=lambda name: -parts[name]):
        names = {"states": ("pairs",), "perturbations": ("components", "pairs"), "products": ("rows",)}
        for name in names.get(part, ("tokens",)):
            size = getattr(plan, name)
            # Too few components do not fill a matrix product: below 16, fewer pairs cost less speed.
            smallest = 16 if name == "components" and plan.pairs > 1 else 1
            if size > smallest:
                return replace(plan, **{name: size // 2})
    return None


def retry_on_oom(plan: Plan, run: Callable[[Plan], T]) -> tuple[T, Plan]:
    """Calls ``run(plan)``, again with a halved plan whenever memory runs out. Returns its result and the last plan.

    Raises:
        Refusal: ``out_of_memory`` if memory runs out under the smallest plan.
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
        # Outside the except block, where the traceback no longer keeps tensors alive.
        plan = smaller
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """True if an error reports a failed allocation; on a CPU, torch raises a plain RuntimeError for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    message = str(error)
    return (
        "not enough memory" in message
        or "ALLOC_FAILED" in message
        or "can't allocate memory" in message
        or "out of memory" in message
    )


def _next_power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
