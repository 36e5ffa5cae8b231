"""A fine-tuning in a terminal: what trains, and what the model can do before and after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_results import FineTuneResult, Interval, Judged
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel

_GROUPS = {"held_out": "held-out questions", "arithmetic": "other arithmetic", "control": "no arithmetic"}


def opening(model: LoadedModel, spec: FineTuneSpec) -> str:
    """What is going to be trained, and on what. Refuses as the training does."""
    from arithmoscope.engine.tuning.selection import select
    from arithmoscope.prompts.sets.dataset_splits import lessons_of

    lines = [f"{model.card.name}: {spec.tuner} fine-tuning, {spec.steps} steps of {spec.batch_size}"]
    if spec.tuner in WHOLE_TUNERS:
        lines.append("everything trains" if spec.tuner == "full" else "all matrices of all layers train")
    else:
        chosen = select(model, spec.components, spec.tune, biases=spec.biases)
        size = f"{_count(chosen.parameters)} of {_count(model.card.parameters)} numbers ({chosen.share:.2%})"
        lines.append(f"{' '.join(spec.components)}: {size}")
        if spec.tuner != "precise":
            lines.append(f"the tuner {spec.tuner} is held against them")
        elif chosen.touched:
            lines.append(f"they share numbers with {' '.join(map(str, chosen.touched))}, which change, too")
    split = lessons_of(spec, model.text, model.chat if spec.prompts.chat else None).split
    lines.append(
        f"train {split.train}, validation {split.validation}, test {split.test} questions, no operands shared; "
        f"such as {split.examples[0]}"
    )
    return "\n".join(lines) + "\n"


def closing(result: FineTuneResult) -> str:
    """What came of it."""
    lines = [""]
    if result.tunable.components and result.spec.tuner == "random":
        lines += [f"drawn: {' '.join(result.tunable.components)}"]
    if result.evaluation is not None:
        found = result.evaluation
        lines += [f"{'':<28}{'n':>5} {'before':>8} {'after':>8} {'change':>9} {'95 %':>17} {'fixed':>6} {'broken':>7}"]
        group = ""
        for each in (found.held_out, *found.sets):
            if each.group != group:
                group = each.group
                lines.append(_GROUPS[group])
            lines.append(_row(each))
        neutral = found.neutral
        lines += [
            "",
            f"plain text: perplexity {neutral.before.mean:.2f} before, {neutral.after.mean:.2f} after, "
            f"ratio {neutral.ratio.mean:.3f}{_between(neutral.ratio, '.3f')}; "
            f"KL {neutral.divergence.mean:.4f} nats a token",
        ]
    trained = f"{_count(result.tunable.trained)} numbers trained ({result.tunable.share:.2%} of the model)"
    speed = "" if result.seconds_per_step is None else f"; {result.seconds_per_step:.2f} s a step"
    lines.append(f"{trained}{speed}; what changed takes {_count(result.deltas_bytes)}B")
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def compared(benchmarks: Mapping[str, tuple[float, float]]) -> str:
    """What public benchmarks say of the model, before and after."""
    return "".join(f"{name}: {before:.4g} before, {after:.4g} after\n" for name, (before, after) in benchmarks.items())


def _row(each: Judged) -> str:
    change = f"{100 * each.change.mean:+.1f}"
    return (
        f"  {each.name:<26}{each.n:>5} {each.before.mean:>8.1%} {each.after.mean:>8.1%} {change:>9} "
        f"{_points(each.change):>17} {each.fixed:>6} {each.broken:>7}"
    )


def _points(change: Interval) -> str:
    if change.low is None or change.high is None:
        return "n/a"
    return f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"


def _between(interval: Interval, form: str) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f" ({interval.low:{form}} to {interval.high:{form}})"


def _count(number: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} "
