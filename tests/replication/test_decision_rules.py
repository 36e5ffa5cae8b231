"""The rules that decide a claim, the two sides of a set, and the figures: worked by hand."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
from tiny import tiny_model  # pyright: ignore[reportMissingImports]

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.measures.key_components import LEAST_QUESTIONS
from arithmoscope.prompts.sets.operand_split import shared_operands
from arithmoscope.replication import decision_rules as rules
from arithmoscope.replication.formatting import markdown_table, visible_token
from arithmoscope.replication.key_components import effects_on, key_numbers
from arithmoscope.replication.knockouts import by_form, form_of
from arithmoscope.replication.plain_numbers import plain
from arithmoscope.replication.prompt_sets import SETS, SetSpec, answer_set, operand_sets
from arithmoscope.replication.svg import Line, Panel, grid, panels
from arithmoscope.replication.transfer import heads_for_half


def key(share: float, heads: list[list[float]]) -> dict:
    row = {
        "threshold_head_share": share,
        "threshold_heads": round(share * 100),
        "fdr_heads": 3,
        "fdr_head_share": 0.03,
        "heads": heads,
    }
    return {"key": {"heads": 100, "metrics": {"relative_logit": row}}}


@pytest.mark.parametrize(("share", "agrees"), [(0.0, False), (0.03, True), (0.05, False), (0.2, False)])
def test_few_heads_means_more_than_none_and_less_than_5_percent(share: float, agrees: bool) -> None:
    verdict, texts = rules.few_heads(key(share, [[-1.0]]))
    assert texts is agrees
    assert f"{share:.1%}" in verdict


def test_one_strong_head_is_the_most_negative_of_all_and_at_minus_10_or_below() -> None:
    assert rules.one_strong_head(key(0.1, [[-1.0, 2.0], [-12.0, -3.0]])) == ("L1H0: -12.00 %", True)
    assert rules.one_strong_head(key(0.1, [[-1.0, 30.0], [-9.9, -3.0]])) == ("L1H0: -9.90 %", False)


def transfer(value: float, low: float, pairs: int = 20) -> dict:
    measure = {"value": [[value]], "draws_low": [[low]], "draws_high": [[0.9]], "control": [[0.8]], "plain": [0.85]}
    measure |= {"low": [[value - 0.1]], "high": [[value + 0.1]]}
    table = {"sets": ["addition"], "pairs": [pairs], "operands": [5], "probability": measure, "accuracy": measure}
    return {"transfer": table | {"controls": ["addition"]}, "sets": [{"name": "addition", "kept_wrong": False}]}


def test_heads_carry_a_set_where_it_falls_below_the_random_draws() -> None:
    assert rules.carries("addition")(transfer(0.5, 0.7))[1] is True
    assert rules.carries("addition")(transfer(0.75, 0.7))[1] is False
    assert rules.carries("addition")(transfer(0.5, 0.7, pairs=7))[1] is None
    assert rules.carries("year spans")(transfer(0.5, 0.7)) == ("the model cannot answer this set", None)


def test_a_control_is_changed_only_by_more_than_5_points_and_more_than_random_heads_change_it() -> None:
    assert rules.others_unchanged(transfer(0.79, 0.7))[1] is True  # -6 points, as random heads
    assert rules.others_unchanged(transfer(0.79, 0.8))[1] is False
    assert rules.others_unchanged(transfer(0.82, 0.84))[1] is True  # -3 points
    assert rules.others_unchanged(transfer(0.6, 0.5))[1] is False  # the whole interval is below -5 points
    assert rules.others_unchanged(transfer(0.1, 0.5, pairs=8))[1] is None  # 7 right answers


def powers(plain: float, value: float, low: float, pairs: int) -> dict:
    names = ("low", "high", "control", "draws_high")
    curve = {"mean": [plain, value], "draws_low": [plain, low], **{name: [plain, value] for name in names}}
    row = {"curves": {"accuracy": curve}, "components": ["L0H0"], "pairs": pairs, "operands": 5}
    return {"powers": row | {"right": 20, "asked": 30}}


def test_powers_fall_where_half_is_lost_and_more_than_to_random_heads_if_there_is_enough_to_lose() -> None:
    assert rules.powers_fall(powers(0.8, 0.4, 0.6, 20))[1] is True
    assert rules.powers_fall(powers(0.8, 0.5, 0.6, 20))[1] is False
    assert rules.powers_fall(powers(0.8, 0.4, 0.3, 20))[1] is False
    assert rules.powers_fall(powers(0.8, 0.0, 0.6, 9))[1] is None
    assert rules.powers_fall(powers(0.2, 0.0, 0.1, 60))[1] is None


def test_the_mean_probability_is_over_all_pairs_used() -> None:
    row = {"probability": 0.8, "found": 12, "judged": 9, "kept_wrong": False}
    assert rules.confident({"addition": row}) == ("80% over the 21 pairs used, all answered correctly", True)
    assert "wrongly" in rules.confident({"addition": row | {"kept_wrong": True}})[0]


def stages(start: int, inflection: int, end: int, layers: int) -> dict:
    return {"lens": {"layers": layers, "stages": {"start": start, "inflection": inflection, "end": end}}}


def test_stages_are_compared_by_their_share_of_the_depth() -> None:
    assert rules.stage_layers(stages(13, 18, 28, 32))[1] is True
    assert rules.stage_layers(stages(26, 36, 56, 64))[1] is True
    assert rules.stage_layers(stages(13, 18, 28, 64))[1] is False


def on_top(*shares: list[float]) -> dict:
    return {"lens": {"on_top": {"pairs": 5, "share": list(shares)}}}


def test_coarse_to_fine_is_operand_then_neighbour_then_answer() -> None:
    ordered = on_top([0.9, 0.1, 0.0, 0.0], [0.0, 0.2, 0.8, 0.1], [0.0, 0.1, 0.2, 0.9], [0.1, 0, 0, 0])
    assert rules.coarse_to_fine(ordered)[1] is True
    assert rules.neighbours_suppressed(ordered)[1] is True
    swapped = on_top([0.0, 0.1, 0.9, 0.0], [0.0, 0.8, 0.2, 0.5], [0.0, 0.1, 0.2, 0.9], [0.1, 0, 0, 0])
    assert rules.coarse_to_fine(swapped)[1] is False
    assert rules.neighbours_suppressed(swapped)[1] is False
    never = on_top([0.9, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 0.9], [0.1, 0, 0, 0])
    for rule in (rules.coarse_to_fine, rules.neighbours_suppressed):
        assert rule(never)[1] is False
        assert "never on top" in rule(never)[0]


def test_the_two_sides_of_a_set_share_no_operands_for_any_measured_token() -> None:
    model = tiny_model("LlamaForCausalLM", torch.float32)
    for row in (SETS[0], next(row for row in SETS if row.place == 1)):
        prompts = answer_set(model, row, 40, 8)
        assert prompts.selection_pairs
        assert prompts.evaluation_pairs
        assert not shared_operands(prompts.selection_pairs, prompts.evaluation_pairs)
        assert not shared_operands(prompts.selection_questions, prompts.evaluation_questions)
        assert prompts.kept_wrong
        if row.place:  # the first token of the answer is given
            assert all(pair.reference[-1].isdigit() and len(pair.answer) == 1 for pair in prompts.selection_pairs)


def test_rewordings_of_one_sum_are_one_unit_and_a_side_takes_as_many_units_as_it_can() -> None:
    model = tiny_model("LlamaForCausalLM", torch.float32)
    prompts = {"operations": ("add",), "operands": (0, 9), "shots": 0, "styles": ("equation", "statement")}
    whole, few = (answer_set(model, SetSpec("s", prompts), 60, a_side) for a_side in (60, 4))
    assert len(set(whole.selection_operands)) < len(whole.selection_pairs)
    assert len(set(few.selection_operands)) == 4
    effects = effects_on(model, whole.selection_pairs, whole.selection_operands)
    assert key_numbers(effects)["operands"] == len(set(operand_sets(whole.selection_pairs)))
    # Asked again in other words, the questions add no information.
    twice = effects_on(model, [*whole.selection_pairs, *whole.selection_pairs], whole.selection_operands * 2)
    once, again = (key_numbers(each)["metrics"]["logit_difference"]["rows"] for each in (effects, twice))
    assert {row["component"] for row in once} == {row["component"] for row in again}
    for name in ("low", "high", "q"):
        assert [row[name] for row in again] == pytest.approx([row[name] for row in once], rel=1e-3, abs=1e-6)


def test_a_set_that_falls_on_one_side_is_refused_with_a_way_out() -> None:
    model = tiny_model("LlamaForCausalLM", torch.float32)
    with pytest.raises(Refusal, match="one side") as refused:
        answer_set(model, SetSpec("s", {"operations": ("add",), "operands": (2, 2), "shots": 0}), 4, 4)
    assert refused.value.way_out == "Ask for more pairs."


def test_only_heads_that_are_off_0_are_counted() -> None:
    model = tiny_model("LlamaForCausalLM", torch.float32)
    prompts = {"operations": ("add",), "operands": (0, 9), "shots": 0}
    each = answer_set(model, SetSpec("s", prompts), 60, 24)
    effects = effects_on(model, each.selection_pairs, each.selection_operands)
    n = len(set(each.selection_operands))
    assert n >= LEAST_QUESTIONS
    sign = torch.tensor([(-1.0) ** at for at in range(len(effects))])[:, None, None]
    noise = replace(effects, heads=sign.expand_as(effects.heads), competitor_heads=torch.zeros_like(effects.heads))
    assert heads_for_half(noise) is None
    real = noise.heads.clone()
    real[:, 0, :2] = -1 - 0.1 * sign[:, 0]
    assert heads_for_half(replace(noise, heads=real)) == 1
    assert heads_for_half(replace(noise, heads=real, questions=("one",) * len(effects))) is None


def test_pairs_of_one_form_differ_in_their_numbers_alone() -> None:
    pairs = [PromptPair(f"1 + 1 = 2\n{a} + 2 =", f"{a} @ 2 =", str(a + 2)) for a in range(6)]
    pairs += [PromptPair(f"The sum of {a} and 2 is", "", str(a + 2)) for a in range(2)]
    assert [form_of(pair) for pair in pairs[4:7]] == ["# + # =", "# + # =", "The sum of # and # is"]
    groups = by_form(pairs, pairs)
    assert [(len(own), len(over)) for own, over in groups] == [(6, 6)]


def test_what_is_no_number_is_kept_as_none() -> None:
    values = {"a": torch.tensor([1.0, float("nan")]), "b": (float("inf"), 2), "c": 0.123456789}
    assert plain(values) == {"a": [1.0, None], "b": [None, 2], "c": 0.12346}


def test_nothing_that_a_token_is_ends_a_cell() -> None:
    assert markdown_table(("a",), [(f"`{visible_token(token)}`",) for token in ("|", "`", "\n", " ")]).count("\n") == 5
    assert "\\|" in markdown_table(("a",), [("x|y",)])


def test_a_gap_breaks_a_line_and_any_name_is_text() -> None:
    name = '<script>&"'
    panel = Panel(name, [Line(name, [0.0, None, 1.0, 2.0], [0.0, None, 0.5, 1.0], [0.1, None, 1.5, 3.0])], "k", "y")
    text = panels(name, [panel])
    ElementTree.fromstring(text)
    assert text.count("<polyline") == 2
    assert "<script>" not in text
    assert text == panels(name, [panel])


def test_a_grid_has_a_cell_a_number_and_says_those_that_exist() -> None:
    text = grid("t", [[0.5, None], [-1.0, 1.0]], ["a", "b"], ["c", "d"], low=-1, high=1, middle=0, numbers="+.1f")
    texts = [each.text for each in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"+0.5", "-1.0", "+1.0", "a", "d"} <= set(texts)
    assert text.count("<rect") == 1 + 4
