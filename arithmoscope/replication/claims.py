"""The paper's claims, compared with this model's results. Each is decided by a rule, which this code alone applies.

A rule reads the measured numbers and nothing else. Layers are compared as shares of the model's depth, as the paper's
model has 32. The verdict is "not tested" where the numbers do not exist or rest on too few answers, never because they
are unwelcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arithmoscope.replication import decision_rules as rules
from arithmoscope.replication.decision_rules import NEAR, Decision
from arithmoscope.replication.plain_numbers import Numbers
from arithmoscope.replication.prompt_sets import POWERS, PROBLEMS

Verdict = Literal["yes", "no", "not tested"]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, its section on the page, the rule in words, and the function that applies it."""

    section: str
    statement: str
    rule: str
    decide: Callable[[Numbers], Decision]


def evaluate_claims(numbers: Numbers) -> list[dict[str, str]]:
    """Every claim with what the model shows and the verdict."""
    rows = []
    for claim in CLAIMS:
        shown, agrees = claim.decide(numbers)
        verdict: Verdict = "not tested" if agrees is None else "yes" if agrees else "no"
        rows.append(
            {"section": claim.section, "says": claim.statement, "shows": shown, "rule": claim.rule, "agrees": verdict}
        )
    return rows


_CARRIED = (
    ("multi-digit sums", "two digits, second digit"),
    ("decimals", "decimals, first digit"),
    ("year spans", "year spans"),
    ("subtraction", "subtraction"),
    ("multiplication", "multiplication"),
    ("division", "division"),
    ("exponentiation", POWERS),
    ("word problems", PROBLEMS),
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "1",
        "Less than 5 % of the heads are key (below -5 % of the answer's logit).",
        "0 < share < 5 %",
        rules.few_heads,
    ),
    Claim("1", "There are key heads below -5 %.", "at least one", rules.any_key),
    Claim(
        "1",
        "One head alone costs 14 % of the answer's logit.",
        "the strongest head is at -10 % or below",
        rules.one_strong_head,
    ),
    Claim("1", "The kept answers have a mean probability of about 82 %.", "within 10 points", rules.confident),
    Claim(
        "1",
        "Key heads lie in the middle: layers 12-17 of 32.",
        "the median layer of the top 10 is between 12/32 and 18/32 of the depth",
        rules.middle_layers,
    ),
    Claim(
        "1",
        "MLPs matter from layer 17 of 32 on.",
        "the mean absolute effect from 17/32 of the depth on is at least twice that before",
        rules.late_mlps,
    ),
    Claim(
        "1",
        "Each late MLP carries about 10 %.",
        "the mean absolute effect from 17/32 of the depth on is between 5 and 20 %",
        rules.mlp_size,
    ),
    Claim("1", "+ and - share almost all heads.", "at least 8 of the top 10 are shared", rules.plus_and_minus),
    Claim(
        "1",
        "x and / use more heads than + and -.",
        "in both, more heads are needed to carry half of the total negative effect, over heads whose interval is "
        "below 0",
        rules.times_uses_more,
    ),
    Claim(
        "2",
        "Knocking out the top 10 heads: accuracy 100 % -> 30.2 %.",
        "at most half of the accuracy is left, and p <= 0.05 against random heads",
        rules.accuracy_falls,
    ),
    Claim(
        "2",
        "Knocking out ten random heads: 98 %.",
        "at least 95 % of the correct answers are left",
        rules.random_heads_do_not,
    ),
    Claim(
        "2",
        "Exponentiation with five heads knocked out: -62 to -66 %.",
        "at least half of the correct answers are lost, more than in 95 % of the random draws",
        rules.powers_fall,
    ),
    Claim(
        "2",
        "Other abilities are unchanged (MMLU-Humanities 42.9 -> 42.6).",
        "no set without arithmetic loses more than 5 points and more than in 95 % of the random draws, and none "
        "loses more than 5 points with 95 % confidence",
        rules.others_unchanged,
    ),
    Claim(
        "3",
        "Key heads look at the operands or the operator.",
        "at least half of the top 10, and a larger share than among all heads",
        rules.look_at_the_question,
    ),
    Claim(
        "3", "There are operand heads and operator heads.", "at least one of each among the top 10", rules.both_classes
    ),
    Claim(
        "3",
        "The stream's cosine with the operands rises, then falls.",
        "the rise ends before the last layer, in 95 % of the bootstrap draws of questions",
        rules.operands_rise_and_fall,
    ),
    Claim(
        "3",
        "MLPs write the answer from the inflection on.",
        "their cosine with the answer, minus that with other numbers, is larger than before and above 0",
        rules.answer_rises_later,
    ),
    Claim(
        "3",
        "Start, inflection and end at layers 13, 18 and 28 of 32.",
        f"each within {NEAR:g} of the depth",
        rules.stage_layers,
    ),
    Claim(
        "3",
        "Lens: operands first, then wrong neighbours, then the answer.",
        "each kind is most often the top number at a later stage than the kind before",
        rules.coarse_to_fine,
    ),
    Claim(
        "3",
        "Neighbours of the answer peak late and are suppressed.",
        "the share peaks in the second half, and at the end is at most half of the peak",
        rules.neighbours_suppressed,
    ),
    *(
        Claim(
            "4",
            f"The heads found on one-digit sums also carry {topic}.",
            "the answer's probability falls below 95 % of the random draws",
            rules.carries(name),
        )
        for topic, name in _CARRIED
    ),
    Claim(
        "4",
        "Accuracy on SVAMP falls by 66 % without them.",
        "at least half of the correct answers are lost, more than in 95 % of the random draws",
        rules.problems_fall,
    ),
    Claim(
        "4", "6 of the top 10 are among those found on GSM8K.", "at least 6 of 10 are shared", rules.found_on_problems
    ),
)
