"""What somebody wants to see of a finished analysis: computed when they look, from what is stored of it.

One row of `_VIEWS` a kind. A view is a file: JSON as `arithmoscope.contracts.views` has it, or attention patterns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import PAPER_THRESHOLD
from arithmoscope.contracts.specs import Metric, PathPatchingSpec
from arithmoscope.contracts.views import (
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
    Read,
    StoredEffects,
    kept_pairs,
    prepared_again,
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

# Enough for steady means; more would keep whoever looks waiting.
MOST_PAIRS = 256
_TOP = 10


def view_file(model: LoadedModel | None, kind: ViewKind, which: str, read: Read) -> bytes:
    """The file of one view. ``which``: the prompt or component, where there are several. ``read``: an artifact of the
    analysis by its name. ``key`` needs no model.

    Refuses ``out_of_range`` and ``bad_component`` what the analysis does not have, ``model_changed`` another template.
    """
    if kind == "key":
        return key_report(read).model_dump_json().encode()
    if model is None:
        raise ValueError(f"the view {kind} needs the model")
    return _VIEWS[kind](model, which, read)


def key_report(read: Read) -> KeyReport:
    """Of every metric that was computed: the components with their p- and q-values, and which of them are key."""
    spec = read_analysis(read).spec
    effects = read_effects(read)
    return KeyReport(
        tables=tuple(_key_table(effects, metric, spec) for metric in spec.metrics if _has(effects, metric))
    )


def _has(effects: StoredEffects, metric: Metric) -> bool:
    # Arrays of early versions hold no probabilities, and a metric may be defined for no pair.
    if metric == "probability" and effects.probability_heads is None:
        return False
    return bool(effects.values(metric)[0].isfinite().any())


def _key_table(effects: StoredEffects, metric: Metric, spec: PathPatchingSpec) -> KeyTable:
    sign = -1.0 if spec.direction == "denoising" else 1.0
    hurting = effects.turned() if sign < 0 else effects
    at = PAPER_THRESHOLD if metric == "relative_logit" else None
    over = key_components(hurting, rule="threshold", metric=metric, threshold=PAPER_THRESHOLD)
    enough = over.questions >= LEAST_QUESTIONS
    sure = key_components(hurting, rule="fdr", metric=metric).components if enough else None
    p = over.p_values.flatten()
    q = adjusted_p_values(p) if enough else p
    heads, mlps = hurting.values(metric)
    values = torch.cat([heads, mlps[..., None]], dim=-1).double()
    mean = values[values.flatten(1).isfinite().all(1)].mean(0)
    components = all_components(*heads.shape[1:])
    order = mean.flatten().argsort(stable=True).tolist()
    told = [row_of(sign * mean.flatten()), row_of(p), row_of(q)]
    return KeyTable(
        metric=metric,
        unit=METRICS[metric].unit,
        questions=over.questions,
        heads=heads.shape[1] * heads.shape[2],
        rows=tuple(
            KeyRow(component=str(components[i]), mean=told[0][i], p_value=told[1][i], q_value=told[2][i]) for i in order
        ),
        false_discovery=None if sure is None else _names(sure),
        threshold_at=None if at is None else sign * at,
        threshold=None if at is None else _names(over.components),
    )


def _names(components: tuple[Component, ...]) -> tuple[str, ...]:
    return tuple(str(component) for component in components)


def _attention(model: LoadedModel, which: str, read: Read) -> bytes:
    """The attention of one prompt of the set, counted in the list asked for, as a result's file of patterns has it."""
    try:
        asked = prepared_again(model, read_analysis(read)).pairs
    except Refusal as refusal:
        if refusal.code != "model_changed":
            raise
        raise Refusal("attention_not_stored", f"It is not stored. {refusal.detail}") from refusal
    prompt = int(which)
    if not 0 <= prompt < len(asked):
        raise Refusal("out_of_range", f"There is no prompt {prompt}; the set has {len(asked)}.")
    size = model.layout.layers * model.layout.heads * len(asked[prompt].reference_ids) ** 2 * 4
    if size > 4 * ATTENTION_BYTES:
        raise Refusal("attention_not_stored", f"The patterns of this prompt take {size / 2**20:.0f} MiB.")
    (weights,) = attention_of(model, [asked[prompt].reference_ids], range(model.layout.layers))
    return patterns_file({prompt: weights.float()})


