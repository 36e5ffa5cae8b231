"""Tests of the parser: it reads complete expressions exactly, and nothing else."""

import itertools
import time
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.prompts.language.arithmetic import MAX_DEPTH, MAX_DIGITS, MAX_QUESTION_CHARACTERS, read
from arithmoscope.prompts.language.lexicon import INFIX_WORDS, NOUNS, SYMBOLS, VERBS
from arithmoscope.prompts.language.readings import Reading
from tests.tables import table

READABLE = {
    "3 + 5 =": 8,
    "3+5=": 8,
    "3 + 5": 8,
    "  3 + 5 =  ": 8,
    "3 + 5 = ?": 8,
    "3 + 5?": 8,
    "9 - 4 =": 5,
    "9 − 4 =": 5,
    "3 - 5 =": -2,
    "3 * 2 =": 6,
    "3 × 2 =": 6,
    "3 x 2 =": 6,
    "3x2=": 6,
    "8 / 2 =": 4,
    "8 ÷ 2 =": 4,
    "7 / 2 * 2 =": 7,
    "-3 + 5 =": 2,
    "5 - -3 =": 8,
    "2 + 3 * 4 =": 14,
    "(2 + 3) * 4 =": 20,
    "-(2 + 3) + 9 =": 4,
    "9 - 4 - 3 =": 2,
    "8 / 4 / 2 =": 1,
    "3 + 5 + 1 =": 9,
    "007 + 1 =": 8,
    "3 plus 5 equals": 8,
    "3 plus 5 equals to": 8,
    "3 plus 5 is": 8,
    "3 plus 5 is equal to": 8,
    "9 minus 4 is": 5,
    "3 times 2 is": 6,
    "3 multiplied by 2 is": 6,
    "8 divided by 2 is": 4,
    "3 added to 5 is": 8,
    "3 subtracted from 5 is": 2,
    "three plus five is": 8,
    "Three Plus Five Is": 8,
    "twenty-five minus five equals": 20,
    "twenty five minus five equals": 20,
    "ninety-nine plus zero is": 99,
    "nine-five=": 4,
    "three + 5 =": 8,
    "The sum of 3 and 5 is": 8,
    "The difference of 9 and 4 is": 5,
    "The difference between 9 and 4 is": 5,
    "The product of 3 and 2 is": 6,
    "The quotient of 8 and 2 is": 4,
    "The addition of 3 and 5 is": 8,
    "The subtraction of 9 and 4 is": 5,
    "The multiplication of 3 and 2 is": 6,
    "The division of 8 and 2 is": 4,
    "The sum of 3, 4 and 5 is": 12,
    "The sum of 3, 4, and 5 is:": 12,
    "The sum of 3 and the product of 2 and 4 is": 11,
    "The sum of the product of 2 and 4 and 3 is": 11,
    "2 times the sum of 3 and 5 is": 16,
    "The sum of (2 + 3) and 4 is": 9,
    "Add 3 and 5": 8,
    "Add 3 to 5.": 8,
    "Add 3, 4 and 5:": 12,
    "Subtract 3 from 5:": 2,
    "Multiply 3 by 2 =": 6,
    "Divide 8 by 2": 4,
    "What is 3 + 5?": 8,
    "What's 3 + 5?": 8,
    "How much is 3 times 2?": 6,
    "Q: What is the sum of 3 and 5? A:": 8,
    "Q: What is 3 + 5?\nA:": 8,
    "Question 2: Compute 3 + 5. Answer:": 8,
    "Question 2: Compute 3 + 5 Answer:": 8,
    "Q: 2 + 2? A: 4 Q: 3 + 5? A:": 8,
    "2 + 3 = 5\n1 + 7 = 8\n3 + 5 =": 8,
    "Tom has 3 apples. 3 + 5 =": 8,
    "3 ^ 2 =": 9,
    "3^2=": 9,
    "3 ** 2 =": 9,
    "3 to the power of 2 is": 9,
    "3 raised to the power 2 is": 9,
    "2 * 3 ^ 2 =": 18,
    "2 ^ 3 ^ 2 =": 512,
    "5 ^ 0 =": 1,
    "3.5 + 2 =": Fraction("5.5"),
    "3 + 5.5. Answer:": Fraction("8.5"),
    "0.1 + 0.2 =": Fraction("0.3"),
    "2.5 + 1.5 =": 4,
    "7.0 / 2 =": Fraction("3.5"),
    "1.5 ^ 2 =": Fraction("2.25"),
    "-2.5 + 1 =": Fraction("-1.5"),
    "one hundred plus one is": 101,
    "two thousand three hundred forty-one minus one is": 2340,
    "twelve thousand plus one is": 12_001,
    "The product of one hundred and five is": 500,
    "9 take away 4 is": 5,
    "Adding 3 to 5 gives": 8,
    "Subtracting 3 from 5 gives": 2,
    "What does 3 plus 5 equal?": 8,
    "not arithmetic at all\n3 + 5 =\n\n": 8,
}

