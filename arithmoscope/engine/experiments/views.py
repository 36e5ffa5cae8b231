"""Views of a finished analysis, computed on request from its stored files.

A view is a row of `_WITH_MODEL` or `_WITHOUT_MODEL`, and of `arithmoscope.contracts.views.VIEWS`. Its file is JSON, as
described there, or attention patterns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.knockout_terms import PAPER_THRESHOLD
from arithmoscope.contracts.terms import Metric
from arithmoscope.contracts.views import (
    VIEWS,
    HeadRoles,
    KeyReport,
    KeyRow,
    KeyTable,
    LensLayer,
    LensReport,
    LensToken,
    RoleReport,
    StagesReport,
    ViewKind,
    WritesReport,
    WriteToken,
)
from arithmoscope.engine.experiments.parent_analysis import (
    ReadArtifact,
    StoredEffects,
    analysis_prompts,
    kept_pairs,
    read_analysis,
    read_effects,
)
from arithmoscope.engine.experiments.path_patching import ATTENTION_BYTES
from arithmoscope.engine.measures.key_components import LEAST_QUESTIONS, adjusted_p_values, key_components
from arithmoscope.engine.measures.metrics import METRICS
from arithmoscope.engine.methods.attention import attention_of
from arithmoscope.engine.methods.lens import lens_of
from arithmoscope.engine.methods.roles import ROLES, TIMES, roles_of
from arithmoscope.engine.methods.writes import writes_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import patterns_file, row_of

# Enough for stable means; more would make the view slow.
MOST_PAIRS = 256
_TOP = 10


def view_file(model: LoadedModel | None, kind: ViewKind, which: str, read: ReadArtifact) -> bytes:
    """The file of one view.

    Args:
        which: The prompt or component, for a kind that has several views.
        read: Returns an artifact of the analysis by name.
        model: The view ``key`` needs none.

    Raises:
        Refusal: ``out_of_range`` or ``bad_component`` for what the analysis does not have; ``model_changed`` if the
            chat template has changed.
    """
    if not VIEWS[kind].needs_model:
        return _WITHOUT_MODEL[kind](read).model_dump_json().encode()
    if model is None:
        raise ValueError(f"the view {kind} needs the model")
    return _WITH_MODEL[kind](model, which, read)


def key_report(read: ReadArtifact) -> KeyReport:
    """For every computed metric: all components with p- and q-values, and which of them are key."""
    spec = read_analysis(read).spec
    effects = read_effects(read)
    return KeyReport(
        tables=tuple(_key_table(effects, metric, spec) for metric in spec.metrics if _has(effects, metric))
    )


def _has(effects: StoredEffects, metric: Metric) -> bool:
    # Arrays of early versions have no probabilities, and a metric may be undefined for every pair.
    if metric == "probability" and effects.probability_heads is None:
        return False
    return bool(effects.values(metric)[0].isfinite().any())


def _key_table(effects: StoredEffects, metric: Metric, spec: PathPatchingSpec) -> KeyTable:
    sign = -1.0 if spec.direction == "denoising" else 1.0
    hurting = effects.negated() if sign < 0 else effects
    threshold_at = PAPER_THRESHOLD if metric == "relative_logit" else None
    by_threshold = key_components(hurting, rule="threshold", metric=metric, threshold=PAPER_THRESHOLD)
    enough = by_threshold.questions >= LEAST_QUESTIONS
    significant = key_components(hurting, rule="fdr", metric=metric).components if enough else None
    p = by_threshold.p_values.flatten()
    q = adjusted_p_values(p) if enough else p
    heads, mlps = hurting.values(metric)
    values = torch.cat([heads, mlps[..., None]], dim=-1).double()
    mean = values[values.flatten(1).isfinite().all(1)].mean(0)
    components = all_components(*heads.shape[1:])
    order = mean.flatten().argsort(stable=True).tolist()
    columns = [row_of(sign * mean.flatten()), row_of(p), row_of(q)]
    return KeyTable(
        metric=metric,
        unit=METRICS[metric].unit,
        questions=by_threshold.questions,
        heads=heads.shape[1] * heads.shape[2],
        rows=tuple(
            KeyRow(component=str(components[i]), mean=columns[0][i], p_value=columns[1][i], q_value=columns[2][i])
            for i in order
        ),
        false_discovery=None if significant is None else _names(significant),
        threshold_at=None if threshold_at is None else sign * threshold_at,
        threshold=None if threshold_at is None else _names(by_threshold.components),
    )


def _names(components: tuple[Component, ...]) -> tuple[str, ...]:
    return tuple(str(component) for component in components)


def _attention(model: LoadedModel, which: str, read: ReadArtifact) -> bytes:
    """The attention of one prompt, by its index in the submitted list, in the format of a result's file of patterns."""
    try:
        pairs = analysis_prompts(model, read_analysis(read)).pairs
    except Refusal as refusal:
        if refusal.code != "model_changed":
            raise
        raise Refusal("attention_not_stored", f"This attention is not stored. {refusal.detail}") from refusal
    prompt = int(which)
    if not 0 <= prompt < len(pairs):
        raise Refusal("out_of_range", f"There is no prompt {prompt}; the set has {len(pairs)}.")
    size = model.layout.layers * model.layout.heads * len(pairs[prompt].reference_ids) ** 2 * 4
    if size > 4 * ATTENTION_BYTES:
        raise Refusal("attention_not_stored", f"The patterns of this prompt take {size / 2**20:.0f} MiB.")
    (weights,) = attention_of(model, [pairs[prompt].reference_ids], range(model.layout.layers))
    return patterns_file({prompt: weights.float()})


