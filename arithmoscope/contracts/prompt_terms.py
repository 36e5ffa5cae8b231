"""Vocabulary of prompts and prompt sets: option values with their labels, and limits."""

from __future__ import annotations

from typing import Literal

from arithmoscope.contracts.options import Choice

Operation = Literal["add", "subtract", "multiply", "divide", "power"]
OPERATION_CHOICES: dict[Operation, Choice] = {
    "add": Choice("addition", "sums", "3 + 5"),
    "subtract": Choice("subtraction", "differences", "5 - 3"),
    "multiply": Choice("multiplication", "products", "3 * 5"),
    "divide": Choice("division", "quotients without a remainder", "6 / 3"),
    "power": Choice("powers", "a base and an exponent of at most 12", "3 ^ 2"),
}
Style = Literal["equation", "statement", "question"]
STYLE_CHOICES: dict[Style, Choice] = {
    "equation": Choice("equation", "in symbols", "3 + 5 ="),
    "statement": Choice("statement", "a sentence that ends before the answer", "3 plus 5 equals to"),
    "question": Choice("question", "a question and the beginning of an answer", "Q: What is the sum of 3 and 5? A:"),
}
Corruption = Literal["null_operator", "operand_swap", "operand_swap_same_answer", "operator_swap"]
CORRUPTION_CHOICES: dict[Corruption, Choice] = {
    "null_operator": Choice("removing the operator", "a sign without meaning takes its place", "3 @ 5 ="),
    "operand_swap": Choice("changing the operands", "other operands with another answer", "2 + 7 ="),
    "operand_swap_same_answer": Choice(
        "changing the operands, same answer", "a control: other operands with the same answer", "2 + 6 ="
    ),
    "operator_swap": Choice("changing the operator", "another operation on the same operands", "3 - 5 ="),
}
# Subject of a template set. The last four contain no arithmetic: they are controls.
Topic = Literal["question", "year_span", "counting", "word_problem", "facts", "grammar", "antonyms", "sequences"]
TOPIC_CHOICES: dict[Topic, Choice] = {
    "question": Choice("calculations", "plain calculations", "3 + 5 ="),
    "year_span": Choice("spans of years", "the end or the start of a span", "The war lasted 5 years from 1723 to 172"),
    "counting": Choice(
        "counting", "two groups counted together", "There are 3 dogs and 5 cats. The number of animals is"
    ),
    "word_problem": Choice(
        "word problems", "a calculation told as a story", "A farmer has 3 sheep and buys 5. The farmer now has"
    ),
    "facts": Choice("facts", "a control without arithmetic", "The capital of France is"),
    "grammar": Choice("grammar", "a control without arithmetic", "The past tense of go is"),
    "antonyms": Choice("antonyms", "a control without arithmetic", "The opposite of hot is"),
    "sequences": Choice("sequences", "a control without arithmetic", "The day that comes after Monday is"),
}
Wording = Literal["plain", "varied"]
WORDING_CHOICES: dict[Wording, Choice] = {
    "plain": Choice("a few", "a few common wordings"),
    "varied": Choice("all", "all wordings, at least twelve per operation and style"),
}
Numerals = Literal["digits", "words"]
NUMERAL_CHOICES: dict[Numerals, Choice] = {
    "digits": Choice("in digits", "numbers as digits", "12"),
    "words": Choice("in words", "numbers as words", "twelve"),
}
# Half of the operands: components are found on one and evaluated on the other.
Half = Literal["first", "second"]
HALF_CHOICES: dict[Half, Choice] = {
    "first": Choice("first half", "one half of all operands, for finding components"),
    "second": Choice("second half", "the other half, for testing them"),
}
# Treatment of an answer of several tokens: refused, measured at its first token, or measured at each token with the
# tokens before it given.
AnswerTokens = Literal["whole", "first", "each"]
ANSWER_TOKENS_CHOICES: dict[AnswerTokens, Choice] = {
    "whole": Choice("left out", "such questions are not drawn; such a prompt of your own is refused"),
    "first": Choice("first token only", "measured at their first token"),
    "each": Choice("each token", "measured at every token, with those before it given"),
}
Role = Literal["first", "shot", "operand_a", "operator", "operand_b", "equals", "other"]

MAX_PAIRS = 10_000
MAX_PROMPT_CHARACTERS = 4_000
MAX_ANSWER_CHARACTERS = 64
MAX_PROMPT_TOKENS = 1_024
MAX_SHOTS = 8
# Worked examples before a calculation, unless a spec sets its own number: without them models answer almost nothing.
DEFAULT_SHOTS = 2
MAX_OPERAND = 9_999
MAX_DECIMALS = 2
