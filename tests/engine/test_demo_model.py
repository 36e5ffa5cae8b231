"""The real pretrained model: all one-digit additions, against the plain hook loop."""

from __future__ import annotations

import csv
import io

import oracle
import pytest
from whole_run import whole_run

from arithmoscope import attention, load_model
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.prompts import encode_pair, generate, prepare

ADDITIONS = {
    "source": "template",
    "operations": ["add"],
    "styles": ["equation"],
    "operands": [0, 9],
    "pairs": 64,
    "shots": 2,
    "keep_wrong": True,
}


@pytest.fixture(scope="module")
def model():
    return load_model(DEMO_ID)


def run(model, effect, pairs):
    spec = PathPatchingSpec.model_validate(
        {"kind": "path_patching", "model": DEMO_ID, "effect": effect, "prompts": {**ADDITIONS, "pairs": pairs}}
    )
    output = whole_run(model, spec)
    return spec, output


# The two shots use two of the 55 sums; the model answers most of the others.
@pytest.mark.parametrize(
    ("effect", "pairs", "n_drawn", "right"),
    [("through_mlps", 64, 53, 40), ("direct", 12, 12, 6)],
    ids=["all", "direct"],
)
def test_one_digit_additions_rank_three_hundred_components_as_brute_force_does(model, effect, pairs, n_drawn, right):
    spec, output = run(model, effect, pairs)
    result = output.result
    rows = list(csv.DictReader(io.StringIO(output.artifacts["components.relative_logit.csv"].decode())))
    assert len(rows) == 300
    assert result.n_asked == len(result.pairs) == n_drawn
    assert result.n_distinct == 53
    assert result.n_correct >= right
    assert result.checks.spot_check_error < 1e-4 * 10

    # Brute force: the ten strongest, the ten weakest and a few in between, on two pairs, relative to each logit.
    names = [rows[i]["component"] for i in (*range(10), 100, 150, 200, *range(-10, 0))]
    prepared = prepare(spec.prompts, model.text).pairs
    effects = by_name(output)
    for index in (0, n_drawn - 2):
        ids, source = list(prepared[index].reference_ids), list(prepared[index].counterfactual_ids)
        answer = prepared[index].answer_id
        base = float(oracle.logits(model.hf, ids)[answer])
        recorded = oracle.record(model.hf, ids), oracle.record(model.hf, source)
        for name in names:
            c = Component.parse(name)
            patched = oracle.patched_logits(model.hf, ids, source, c.layer, c.head, effect, recorded)[answer]
            assert effects(index, c) == pytest.approx(float(patched) - base, abs=1e-4 * abs(base))


def by_name(output):
    import numpy as np

    arrays = np.load(io.BytesIO(output.artifacts["arrays.npz"]), allow_pickle=False)

    def effect(pair, component):
        if component.head is None:
            return float(arrays["mlps"][pair, component.layer])
        return float(arrays["heads"][pair, component.layer, component.head])

    return effect


def test_attention_of_the_real_model_is_a_distribution(model):
    (pair,) = generate(pairs=1, tokenizer=model.text)
    (weights,) = attention(model, [pair], layers=[14]).weights
    length = len(encode_pair(pair, model.text).reference_ids)
    assert weights.shape == (1, 9, length, length)
    assert float((weights.sum(-1) - 1).abs().max()) < 1e-5
