"""Tests of the shared vocabulary: spellings round-trip, limits hold, equal questions have equal keys."""

from __future__ import annotations

import copy
import csv
import io
import pickle
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import (
    PROBLEMS,
    BadPrompt,
    Code,
    ModelNotFound,
    OutOfMemory,
    Refusal,
    UnsupportedModel,
)
from arithmoscope.contracts.kinds import experiment_key
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.ranking import COLUMNS, RankingRow, to_csv
from tests.tables import table

CUSTOM = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}]}
TEMPLATE = {"source": "template"}


def spec(prompts=None, **more):
    return PathPatchingSpec.model_validate(
        {"kind": "path_patching", "model": "m", "prompts": prompts or CUSTOM, **more}
    )


def key(spec, **more):
    return experiment_key(spec, **{"revision": "r", "dtype": "float32", "device_kind": "auto", **more})


@given(st.integers(0, 9999), st.none() | st.integers(0, 9999))
def test_a_component_reads_back_as_it_was_written(layer, head):
    assert Component.parse(str(Component(layer, head))) == Component(layer, head)


def test_components_are_spelled_as_promised():
    assert [str(Component(14, 2)), str(Component(19))] == ["L14H2", "MLP19"]
    assert [str(c) for c in all_components(2, 2)] == ["L0H0", "L0H1", "MLP0", "L1H0", "L1H1", "MLP1"]


@pytest.mark.parametrize("text", ["", "L14", "l14h2", "L14H02", "L-1H2", "MLP", " L1H2", "L1H2\n", "L1H99999", "L١H2"])
def test_any_other_spelling_is_refused_with_the_way_out(text):
    with pytest.raises(Refusal, match="L14H2"):
        Component.parse(text)


def test_every_problem_says_a_way_out_in_a_sentence():
    for code, problem in PROBLEMS.items():
        assert 400 <= problem.status < 600, code
        assert problem.way_out.endswith("."), code


def test_a_refusal_survives_a_process_border():
    again = pickle.loads(pickle.dumps(Refusal("no_prompts", "Nothing.", "Ask.")))
    assert (again.code, again.detail, again.way_out) == ("no_prompts", "Nothing.", "Ask.")


def test_every_code_has_a_row():
    assert get_args(Code) == tuple(PROBLEMS)


@table("code", PROBLEMS)
def test_the_table_decides_the_class_of_a_refusal(code):
    refusal = Refusal(code, "Why.", "Way out.")
    assert type(refusal) is PROBLEMS[code].error
    for again in (pickle.loads(pickle.dumps(refusal)), copy.copy(refusal), refusal.details().refusal()):
        assert (type(again), again.code, str(again)) == (type(refusal), code, str(refusal))


def test_a_refusal_is_caught_by_its_class():
    with pytest.raises(ModelNotFound, match="Unknown model: There is none"):
        raise Refusal("unknown_model", "There is none.")
    with pytest.raises(UnsupportedModel):
        raise Refusal("bad_model_files", "They are empty.")
    with pytest.raises(BadPrompt):
        raise BadPrompt("empty_prompt", "It is empty.")
    assert not isinstance(Refusal("out_of_memory", "It is full."), MemoryError), "the engine catches those to retry"
    assert isinstance(Refusal(code="out_of_memory", detail="It is full."), OutOfMemory)


@pytest.mark.parametrize(
    ("tuner", "read"),
    [
        ("precise", {"components", "tune", "biases", "head_scale"}),
        ("random", {"components", "tune", "biases", "head_scale"}),
        ("lora", {"components", "tune", "biases"}),
        ("offsets", {"components"}),
        ("full_matrices", set()),
        ("full", set()),
    ],
)
def test_what_a_tuner_does_not_read_asks_no_other_question(tuner, read):
    def tuning(**more):
        spec = {"kind": "fine_tune", "model": "m", "prompts": TEMPLATE, "tuner": tuner, "components": ["L1H2"]}
        return key(FineTuneSpec.model_validate({**spec, **more}))

    others = {"components": ["MLP0"], "tune": ["v"], "biases": True, "head_scale": True}
    assert {name for name, value in others.items() if tuning(**{name: value}) != tuning()} == read
    assert tuning(seed=1) != tuning(), "the order of the questions is drawn by it"


def test_the_same_question_has_the_same_key_however_it_is_written():
    written_out = spec(
        {**CUSTOM, "shots": 0, "keep_wrong": True, "corruption": "null_operator"},
        effect="through_mlps",
        metrics=["logit", "relative_logit", "logit_difference"],
    )
    assert key(spec()) == key(written_out)


def test_options_that_came_later_and_are_left_alone_give_the_key_that_there_was_before():
    # Keys from before these options existed: earlier experiments are still found.
    assert key(spec()) == "c7a1ecdb84014ea067f9a648d45fac6e5dc3d7f67072582fd3ba08a645df2425"
    assert key(spec(positions="end", source="counterfactual", direction="noising")) == key(spec())
    assert key(spec(TEMPLATE)) == "84e569d1d8e710cfab4b4a70b2f6510fd836bb0462fdc2dec2188b99f30dcf46"
    left_alone = {"topic": "question", "wording": "plain", "numerals": "digits", "decimals": 0, "answer": "whole"}
    assert key(spec({**TEMPLATE, **left_alone, "half": None})) == key(spec(TEMPLATE))
    assert key(spec({**CUSTOM, "answer": "whole"})) == key(spec())


