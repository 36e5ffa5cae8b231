"""What the paper says beside what this model shows: each claim with the rule that decides, applied by this code alone.

A rule reads the numbers that were measured and nothing else. Layers are compared as shares of the model's depth, as
the paper's model has 32. "Not tested" is said where the numbers do not exist or are of too few answers, never where
they are unwelcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arithmoscope.replication import decision_rules as rules
from arithmoscope.replication.decision_rules import NEAR, Shown
from arithmoscope.replication.plain_numbers import Numbers
from arithmoscope.replication.prompt_sets import POWERS, PROBLEMS

Verdict = Literal["yes", "no", "not tested"]


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, where it stands (in the order of the page), and how it is decided."""

    section: str
    says: str
    rule: str
    decide: Callable[[Numbers], Shown]


def judged(numbers: Numbers) -> list[dict[str, str]]:
    """Every claim with what the model shows and the verdict."""
    rows = []
    for claim in CLAIMS:
        shown, agrees = claim.decide(numbers)
        verdict: Verdict = "not tested" if agrees is None else "yes" if agrees else "no"
        rows.append(
            {"section": claim.section, "says": claim.says, "shows": shown, "rule": claim.rule, "agrees": verdict}
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
        "median of the top 10's layers between 12/32 and 18/32 of the depth",
        rules.middle_layers,
    ),
    Claim(
        "1",
        "MLPs matter from layer 17 of 32 on.",
        "mean size from 17/32 of the depth on is at least twice that before",
        rules.late_mlps,
    ),
    Claim(
        "1",
        "Each late MLP carries about 10 %.",
        "mean size from 17/32 of the depth on between 5 and 20 %",
        rules.mlp_size,
    ),
    Claim("1", "+ and - share almost all heads.", "at least 8 of the top 10 shared", rules.plus_and_minus),
    Claim(
        "1",
        "x and / use more heads than + and -.",
        "more heads carry half of all that hurts, in both; heads count whose interval is below 0",
        rules.times_uses_more,
    ),
    Claim(
        "2",
        "The top 10 heads out: accuracy 100 % -> 30.2 %.",
        "at most half is left, and p <= 0.05 against random heads",
        rules.accuracy_falls,
    ),
    Claim("2", "Ten random heads out: 98 %.", "at least 95 % of the right answers are left", rules.random_heads_do_not),
    Claim(
        "2",
        "Exponentiation with five heads out: -62 to -66 %.",
        "at least half of the right answers are lost, more than in 95 % of the random draws",
        rules.powers_fall,
    ),
    Claim(
        "2",
        "Other abilities are unchanged (MMLU-Humanities 42.9 -> 42.6).",
        "no set without arithmetic loses more than 5 points and more than in 95 % of the random draws, and none more "
        "than 5 with 95 % confidence",
        rules.others_unchanged,
    ),
    Claim(
        "3",
        "Key heads look at the operands or the operator.",
        "at least half of the top 10, and more often than heads at large",
        rules.look_at_the_question,
    ),
    Claim(
        "3", "There are operand heads and operator heads.", "at least one of each among the top 10", rules.both_classes
    ),
    Claim(
        "3",
        "The stream's cosine with the operands rises, then falls.",
        "a rise that is over before the last layer, in 95 % of the draws of questions",
        rules.operands_rise_and_fall,
    ),
    Claim(
        "3",
        "MLPs write the answer from the inflection on.",
        "their cosine with it is larger than before, and above 0, less other numbers'",
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
        "each kind is on top most often later than the one before",
        rules.coarse_to_fine,
    ),
    Claim(
        "3",
        "Neighbours of the answer peak late and are suppressed.",
        "peak in the second half, at the end at most half of it",
        rules.neighbours_suppressed,
    ),
    *(
        Claim(
            "4",
            f"Heads of one-digit sums carry {said}, too.",
            "the answer's probability falls below 95 % of the random draws",
            rules.carries(name),
        )
        for said, name in _CARRIED
    ),
    Claim(
        "4",
        "SVAMP falls by 66 % without them.",
        "at least half of the right answers are lost, more than in 95 % of the random draws",
        rules.problems_fall,
    ),
    Claim("4", "6 of the top 10 are among those found on GSM8K.", "at least 6 of 10 shared", rules.found_on_problems),
)