def _roles(model: LoadedModel, _which: str, read: ReadArtifact) -> bytes:
    roles = roles_of(model, kept_pairs(model, read_analysis(read), MOST_PAIRS))
    low, high = roles.interval()
    heads = []
    for component, kind in roles.classes(TIMES).items():
        index = component.layer, component.head or 0
        heads.append(
            HeadRoles(
                component=str(component),
                head_class=kind,
                mass=_numbers(roles.mean[index]),
                ci_low=row_of(low[index]),
                ci_high=row_of(high[index]),
                difference=_numbers(roles.difference[index]),
                baseline=_numbers(roles.baseline[index]),
            )
        )
    report = RoleReport(
        roles=ROLES,
        prompts=len(roles),
        times=TIMES,
        average_head=_numbers(roles.average_head),
        heads=tuple(heads),
    )
    return report.model_dump_json().encode()


def _lens(model: LoadedModel, which: str, read: ReadArtifact) -> bytes:
    pairs, prompt = analysis_prompts(model, read_analysis(read)).pairs, int(which)
    if not 0 <= prompt < len(pairs):
        raise Refusal("out_of_range", f"There is no prompt {prompt}; the set has {len(pairs)}.")
    lens = lens_of(model, [pairs[prompt]], k=min(_TOP, model.embeddings))
    rows = zip(lens.top[0].tolist(), lens.top_probability[0].tolist(), strict=True)
    layers = [
        LensLayer(
            layer=stage - 1,
            top=tuple(
                LensToken(token=model.token_text(token), probability=probability)
                for token, probability in zip(tokens, probabilities, strict=True)
            ),
            logit=float(lens.logit[0, stage]),
            probability=float(lens.probability[0, stage]),
            rank=int(lens.rank[0, stage]),
        )
        for stage, (tokens, probabilities) in enumerate(rows)
    ]
    report = LensReport(prompt=prompt, answer=pairs[prompt].answer_text, layers=tuple(layers))
    return report.model_dump_json().encode()


def _stages(model: LoadedModel, _which: str, read: ReadArtifact) -> bytes:
    lens = lens_of(model, kept_pairs(model, read_analysis(read), MOST_PAIRS), k=1)
    stages = lens.stages()
    curves = {name: getattr(lens, name).double() for name in ("operands", "operands_other", "answer", "answer_other")}
    report = StagesReport(
        prompts=len(lens),
        probability=row_of(lens.probability.double().mean(0)),
        rank=row_of(lens.rank.double().quantile(0.5, dim=0)),
        **{name: row_of(curve.nanmean(0)) for name, curve in curves.items()},
        start=stages.start,
        inflection=stages.inflection,
        end=stages.end,
        start_interval=stages.start_interval,
        inflection_interval=stages.inflection_interval,
        end_interval=stages.end_interval,
        found=stages.found,
    )
    return report.model_dump_json().encode()


def _writes(model: LoadedModel, which: str, read: ReadArtifact) -> bytes:
    pairs = kept_pairs(model, read_analysis(read), MOST_PAIRS)
    writes = writes_of(model, pairs, [which], k=_TOP)
    (written,) = writes.components
    report = WritesReport(
        component=written.component,
        prompts=len(pairs),
        promoted=tuple(WriteToken(token=each.token, logit=each.mean) for each in written.promoted_numbers),
        suppressed=tuple(WriteToken(token=each.token, logit=each.mean) for each in written.suppressed_numbers),
        # Like the tokens' logits: without the mean change over the whole vocabulary.
        answer=float((writes.answers - writes.centres).double().mean()),
    )
    return report.model_dump_json().encode()


def _numbers(values: Tensor) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise Refusal("not_finite", "Some attention weights are not finite.")
    return numbers


_WITHOUT_MODEL: dict[ViewKind, Callable[[ReadArtifact], Wire]] = {"key": key_report}
_WITH_MODEL: dict[ViewKind, Callable[[LoadedModel, str, ReadArtifact], bytes]] = {
    "attention": _attention,
    "roles": _roles,
    "lens": _lens,
    "stages": _stages,
    "writes": _writes,
}
