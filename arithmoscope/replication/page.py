"""The report as a page, made of its numbers alone: the same numbers give the same page."""

from __future__ import annotations

from arithmoscope.replication.formatting import bracket, number, of_operands, signed, table_of, words
from arithmoscope.replication.page_attention_and_lens import lens_chapter, roles_chapter, writes_chapter
from arithmoscope.replication.page_knockouts import carried, controls, knockouts, powers, written
from arithmoscope.replication.plain_numbers import Numbers

# Fewer sets of operands on either side are worth a word of caution.
FEW_OPERANDS = 20


def page_of(numbers: Numbers) -> str:
    """docs/findings/<model>.md."""
    parts = [
        _opening(numbers),
        _claims(numbers),
        _sets(numbers),
        _key(numbers),
        knockouts(numbers),
        written(numbers),
        powers(numbers),
        carried(numbers),
        controls(numbers),
        roles_chapter(numbers),
        lens_chapter(numbers),
        writes_chapter(numbers),
        _closing(numbers),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(numbers: Numbers) -> str:
    model, run = numbers["model"], numbers["run"]
    short = (
        "\n\n**A quick run: few prompts and draws. It shows that all parts run, and finds nothing.**"
        if run["quick"]
        else ""
    )
    return f"""# What {model["name"]} shows of the paper's findings

Written by `arithmoscope replicate`; not by hand. All numbers: [{model["file"]}.json]({model["file"]}.json).
Model `{model["id"]}`, revision `{model["revision"]}`, {model["layers"]} layers of {model["heads"]} heads and an MLP,
{model["parameters"] / 1e6:.1f} M parameters, {model["dtype"]}. Code {run["code"]}; {run["software"]}; {run["machine"]}.
{run["date"]}, {run["seconds"]:.0f} s.{short}

The paper: Zhang et al., *Interpreting and Improving Large Language Models in Arithmetic Calculation*, ICML 2024. Its
numbers are of LLaMA2-7B. What is said here is about this model alone: a "no" does not refute the paper.

Components are found on some operands and judged on others; no pair of operands is on both sides. n counts pairs of
prompts, in round brackets the sets of operands that they are about: 3 + 5, 5 + 3 and "the sum of 3 and 5" are one.
Rewordings are not independent, so that intervals (95 %, in square brackets) and false discovery rates are by bootstrap
over sets of operands. Random heads are of the same layers as those that they stand for where there are others; the
brackets beside them hold 95 % of {run["draws"]} draws.{_few(numbers)}"""


def _few(numbers: Numbers) -> str:
    """Where the operands of the story are few, because few sums have an answer of one token."""
    found, judged = numbers["addition"]["operands"]
    if min(found, judged) >= FEW_OPERANDS:
        return ""
    return (
        f"\n\nOne-digit sums with an answer of one token that the model gets right are about few operands here: "
        f"{found} sets to find on, {judged} to judge on. Intervals over so few are rather too narrow."
    )


def _claims(numbers: Numbers) -> str:
    rows = [(row["section"], row["says"], row["shows"], row["rule"], row["agrees"]) for row in numbers["claims"]]
    count = {
        verdict: sum(row["agrees"] == verdict for row in numbers["claims"]) for verdict in ("yes", "no", "not tested")
    }
    header = ("", "the paper says", "this model shows", "agrees if", "agrees?")
    return f"""## The paper's claims

{count["yes"]} agree, {count["no"]} do not, {count["not tested"]} could not be tested. The last column is filled in by
code, by the rule beside it; the first is where the claim belongs: 1 finding the components, 2 knocking them out,
3 understanding them, 4 carrying them over.

{table_of(header, rows)}"""


def _sets(numbers: Numbers) -> str:
    rows = []
    for each in [numbers["addition"] | {"name": "the story: one-digit sums"}, *numbers["sets"]]:
        kept = "all, also wrong ones" if each["kept_wrong"] else "answered rightly"
        shown = f"`{each['example']}`"
        counts = " + ".join(
            f"{n} ({operands})" for n, operands in zip((each["found"], each["judged"]), each["operands"], strict=True)
        )
        name = each["name"] + (" (control)" if each["control"] else "")
        rows.append(
            (name, shown, f"{each['right']} of {each['asked']}", kept, counts, number(each["probability"], ".2f"))
        )
    refused = "".join(f"\n- {each['name']}: not asked. {each['reason']}" for each in numbers["not_asked"])
    return f"""## What was asked, and what the model answers

All with solved examples before the question. Accuracy is of the top token after the prompt; where fewer than ten and
fewer than half are right on either side, wrong answers are kept, and the probability of the answer says more than
accuracy. It is the mean over the pairs that are used. A set without arithmetic is a control. "Pairs" counts the side
that components are found on, and the side that they are judged on.

{table_of(("set", "example", "right", "kept", "pairs", "probability of the answer"), rows)}{refused}"""


def _key(numbers: Numbers) -> str:
    key, file = numbers["key"], numbers["model"]["file"]
    rows = []
    for metric, row in key["metrics"].items():
        threshold = (
            ""
            if row["threshold_heads"] is None
            else f"{row['threshold_heads']} heads ({row['threshold_head_share']:.1%}), {row['threshold_mlps']} MLPs"
        )
        by_rate = (
            "too few operands"
            if not row["tested"]
            else f"{row['fdr']} of {row['tested']} components, {row['fdr_heads']} heads ({row['fdr_head_share']:.1%})"
        )
        n = of_operands({"pairs": row["pairs"], "operands": key["operands"]})
        rows.append((words(metric), n, by_rate, threshold, ", ".join(row["top_heads"])))
    tops = []
    for row in key["metrics"]["relative_logit"]["rows"][:15]:
        tops.append((row["component"], signed(row["mean"]), bracket(row, "+.2f"), number(row["q"], ".2g")))
    counted = table_of(("metric", "n", "key by a false discovery rate of 5 %", "below -5 %", "top 10 heads"), rows)
    return f"""## Which components are key

One-digit addition, {key["pairs"]} pairs, {key["operands"]} sets of operands. Each component's output at the last
position is replaced by what it wrote on the prompt without the calculation, later MLPs are recomputed, other
heads frozen (the paper's path patching). Noise floor {key["noise"]:.1e} logits. A mean effect that is off 0
need not be large: read the size.
{key["shared_by_both_metrics"]} of the top 10 heads are the same by both metrics.

{counted}

![Effects of all heads and MLPs]({file}/heads.svg)

The fifteen most negative, percent of the answer's logit; q is the smallest false discovery rate at which one passes:

{table_of(("component", "mean", "95 %", "q"), tops)}"""


def _closing(numbers: Numbers) -> str:
    parts = ", ".join(f"{part} {seconds:.0f}" for part, seconds in numbers["run"]["parts"].items())
    return f"""## How it was made

Seconds: {parts}. Methods, and when they mislead: [path patching](../methods/path_patching.md),
[key components](../methods/key.md), [knock-out](../methods/knockout.md), [transfer](../methods/transfer.md),
[attention by role](../methods/roles.md), [the lens](../methods/lens.md),
[what a component writes](../methods/writes.md); [about this report](README.md)."""