def _roles(model: LoadedModel, _which: str, read: Read) -> bytes:
    found = roles_of(model, kept_pairs(model, read_analysis(read), MOST_PAIRS))
    low, high = found.interval()
    heads = []
    for component, kind in found.classes(TIMES).items():
        at = component.layer, component.head or 0
        heads.append(
            HeadRoles(
                component=str(component),
                head_class=kind,
                mass=_numbers(found.mean[at]),
                ci_low=row_of(low[at]),
                ci_high=row_of(high[at]),
                difference=_numbers(found.difference[at]),
                baseline=_numbers(found.baseline[at]),
            )
        )
    report = RoleReport(
        roles=ROLES,
        prompts=len(found),
        times=TIMES,
        average_head=_numbers(found.average_head),
        heads=tuple(heads),
    )
    return report.model_dump_json().encode()


def _lens(model: LoadedModel, which: str, read: Read) -> bytes:
    pairs, prompt = prepared_again(model, read_analysis(read)).pairs, int(which)
    if not 0 <= prompt < len(pairs):
        raise Refusal("out_of_range", f"There is no prompt {prompt}; the set has {len(pairs)}.")
    found = lens_of(model, [pairs[prompt]], k=min(_TOP, model.embeddings))
    rows = zip(found.top[0].tolist(), found.top_probability[0].tolist(), strict=True)
    layers = [
        LensLayer(
            layer=stage - 1,
            top=tuple(
                LensToken(token=model.token_text(token), probability=probability)
                for token, probability in zip(tokens, probabilities, strict=True)
            ),
            logit=float(found.logit[0, stage]),
            probability=float(found.probability[0, stage]),
            rank=int(found.rank[0, stage]),
        )
        for stage, (tokens, probabilities) in enumerate(rows)
    ]
    report = LensReport(prompt=prompt, answer=pairs[prompt].answer_text, layers=tuple(layers))
    return report.model_dump_json().encode()


def _stages(model: LoadedModel, _which: str, read: Read) -> bytes:
    found = lens_of(model, kept_pairs(model, read_analysis(read), MOST_PAIRS), k=1)
    stages = found.stages()
    curves = {name: getattr(found, name).double() for name in ("operands", "operands_other", "answer", "answer_other")}
    report = StagesReport(
        prompts=len(found),
        probability=row_of(found.probability.double().mean(0)),
        rank=row_of(found.rank.double().quantile(0.5, dim=0)),
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


def _writes(model: LoadedModel, which: str, read: Read) -> bytes:
    pairs = kept_pairs(model, read_analysis(read), MOST_PAIRS)
    found = writes_of(model, pairs, [which], k=_TOP)
    (written,) = found.components
    report = WritesReport(
        component=written.component,
        prompts=len(pairs),
        promoted=tuple(WriteToken(token=each.token, logit=each.mean) for each in written.promoted_numbers),
        suppressed=tuple(WriteToken(token=each.token, logit=each.mean) for each in written.suppressed_numbers),
        # As the tokens' are: without what the whole vocabulary is moved by.
        answer=float((found.answers - found.centres).double().mean()),
    )
    return report.model_dump_json().encode()


def _numbers(values: Tensor) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise Refusal("not_finite", "Some of the attention is no number.")
    return numbers


_VIEWS: dict[ViewKind, Callable[[LoadedModel, str, Read], bytes]] = {
    "attention": _attention,
    "roles": _roles,
    "lens": _lens,
    "stages": _stages,
    "writes": _writes,
}
