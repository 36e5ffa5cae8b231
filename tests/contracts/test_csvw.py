"""Tests of the CSVW document beside ``components.csv``: it gives every cell its type, and lists the checks."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from arithmoscope.contracts.csvw import csv_metadata
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.ranking import COLUMNS, RankingRow, to_csv
from arithmoscope.contracts.results import Checks, Effects, MetricResult, ModelFacts, Plan, Provenance

_NONE = ((None,),)
ROWS = [
    RankingRow(1, "MLP0", "mlp", 0, None, -1.5e-05, None, None, None, 1, "logit", "direct", "x1", "tiny", "r"),
    RankingRow(2, "L0H0", "head", 0, 0, None, 0.5, -1.0, 2.0, 1, "logit", "direct", "", "tiny", "r"),
]
DATATYPES = {"integer": int, "double": float, "string": str}


def result(plan: Plan | None = None, **request: Any) -> PathPatchingResult:
    spec = PathPatchingSpec.model_validate(
        {"kind": "path_patching", "model": "tiny", "metrics": ["logit"], "prompts": {"source": "template"}, **request}
    )
    numbers = Effects(mean=_NONE, std=_NONE, ci_low=_NONE, ci_high=_NONE)
    return PathPatchingResult(
        experiment_id="x1",
        spec=spec,
        effect=spec.effect,
        model=ModelFacts(
            id="tiny", name="Tiny", revision="r", architecture="x", layers=1, heads=1, kv_heads=1, parameters=10
        ),
        complete=True,
        n_asked=3,
        n_distinct=3,
        n_correct=2,
        notes=(),
        pairs=(),
        dropped=(),
        metrics={"logit": MetricResult(unit="logits", n_pairs=1, left_out=0, heads=numbers, mlps=numbers)},
        checks=Checks(noise_floor=1e-6, spot_check=("L0H0", "MLP0"), spot_check_pairs=1, spot_check_error=2e-5),
        provenance=Provenance(
            code_version="0",
            method_version=1,
            torch="0",
            transformers="0",
            dtype="float32",
            device="cpu",
            prompt_set_hash="0",
            chunk_pairs=1,
            plan=plan,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            seconds=1.5,
        ),
    )


def document(**spec: Any) -> dict[str, Any]:
    return json.loads(csv_metadata(result(**spec), "logit", "components.csv?metric=logit"))


def notes(result: dict[str, Any]) -> dict[str, Any]:
    return {note["schema:name"]: note["schema:value"] for note in result["notes"]}


def typed(cell: str, column: dict[str, Any]) -> int | float | str | None:
    """A cell converted by its column's description alone; raises an error if it does not match."""
    if cell == "":
        assert not column["required"], column["name"]
        return None
    kind = column["datatype"] if isinstance(column["datatype"], dict) else {"base": column["datatype"]}
    value = DATATYPES[kind["base"]](cell)
    assert "format" not in kind or re.fullmatch(kind["format"], cell), (cell, kind)
    assert "minimum" not in kind or float(cell) >= kind["minimum"], (cell, kind)
    return value


def test_the_columns_are_those_of_the_file_and_every_cell_is_what_its_column_says():
    columns = document()["tableSchema"]["columns"]
    header, *rows = csv.reader(io.StringIO(to_csv(ROWS)))
    assert [column["titles"][0] for column in columns] == header == list(COLUMNS)
    read = [dict(zip(header, map(typed, row, columns), strict=True)) for row in rows]
    assert (read[0]["effect_mean"], read[0]["head"], read[1]["head"]) == (-1.5e-05, None, 0)
    assert read[1]["effect_mean"] is None


def test_a_unit_stands_at_the_columns_that_have_one_and_at_no_other():
    columns = document()["tableSchema"]["columns"]
    units = {column["name"]: column["schema:unitText"] for column in columns if "schema:unitText" in column}
    assert units == dict.fromkeys(("effect_mean", "effect_std", "ci_low", "ci_high"), "logits")


def test_the_checks_and_the_provenance_of_the_run_are_in_it():
    recorded = notes(document(effect="total", positions="all", source="zero"))
    assert (recorded["checks.noise_floor"], recorded["checks.spot_check_error"]) == (1e-6, 2e-5)
    assert recorded["checks.spot_check"] == "L0H0 MLP0"
    assert [recorded[f"question.{name}"] for name in ("effect", "positions", "source", "direction", "seed")] == [
        "total", "all", "zero", "noising", 0,
    ]  # fmt: skip
    assert {f"provenance.{name}" for name in Provenance.model_fields} - {"provenance.plan"} <= set(recorded)


def test_how_the_work_was_cut_is_in_it_where_that_is_known():
    assert not [name for name in notes(document()) if name.startswith("plan.")]
    plan = Plan(pairs=16, components=512, budget_bytes=2**30)
    recorded = notes(json.loads(csv_metadata(result(plan), "logit", "c.csv")))
    assert {name: value for name, value in recorded.items() if name.startswith("plan.")} == {
        "plan.pairs": 16,
        "plan.components": 512,
        "plan.budget_bytes": 2**30,
    }


@pytest.mark.parametrize(
    ("direction", "words"), [("noising", "negative: taking it away hurts"), ("denoising", "putting it back helps")]
)
def test_the_sign_is_explained_for_the_direction_that_was_asked_for(direction: str, words: str):
    columns = {column["name"]: column for column in document(direction=direction)["tableSchema"]["columns"]}
    assert words in columns["effect_mean"]["dc:description"]


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_a_rank_counts_from_the_most_negative_effect_whichever_the_direction(direction: str):
    columns = {column["name"]: column for column in document(direction=direction)["tableSchema"]["columns"]}
    assert columns["rank"]["dc:description"] == "Place from the most negative mean effect"


def test_a_name_that_is_not_the_vocabularys_own_has_a_prefix():
    # The vocabulary allows no other names: a strict reader refuses the document.
    result = document()
    own = {"@context", "url", "dialect", "tableSchema", "notes"}
    assert all(":" in name for name in set(result) - own)
    assert all(name.startswith(("schema:", "@type")) for note in result["notes"] for name in note)