UNREADABLE = [
    "",
    "   \n ",
    "hello",
    "3",
    "3 =",
    "= 3",
    "3 5 + 2 =",
    "3 +",
    "+ 3 5",
    "3 + * 5 =",
    "3 @ 5 =",
    "3 < 5 =",
    "three none five is",
    "The none of 3 and 5 is",
    "7 / 2 =",
    "7 / 0 =",
    "0 / 0 =",
    "1.2.3 + 5 =",
    "3. + 5 =",
    ".5 + 3 =",
    "1.5 / 7 =",
    "1.5 ^ 0.5 =",
    "1,000 + 5 =",
    "8 // 2 =",
    "-3 ^ 2 =",
    "-(1 + 2) ^ 2 =",
    "0 ^ 0 =",
    "2 ^ -1 =",
    "2 ^ 1000 =",
    "3 * * 2 =",
    "5! + 3 =",
    "5! - 3 + 2 =",
    "8 : 2 + 1 =",
    "3 ? 5 + 2 =",
    "f(3 + 5) =",
    "x + 3 =",
    "2y + 3 =",
    "$3 + $5 =",
    "3% of 5 =",
    "3 + 5 = 8",
    "1 + 2 = 3 + 4 =",
    "(3 + 5 =",
    "3 + 5) =",
    "() =",
    "The sum of 3 and 5 times 2 is",
    "The sum of 1 and the product of 2 and 3 and 4 is",
    "The difference of 9, 3 and 2 is",
    "one hundred and five plus one is",
    "hundred plus one is",
    "six-pack plus one is",
    "\u017fix plus one is",
    "-three plus five is",
    "٣ + ٥ =",
    "² + 1 =",
    "The war lasted 5 years from 1723 to 172",
    "__import__('os').system('true') + 1 =",
    "3 + 5 <img onerror>",
    "3 + 5 😀 =",
    "\u202e3 + 5 =",
]


def text_of(prompt: str, spans: list[tuple[int, int]]) -> list[str]:
    return [prompt[start:end] for start, end in spans]


@table("prompt", READABLE)
def test_a_readable_question_has_its_exact_value(prompt: str):
    reading = read(prompt)
    assert (reading and reading.value) == READABLE[prompt]


@table("prompt", UNREADABLE)
def test_what_is_not_understood_whole_is_not_read(prompt: str):
    assert read(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "operands", "operators", "equals"),
    [
        ("2 + 3 = 5\n3 + 5 =", ["3", "5"], ["+"], "="),
        ("3+5=", ["3", "5"], ["+"], "="),
        ("-3 - 5 is equal to", ["-3", "5"], ["-"], "is equal to"),
        ("twenty-five multiplied by two is", ["twenty-five", "two"], ["multiplied by"], "is"),
        ("Q: What is the sum of 3 and 5? A:", ["3", "5"], ["sum"], None),
        ("Subtract 3 from 5 =", ["3", "5"], ["Subtract"], "="),
        ("(3 + 5) × 2 =", ["3", "5", "2"], ["+", "×"], "="),
    ],
)
def test_spans_are_offsets_in_the_whole_prompt(
    prompt: str, operands: list[str], operators: list[str], equals: str | None
):
    reading = read(prompt)
    assert reading is not None
    assert text_of(prompt, [operand.span for operand in reading.operands]) == operands
    assert text_of(prompt, [operator.span for operator in reading.operators]) == operators
    assert (prompt[slice(*reading.equals)] if reading.equals else None) == equals


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("three plus five is", "eight"),
        ("three plus 5 is", "8"),
        ("3 plus 5 is", "8"),
        ("twenty minus thirty-two is", "minus twelve"),
        ("fifty times twenty-one is", "one thousand and fifty"),
        ("one hundred plus nine is", "one hundred nine"),
        ("1.25 + 1.25 =", "2.5"),
        ("1.5 + 1.5 =", "3"),
    ],
)
def test_the_answer_is_written_as_the_operands_are(prompt: str, answer: str):
    reading = read(prompt)
    assert reading is not None
    assert reading.answer == answer


@table("symbol", SYMBOLS)
def test_every_symbol_is_read(symbol: str):
    assert operation_of(f"8 {symbol} 2 =") == SYMBOLS[symbol]


@table("words", INFIX_WORDS)
def test_every_infix_word_is_read(words: tuple[str, ...]):
    operation, is_reversed = INFIX_WORDS[words]
    prompt = f"2 {' '.join(words)} 8 is" if is_reversed else f"8 {' '.join(words)} 2 is"
    assert operation_of(prompt) == operation
    assert read(prompt) is not None
    assert value_of(prompt) == {"add": 10, "subtract": 6, "multiply": 16, "divide": 4, "power": 64}[operation]


