"""Tests of the words of options: every field and every value has them, and every copy of them is fresh."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pytest

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import KINDS
from arithmoscope.contracts.options import Exclusion, refuse_excluded
from arithmoscope.contracts.vocabulary import CHOICES, EXCLUSIONS, MODELS, VALUES, FieldTerms, fields_of

ROOT = Path(__file__).resolve().parents[2]
FIELDS = [(model, field) for model, cls in MODELS.items() for field in fields_of(cls).values()]
FIELD_IDS = [f"{model}.{field.name}" for model, field in FIELDS]
ROWS = [(model, row) for model, rows in EXCLUSIONS.items() for row in rows]
# Facts about a spec that rows may name beside its fields.
FACTS: dict[str, set[str]] = {"path_patching": {"several_prompts"}, "knockout": {"answer", "several_prompts"}}
# Fields that tell the models of a union apart.
TAGS = ("kind", "source")


def literals(annotation: Any) -> Iterator[tuple[Any, ...]]:
    """The values of every Literal inside an annotation."""
    if get_origin(annotation) is Literal:
        yield get_args(annotation)
    for part in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from literals(part)


def test_the_page_and_the_docs_have_the_words_of_the_specs():
    checked = subprocess.run(
        [sys.executable, "scripts/write_vocabulary.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout) == (0, ""), "out of date: make vocabulary"


def test_the_generator_loads_no_torch_and_no_server():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import write_vocabulary; write_vocabulary.typescript();"
        "print(sorted({'torch', 'transformers', 'numpy', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("model", "field"), FIELDS, ids=FIELD_IDS)
def test_every_field_has_a_label_and_one_line_of_help(model: str, field: FieldTerms):
    for text in (field.label, field.help):
        assert text == text.strip() != ""
        assert text[0].isupper(), text
        assert "\n" not in text
        assert not text.endswith("."), text
    assert len(field.label) <= 40
    assert len(field.help) <= 100


@pytest.mark.parametrize(("model", "field"), FIELDS, ids=FIELD_IDS)
def test_every_number_is_bounded_and_every_count_has_its_unit(model: str, field: FieldTerms):
    annotation = MODELS[model].model_fields[field.name].annotation
    types = {annotation, *get_args(annotation)} - {NoneType}
    if types & {int, float}:
        assert field.minimum is not None or field.above is not None
        assert field.maximum is not None
    if types == {int} and field.name not in ("seed", "decimals"):
        assert field.unit


def test_a_field_with_the_same_meaning_has_the_same_words_in_every_spec():
    words: dict[str, set[str]] = {}
    for _, field in FIELDS:
        if field.name in (
            "kind",
            "model",
            "shots",
            "corruption",
            "chat",
            "keep_wrong",
            "controls",
            "ablation",
            "effect",
        ):
            words.setdefault(field.name, set()).add(field.label)
    assert {name: labels for name, labels in words.items() if len(labels) > 1} == {}


@pytest.mark.parametrize("model", MODELS)
def test_every_value_of_every_field_has_a_choice(model: str):
    for name, field in MODELS[model].model_fields.items():
        for values in literals(field.annotation):
            assert name in TAGS or values in VALUES.values(), f"{name} has no table of choices"


@pytest.mark.parametrize("name", CHOICES)
def test_a_table_has_exactly_one_choice_per_value_in_their_order(name: str):
    assert tuple(CHOICES[name]) == VALUES[name]
    labels = [choice.label for choice in CHOICES[name].values()]
    assert len(set(labels)) == len(labels)
    for choice in CHOICES[name].values():
        assert choice.label[0].islower() or choice.label == "LoRA", choice.label
        assert choice.help
        assert not choice.help.endswith(".")
        assert "\n" not in choice.help


def test_no_two_tables_have_the_same_values():
    assert len(set(VALUES.values())) == len(VALUES)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_has_a_title_and_help(kind):
    assert kind.title[0].isupper()
    assert kind.help[0].islower()
    assert not kind.help.endswith(".")


@pytest.mark.parametrize(("model", "row"), ROWS, ids=[f"{model}.{row.option}" for model, row in ROWS])
def test_an_exclusion_names_options_and_values_that_exist(model: str, row: Exclusion):
    fields = fields_of(MODELS[model])
    assert row.option in fields
    for name, values in ((row.option, row.values or ()), *row.needs.items()):
        if name not in fields:
            assert name in FACTS[model], name
        elif choices := fields[name].choices:
            assert set(values) <= set(VALUES[choices]), name
        assert values or row.values is None
    assert row.reason[0].islower()
    assert not row.reason.endswith(".")
    assert row.way_out.endswith(".")
    if row.values is None:
        assert not fields[row.option].required


def test_a_row_excludes_its_values_unless_the_others_have_what_they_need():
    row = Exclusion(
        "a", ("x", "y"), {"b": (1,), "c": ("z",)}, "no", "{a} needs b, which is {b}.", "Choose.", "bad_request"
    )
    for a, b, c in product(("x", "w", ("w",), ("y", "w", "x")), (1, 2), ("z", None)):
        excluded = (b, c) != (1, "z") and a not in ("w", ("w",))
        if not excluded:
            refuse_excluded([row], {"a": a, "b": b, "c": c})
            continue
        with pytest.raises(Refusal) as refused:
            refuse_excluded([row], {"a": a, "b": b, "c": c})
        assert refused.value.code == "bad_request"
        assert refused.value.detail == f"{'x' if a == 'x' else 'y or x'} needs b, which is {b}."


def test_a_row_without_values_excludes_all_but_the_default():
    row = Exclusion("a", None, {"b": (None,)}, "no", "No.", "Choose.")
    refuse_excluded([row], {"a": (1, 9), "b": 5}, {"a": (1, 9)})
    with pytest.raises(Refusal):
        refuse_excluded([row], {"a": (1, 8), "b": 5}, {"a": (1, 9)})
