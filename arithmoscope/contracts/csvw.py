"""Machine-readable description of ``components.csv``: W3C "CSV on the Web" metadata (tabular-metadata, 2015).

Columns with titles, datatypes and units; notes contain the question, the checks of that run, and the provenance of the
numbers. Any CSVW reader gets typed columns from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.contracts.ranking import COLUMNS
from arithmoscope.contracts.terms import Metric

MEDIA_TYPE = "application/csvm+json"

_WHOLE = {"base": "integer", "minimum": 0}
# By column: title, datatype, description. The columns of `_IN_UNIT` are in the metric's unit.
_DESCRIPTIONS: dict[str, tuple[str, object, str]] = {
    "rank": (
        "Rank",
        {"base": "integer", "minimum": 1},
        "Place from the most negative mean effect",
    ),
    "component": ("Component", {"base": "string", "format": r"L\d+H\d+|MLP\d+"}, "L14H2 is a head, MLP19 an MLP"),
    "kind": ("Kind", {"base": "string", "format": "head|mlp"}, "head or mlp"),
    "layer": ("Layer", _WHOLE, "Counts from 0"),
    "head": ("Head", _WHOLE, "Counts from 0; empty for an MLP"),
    "effect_mean": ("Mean effect", "double", "{change}, mean over the pairs"),
    "effect_std": ("Standard deviation", "double", "Over the pairs (n - 1); empty for one pair"),
    "ci_low": ("95 % interval, low", "double", "Percentile bootstrap over distinct questions, 10 000 draws"),
    "ci_high": ("95 % interval, high", "double", "Percentile bootstrap over distinct questions, 10 000 draws"),
    "n_pairs": ("Pairs", _WHOLE, "Pairs in the mean"),
    "metric": ("Metric", "string", "What the effect is measured in"),
    "effect": ("Kind of effect", "string", "direct, through_mlps or total"),
    "experiment_id": ("Experiment", "string", "Id of the analysis"),
    "model": ("Model", "string", "Id of the model"),
    "revision": ("Model revision", "string", "SHA-256 of the model's weights"),
}
_IN_UNIT = frozenset({"effect_mean", "effect_std", "ci_low", "ci_high"})
_MAY_BE_EMPTY = _IN_UNIT | {"head", "experiment_id"}


def csv_metadata(result: PathPatchingResult, metric: Metric, url: str) -> str:
    """The metadata of one ranking, as JSON text. ``url``: the address of the CSV, relative to this document."""
    unit = result.metrics[metric].unit
    document = {
        "@context": ["http://www.w3.org/ns/csvw", {"@language": "en"}],
        "url": url,
        "dc:title": f"Effects of the components of {result.model.name} ({metric})",
        "dc:conformsTo": {"@id": "https://www.w3.org/TR/tabular-metadata/"},
        "dc:created": result.provenance.created_at.isoformat(),
        "dialect": {"encoding": "utf-8", "header": True, "delimiter": ",", "lineTerminators": ["\n"]},
        "tableSchema": {
            "columns": [_column(name, unit, result) for name in COLUMNS],
            "primaryKey": "component",
        },
        "notes": [_note(*fact) for fact in _facts(result, metric)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _column(name: str, unit: str, result: PathPatchingResult) -> dict[str, Any]:
    title, datatype, description = _DESCRIPTIONS[name]
    if result.spec.direction == "denoising":
        change = "patched - counterfactual; positive: putting it back helps"
    else:
        change = "patched - reference; negative: taking it away hurts"
    column: dict[str, Any] = {
        "name": name,
        # The header's own spelling comes first: a reader compares titles with the header.
        "titles": [name, title],
        "datatype": datatype,
        "dc:description": description.format(change=change),
        "required": name not in _MAY_BE_EMPTY,
    }
    if name in _IN_UNIT:
        column["schema:unitText"] = unit
    return column


_Fact = tuple[str, str, Any, str | None]


def _facts(result: PathPatchingResult, metric: Metric) -> Iterator[_Fact]:
    """The notes of a ranking: subject, name, value, unit."""
    spec, measured, checks = result.spec, result.metrics[metric], result.checks
    for name in ("effect", "positions", "source", "direction"):
        yield "question", name, getattr(spec, name), None
    yield "question", "metric", metric, None
    if spec.prompts.source == "template":
        yield "question", "seed", spec.prompts.seed, None
    for name in ("n_asked", "n_distinct", "n_correct", "complete"):
        yield "question", name, getattr(result, name), None
    yield "question", "n_pairs", measured.n_pairs, None
    yield "question", "left_out", measured.left_out, None
    yield "checks", "noise_floor", checks.noise_floor, "logits"
    yield "checks", "spot_check", " ".join(checks.spot_check), None
    yield "checks", "spot_check_pairs", checks.spot_check_pairs, None
    yield "checks", "spot_check_error", checks.spot_check_error, "logits"
    for name, value in result.model.model_dump(mode="json").items():
        yield "model", name, value, None
    yield "provenance", "experiment_id", result.experiment_id, None
    for name, value in result.provenance.model_dump(mode="json", exclude={"plan"}).items():
        yield "provenance", name, value, "seconds" if name == "seconds" else None
    plan = result.provenance.plan
    for name, value in ({} if plan is None else plan.model_dump(mode="json", exclude_none=True)).items():
        yield "plan", name, value, "bytes" if name == "budget_bytes" else None


def _note(subject: str, name: str, value: Any, unit: str | None) -> dict[str, Any]:
    # Notes may only contain prefixed names; schema.org's PropertyValue is the simplest type with a unit.
    note = {"@type": "schema:PropertyValue", "schema:name": f"{subject}.{name}", "schema:value": value}
    return note if unit is None else {**note, "schema:unitText": unit}
