"""The rules that decide a claim, the sets' two sides, and the drawing: worked by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch
from tiny import tiny_model

from contracts.prompts import PromptPair
from engine.disjoint import shared_operands
from findings import rules
from findings.cells import shown_token, table_of
from findings.knocks import by_form, form_of
from findings.plain import plain
from findings.sets import SETS, ask
from findings.svg import Line, Panel, grid, panels


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
def test_few_heads_are_some_and_less_than_5_percent(share: float, agrees: bool) -> None:
    said, found = rules.few_heads(key(share, [[-1.0]]))
    assert found is agrees
    assert f"{share:.1%}" in said


def test_one_strong_head_is_the_most_negative_of_all_and_at_minus_10_or_below() -> None:
    assert rules.one_strong_head(key(0.1, [[-1.0, 2.0], [-12.0, -3.0]])) == ("L1H0: -12.00 %", True)
    assert rules.one_strong_head(key(0.1, [[-1.0, 30.0], [-9.9, -3.0]])) == ("L1H0: -9.90 %", False)


def transfer(value: float, low: float) -> dict:
    measure = {"value": [[value]], "draws_low": [[low]], "draws_high": [[0.9]], "control": [[0.8]], "plain": [0.85]}
    table = {"sets": ["addition"], "pairs": [7], "probability": measure}
    return {"transfer": table, "sets": [{"name": "addition", "kept_wrong": False}]}


def test_heads_carry_a_set_where_it_falls_below_the_random_draws() -> None:
    assert rules.carries("addition")(transfer(0.5, 0.7))[1] is True
    assert rules.carries("addition")(transfer(0.75, 0.7))[1] is False
    assert rules.carries("year spans")(transfer(0.5, 0.7)) == ("the model cannot be asked this", None)


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


def test_the_two_sides_of_a_set_share_no_operands_whatever_token_is_asked_for() -> None:
    model = tiny_model("LlamaForCausalLM", torch.float32)
    for row in (SETS[0], next(row for row in SETS if row.place == 1)):
        asked = ask(model, row, 40, 8)
        assert asked.found
        assert asked.judged
        assert not shared_operands(asked.found, asked.judged)
        assert asked.kept_wrong
        if row.place:  # the first token of the answer is given
            assert all(pair.reference[-1].isdigit() and len(pair.answer) == 1 for pair in asked.found)


def test_pairs_of_one_form_differ_in_their_numbers_alone() -> None:
    pairs = [PromptPair(f"1 + 1 = 2\n{a} + 2 =", f"{a} @ 2 =", str(a + 2)) for a in range(6)]
    pairs += [PromptPair(f"The sum of {a} and 2 is", "", str(a + 2)) for a in range(2)]
    assert [form_of(pair) for pair in pairs[4:7]] == ["# + # =", "# + # =", "The sum of # and # is"]
    groups = by_form(pairs, pairs)
    assert [(len(mine), len(over)) for mine, over in groups] == [(6, 6)]


def test_what_is_no_number_is_kept_as_none() -> None:
    given = {"a": torch.tensor([1.0, float("nan")]), "b": (float("inf"), 2), "c": 0.123456789}
    assert plain(given) == {"a": [1.0, None], "b": [None, 2], "c": 0.12346}


def test_nothing_that_a_token_is_ends_a_cell() -> None:
    assert table_of(("a",), [(f"`{shown_token(token)}`",) for token in ("|", "`", "\n", " ")]).count("\n") == 5
    assert "\\|" in table_of(("a",), [("x|y",)])


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
    found = [each.text for each in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"+0.5", "-1.0", "+1.0", "a", "d"} <= set(found)
    assert text.count("<rect") == 1 + 4
