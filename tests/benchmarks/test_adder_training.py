"""The training of `adder`: operands, lines, tokenizer, batches, exam and rule; and that a seed decides the weights."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch

from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.readings import Applied, Leaf, Reading
from benchmarks.adder.batches import draw_batch
from benchmarks.adder.exam import Row, groups, right_answers
from benchmarks.adder.lines import draw_asker
from benchmarks.adder.operands import OPERATIONS, all_pairs, examined, is_held_out
from benchmarks.adder.rule import shipped_seed
from benchmarks.adder.training import Recipe, new_model, train
from benchmarks.adder.vocabulary import LINE_END, NOTHING, UNKNOWN, build_tokenizer

TINY = replace(Recipe(), layers=1, heads=2, hidden=16, mlp=32, steps=3, rows=2)
LINES = 3_000


@pytest.fixture(scope="module")
def lines():
    rng = Random(5)
    return [draw_asker(rng)(rng) for _ in range(LINES)]


def test_the_answers_of_the_lines_are_those_that_the_product_reads_in_their_questions(lines):
    nothing = 0
    for line in lines:
        reading = parse_question(line.question)
        if line.answer == NOTHING:
            nothing += 1
            assert reading is None, line
        else:
            assert reading is not None, line
            assert reading.answer == line.answer
    assert 0.03 * LINES < nothing < 0.1 * LINES


def test_no_line_has_operands_that_are_held_out(lines):
    trained = 0
    for line in lines:
        reading = parse_question(line.question)
        match reading:
            case Reading(expression=Applied(operation, Leaf(left), Leaf(right))):
                a, b = (int(reading.operands[place].value) for place in (left, right))
                if reading.stem:  # 1723 + 5, asked for its last digit, is 3 + 5
                    a %= 10 ** len(reading.answer)
                assert not is_held_out(operation, a, b), line
                trained += 1
    assert trained > LINES / 2


def test_a_held_out_sum_is_held_out_in_both_orders_and_every_operation_has_some():
    for operation in OPERATIONS:
        held_out = [pair for pair in all_pairs(operation) if is_held_out(operation, *pair)]
        assert 0.1 < len(held_out) / len(all_pairs(operation)) < 0.2, operation
    assert all(is_held_out("add", a, b) == is_held_out("add", b, a) for a, b in all_pairs("add"))
    for a, b in examined("multiply", tables=True, held_out=True):
        assert not is_held_out("multiply", b, a), "the other order tells the product"


def test_no_two_questions_of_an_exam_row_ask_the_same_sum():
    for group in groups():
        assert len({line.question for line in group.lines}) == len(group.lines), group.name
    for held_out in (True, False):
        for tables in (True, False):
            pairs = examined("add", tables=tables, held_out=held_out)
            assert len({frozenset(pair) for pair in pairs}) == len(pairs)


def test_every_word_of_lines_and_exam_is_a_token_and_the_decoder_writes_them_back(lines):
    tokenizer = build_tokenizer()
    unknown = tokenizer.token_to_id(UNKNOWN)
    asked = [*lines, *(line for group in groups() for line in group.lines[:20])]
    changed = 0
    for line in asked:
        text = f"{line.question} {line.answer}"
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert unknown not in ids, text
        written = tokenizer.decode(ids)
        assert "".join(written.split()) == "".join(text.split())
        assert tokenizer.encode(written, add_special_tokens=False).ids == ids
        changed += written != text
    # Compact equations get spaces; the digits of a year are one number ("to 172 8" is "to 1728").
    assert changed < 0.12 * len(asked)
    for text in ("2 + 3 = 5\n12 + 35 =", "Q: How much is twenty-five minus 3? A:", "(3 + 5) =", "Ann's age is"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_batch_learns_answers_and_line_ends_only():
    tokenizer = build_tokenizer()
    batch = draw_batch(tokenizer, Random(1), rows=8, length=96)
    assert batch.ids.shape == batch.wanted.shape == batch.learned.shape == (8, 96)
    assert torch.equal(batch.ids[:, 1:], batch.wanted[:, :-1])
    line_end = tokenizer.token_to_id(LINE_END)
    assert (batch.wanted == line_end).sum() == (batch.learned & (batch.wanted == line_end)).sum() > 0
    assert tokenizer.token_to_id("=") not in batch.wanted[batch.learned].tolist()


def test_the_same_seed_gives_the_same_weights_bit_by_bit_and_another_seed_others():
    threads = torch.get_num_threads()
    try:
        first, again, other = (train(TINY, seed)[0].state_dict() for seed in (3, 3, 4))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_an_answer_is_right_if_all_of_its_tokens_and_the_line_end_are():
    tokenizer = build_tokenizer()
    model = new_model(TINY, 0)
    wanted = tokenizer.encode(f"47{LINE_END}", add_special_tokens=False).ids

    class Always:
        """A model that writes the same tokens after every question."""

        def __init__(self, written):
            self.written = written

        def __call__(self, ids):
            logits = torch.zeros(*ids.shape, model.config.vocab_size)
            for row, sequence in enumerate(ids.tolist()):
                place = sequence.index(tokenizer.token_to_id("="))
                for offset, token in enumerate(self.written):
                    logits[row, place + offset, token] = 1
            return type("Out", (), {"logits": logits})

    line = next(line for group in groups() for line in group.lines if line.answer == "47" and line.question[-1] == "=")
    assert right_answers(Always(wanted), tokenizer, [line]) == [True]
    assert right_answers(Always([*wanted[:2], wanted[0]]), tokenizer, [line]) == [False]


def _exam(sums: int, differences: int, controls: int):
    rows = [
        Row("plain wordings", "add, up to 99", True, 0, 100, sums),
        Row("plain wordings", "subtract, up to 99", True, 0, 100, differences),
    ]
    return [*rows, *(Row("controls", name, None, 0, 50, controls) for name in "abcd")]


def test_the_rule_ships_the_lowest_seed_that_meets_every_threshold():
    assert shipped_seed({0: _exam(97, 100, 50), 1: _exam(98, 98, 50), 2: _exam(100, 100, 50)}) == 1
    assert shipped_seed({0: _exam(100, 100, 49), 1: _exam(100, 97, 50)}) is None


def test_an_interval_holds_its_share_and_is_wilsons():
    low, high = Row("p", "n", True, 0, 100, 98).interval
    assert (round(low, 4), round(high, 4)) == (0.93, 0.9945)
    assert Row("p", "n", True, 0, 10, 10).interval[1] == 1.0