def test_a_way_to_make_counterfactuals_is_no_part_of_the_question_where_each_was_given():
    prompts = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 =", "counterfactual": "3 @ 5 ="}]}
    assert key(spec({**prompts, "corruption": "operand_swap"})) == key(spec(prompts))
    assert key(spec({**CUSTOM, "corruption": "operand_swap"})) != key(spec())


def test_the_positions_that_are_patched_are_part_of_the_question():
    assert key(spec(effect="total", positions="all")) != key(spec(effect="total"))


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(spec({**CUSTOM, "shots": 1})),
        lambda: key(spec({**CUSTOM, "chat": True})),
        lambda: key(spec(source="zero")),
        lambda: key(spec(direction="denoising")),
        lambda: key(spec(effect="total")),
        lambda: key(spec(effect="direct")),
        lambda: key(spec(), revision="s"),
        lambda: key(spec(), dtype="bfloat16"),
        lambda: key(spec(TEMPLATE)),
    ],
)
def test_what_moves_the_numbers_moves_the_key(other):
    assert other() != key(spec())


def test_every_option_of_a_set_moves_its_key():
    changes = [
        {},
        {"topic": "facts"},
        {"wording": "varied"},
        {"numerals": "words"},
        {"decimals": 1},
        {"answer": "first"},
        {"answer": "each"},
        {"operations": ["power"]},
        {"half": "first"},
        {"half": "second"},
    ]
    assert len({key(spec({**TEMPLATE, **change})) for change in changes}) == len(changes)
    assert key(spec({**CUSTOM, "answer": "each"})) != key(spec())


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompts": {"source": "custom", "shots": 0, "pairs": []}},
        {"prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": "x" * 4001}]}},
        {"prompts": {**CUSTOM, "shots": 9}},
        {"prompts": {**TEMPLATE, "operands": [5, 2]}},
        {"prompts": {**TEMPLATE, "operands": [-1, 2]}},
        {"prompts": {**TEMPLATE, "pairs": 10_001}},
        {"prompts": {**TEMPLATE, "operations": ["add", "add"]}},
        {"prompts": {**TEMPLATE, "seed": 2**31}},
        {"metrics": []},
        {"metrics": ["logit", "logit"]},
        {"effect": "total-ish"},
        {"extra": 1},
    ],
)
def test_specs_are_closed_and_bounded(wrong):
    with pytest.raises(ValidationError):
        PathPatchingSpec.model_validate({"kind": "path_patching", "model": "m", "prompts": CUSTOM, **wrong})


@pytest.mark.parametrize(
    ("fields", "why", "way_out"),
    [
        ({"positions": "all", "effect": "direct"}, "Positions 'all' needs", "'total'"),
        ({"positions": "all"}, "Positions 'all' needs", "'end'"),
        ({"direction": "denoising", "source": "zero"}, "Direction 'denoising' needs", "'noising'"),
        ({"direction": "denoising", "source": "mean", "prompts": TEMPLATE}, "Direction", "'counterfactual'"),
        ({"source": "mean"}, "The source 'mean' needs several prompts", "a set of prompts"),
        ({"source": "resample", "prompts": {**TEMPLATE, "pairs": 1}}, "several prompts", "'zero'"),
    ],
)
def test_options_that_do_not_go_together_are_refused_with_the_way_out(fields, why, way_out):
    with pytest.raises(ValidationError) as refused:
        spec(**fields)
    (error,) = refused.value.errors()
    assert error["type"] == "impossible_options"
    assert why in error["msg"]
    assert way_out in error.get("ctx", {})["way_out"]


@pytest.mark.parametrize(
    "fields",
    [
        {"effect": "total", "positions": "all", "source": "zero"},
        {"effect": "total", "positions": "all", "direction": "denoising"},
        {"effect": "direct", "direction": "denoising"},
        {"source": "resample", "prompts": TEMPLATE},
    ],
)
def test_every_other_combination_can_be_asked_for_and_reads_back(fields):
    assert PathPatchingSpec.model_validate_json(spec(**fields).model_dump_json()) == spec(**fields)


@given(st.text(max_size=20))
def test_no_cell_of_the_ranking_is_a_formula(text):
    row = RankingRow(1, "L0H0", "head", 0, 0, -1.5, None, None, None, 1, "logit", "direct", text, text, text)
    (cells,) = list(csv.DictReader(io.StringIO(to_csv([row]))))
    assert list(cells) == list(COLUMNS)
    assert cells["effect_mean"] == "-1.5"
    for name in ("experiment_id", "model", "revision"):
        assert cells[name].lstrip()[:1] not in ("=", "+", "-", "@")