@table("noun", NOUNS)
def test_every_noun_is_read(noun: str):
    assert operation_of(f"The {noun} of 8 and 2 is") == NOUNS[noun]


@table(("verb", "connective"), [(verb, word) for verb in VERBS for word in VERBS[verb][1]])
def test_every_verb_is_read_with_every_connective(verb: str, connective: str):
    assert operation_of(f"{verb.capitalize()} 8 {connective} 2:") == VERBS[verb][0] or connective == "from"
    assert operation_of(f"{verb} 4 {connective} 4 =") == VERBS[verb][0]


def operation_of(prompt: str) -> str | None:
    reading = read(prompt)
    return reading.operators[0].operation if reading else None


def value_of(prompt: str) -> int | Fraction | None:
    reading = read(prompt)
    return reading.value if reading else None


@dataclass(frozen=True)
class Expression:
    """An expression as text, its value by ordinary fractions (None: divides by zero), and how tightly it binds."""

    text: str
    value: Fraction | None
    binds: int
    operands: tuple[int, ...]


def number(value: int) -> Expression:
    return Expression(str(value), Fraction(value), 3, (value,))


def combine(sign: str, left: Expression, right: Expression, spaces: str) -> Expression:
    binds = 1 if sign in "+-" else 2
    left_text = left.text if left.binds >= binds else f"({left.text})"
    right_text = right.text if right.binds > binds else f"({right.text})"
    value = None
    if left.value is not None and right.value is not None:
        if sign == "+":
            value = left.value + right.value
        elif sign == "-":
            value = left.value - right.value
        elif sign == "*":
            value = left.value * right.value
        elif right.value:
            value = left.value / right.value
    text = f"{left_text}{spaces}{sign}{spaces}{right_text}"
    return Expression(text, value, binds, left.operands + right.operands)


numbers = st.integers(0, 9_999).map(number)
expressions = st.recursive(
    numbers,
    lambda parts: st.builds(combine, st.sampled_from("+-*/"), parts, parts, st.sampled_from(["", " ", "  "])),
    max_leaves=12,
).filter(lambda written: len(written.operands) > 1)


@given(expressions, st.sampled_from([" =", "=", " is", "?", ""]))
def test_the_value_is_that_of_an_independent_evaluation(written: Expression, ending: str):
    reading = read(written.text + ending)
    whole = written.value is not None and written.value.denominator == 1
    assert (reading.value if reading else None) == (written.value if whole else None)
    if reading:
        assert tuple(operand.value for operand in reading.operands) == written.operands


@given(st.text(max_size=300))
def test_no_text_raises(text: str):
    assert_consistent(text, read(text))


PIECES = [
    *"0123456789+-*/x×÷()=?.:,\n \t😀",
    "Q:",
    "A:",
    "the ",
    "sum of ",
    "add ",
    "from ",
    " and ",
    " plus ",
    "forty-",
]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_no_text_of_arithmetic_pieces_raises(text: str):
    assert_consistent(text, read(text))


def assert_consistent(text: str, reading: Reading | None) -> None:
    """Asserts that the reading agrees with the text."""
    if reading is None:
        return
    for operand in reading.operands:
        expression = text[slice(*operand.span)]
        assert (
            operand.words or Fraction(expression.replace("−", "-").replace("–", "-").replace(" ", "")) == operand.value
        )
    spans = sorted([operand.span for operand in reading.operands] + [operator.span for operator in reading.operators])
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert reading.question[0] <= spans[0][0]
    assert spans[-1][1] <= reading.question[1]


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 3_000,
        "(" * (MAX_DEPTH + 1) + "1 + 1" + ")" * (MAX_DEPTH + 1) + " =",
        "- " * 900 + "1 + 1 =",
        "1 + " * 900 + "1 =",
        "9" * (MAX_DIGITS + 1) + " + 1 =",
        "9" * 3_900 + " + 1 =",
        "twenty-" * 500,
        "Q: " * 1_000,
        "the sum of " * 300 + "1 and 1 is",
        "A:\n" * 1_000,
        "x" * (MAX_QUESTION_CHARACTERS + 1) + " 1 + 1 =",
    ],
)
def test_huge_and_deep_texts_are_declined_quickly(prompt: str):
    started = time.process_time()
    assert read(prompt) is None
    assert time.process_time() - started < 0.25


def test_reading_time_grows_no_faster_than_the_prompt():
    def seconds(lines: int) -> float:
        prompt = "Q: What is 2 + 3? A: 5 " * 8 * lines + "\n" + "twenty " * lines + "\n 3 + 5 ="
        runs = []
        for _ in range(3):
            started = time.process_time()
            assert value_of(prompt) == 8
            runs.append(time.process_time() - started)
        return min(runs)

    assert seconds(4_000) < 0.1
