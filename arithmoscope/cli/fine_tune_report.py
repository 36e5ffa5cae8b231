"""Terminal report of a fine-tuning: parameters trained, and the evaluation before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from arithmoscope.contracts.kinds.fine_tune import FineTuneResult, FineTuneSpec
from arithmoscope.contracts.tuning_results import Interval, Judged
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel

_GROUPS = {"held_out": "held-out questions", "arithmetic": "other arithmetic", "control": "no arithmetic"}


def plan_text(model: LoadedModel, spec: FineTuneSpec) -> str:
    """The parameters and questions of a training that is about to start. Raises Refusal as the training does."""
    from arithmoscope.engine.tuning.selection import select
    from arithmoscope.prompts.sets.dataset_splits import split_dataset

    lines = [f"{model.card.name}: {spec.tuner} fine-tuning, {spec.steps} steps of {spec.batch_size} questions"]
    if spec.tuner in WHOLE_TUNERS:
        lines.append(f"Parameters trained: {'all' if spec.tuner == 'full' else 'all matrices of all layers'}")
    else:
        chosen = select(model, spec.components, spec.tune, biases=spec.biases)
        size = f"{_count(chosen.parameters)} of {_count(model.card.parameters)} ({chosen.share:.2%})"
        if spec.tuner == "precise":
            lines += [f"Components: {' '.join(spec.components)}", f"Parameters trained: {size}"]
            if chosen.touched:
                lines.append(f"Shared parameters: {' '.join(map(str, chosen.touched))} change as well")
        else:
            lines.append(f"Compared with precise tuning of {' '.join(spec.components)}: {size}")
    split = split_dataset(spec, model.text, model.chat if spec.prompts.chat else None).split
    lines.append(
        f"Questions: train {split.train}, validation {split.validation}, test {split.test}, no operands shared; "
        f"for example {split.examples[0]}"
    )
    return "\n".join(lines) + "\n"


def result_text(result: FineTuneResult) -> str:
    """The evaluation before and after, and the size of what was trained."""
    lines = [""]
    if result.tunable.components and result.spec.tuner == "random":
        lines += [f"Drawn components: {' '.join(result.tunable.components)}"]
    if result.evaluation is not None:
        evaluation = result.evaluation
        lines += [f"{'':<28}{'n':>5} {'before':>8} {'after':>8} {'change':>9} {'95 %':>17} {'fixed':>6} {'broken':>7}"]
        group = ""
        for judged in (evaluation.held_out, *evaluation.sets):
            if judged.group != group:
                group = judged.group
                lines.append(_GROUPS[group])
            lines.append(_row(judged))
        neutral = evaluation.neutral
        lines += [
            "",
            f"plain text: perplexity {neutral.before.mean:.2f} before, {neutral.after.mean:.2f} after, "
            f"ratio {neutral.ratio.mean:.3f}{_range(neutral.ratio, '.3f')}; "
            f"KL {neutral.divergence.mean:.4f} nats per token",
        ]
    trained = f"Parameters trained: {_count(result.tunable.trained)} ({result.tunable.share:.2%} of the model)"
    speed = "" if result.seconds_per_step is None else f"; {result.seconds_per_step:.2f} s per step"
    lines.append(f"{trained}{speed}; size of the weight changes: {_bytes(result.deltas_bytes)}")
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def benchmark_lines(scores: Mapping[str, tuple[float, float]]) -> str:
    """One line per benchmark score, before and after."""
    return "".join(f"{name}: {before:.4g} before, {after:.4g} after\n" for name, (before, after) in scores.items())


def _row(judged: Judged) -> str:
    change = f"{100 * judged.change.mean:+.1f}"
    return (
        f"  {judged.name:<26}{judged.n:>5} {judged.before.mean:>8.1%} {judged.after.mean:>8.1%} {change:>9} "
        f"{_points(judged.change):>17} {judged.fixed:>6} {judged.broken:>7}"
    )


def _points(change: Interval) -> str:
    """The interval of a change, in percentage points."""
    if change.low is None or change.high is None:
        return "n/a"
    return f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"


def _range(interval: Interval, form: str) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f" ({interval.low:{form}} to {interval.high:{form}})"


def _count(number: int) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def _bytes(number: int) -> str:
    count = _count(number)
    return f"{count}B" if number >= 1e3 else f"{count} B"
