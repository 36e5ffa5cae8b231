"""The decision rules of the claims: from the numbers to what the model shows, in words, and whether that agrees with
the paper.

Layers are compared as shares of the depth, as the paper's model has 32.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from arithmoscope.contracts.components import Component
from arithmoscope.replication.formatting import fmt, interval
from arithmoscope.replication.plain_numbers import Numbers
from arithmoscope.replication.prompt_sets import ADDITION, PROBLEMS

# What the model shows, in words, and whether that agrees with the paper (None: not tested).
Decision = tuple[str, bool | None]

PAPER_LAYERS = 32
# Maximum distance of a share of the depth from the paper's.
NEAR = 0.1
# A fall is not judged over fewer pairs; with fewer correct answers, or a smaller share of them, there is nothing to
# lose.
LEAST_PAIRS = 8
LEAST_ACCURACY = 0.25

# ---- Section 1: find the components


def few_heads(numbers: Numbers) -> Decision:
    row = numbers["key"]["metrics"]["relative_logit"]
    share, count = row["threshold_head_share"], row["threshold_heads"]
    text = f"{count} of {numbers['key']['heads']} heads ({share:.1%}) below -5 %; "
    text += f"{row['fdr_heads']} ({row['fdr_head_share']:.1%}) at a false discovery rate of 5 %"
    return text, 0 < share < 0.05


def any_key(numbers: Numbers) -> Decision:
    row = numbers["key"]["metrics"]["relative_logit"]
    first = _strongest_head(numbers)
    return f"{row['threshold_heads']} heads; the strongest is {first[0]} with {first[1]:+.2f} %", row[
        "threshold_heads"
    ] > 0


def _strongest_head(numbers: Numbers) -> tuple[str, float]:
    heads = numbers["key"]["metrics"]["relative_logit"]["heads"]
    mean, layer, head = min((mean, layer, head) for layer, row in enumerate(heads) for head, mean in enumerate(row))
    return f"L{layer}H{head}", mean


def one_strong_head(numbers: Numbers) -> Decision:
    name, mean = _strongest_head(numbers)
    return f"{name}: {mean:+.2f} %", mean <= -10


def confident(numbers: Numbers) -> Decision:
    row = numbers["addition"]
    value, n = row["probability"], row["found"] + row["judged"]
    kept = "including wrongly answered ones" if row["kept_wrong"] else "all answered correctly"
    return f"{value:.0%} over the {n} pairs used, {kept}", abs(value - 0.82) <= 0.1


def middle_layers(numbers: Numbers) -> Decision:
    names = numbers["key"]["metrics"]["relative_logit"]["top_heads"]
    layers = numbers["key"]["layers"]
    head_layers = [Component.parse(name).layer for name in names]
    if not head_layers:
        return "no head hurts", None
    middle = median(head_layers)
    return (
        f"layers {min(head_layers)} to {max(head_layers)} of {layers}, median {middle:g}",
        12 / PAPER_LAYERS <= middle / layers <= 18 / PAPER_LAYERS,
    )


def late_mlps(numbers: Numbers) -> Decision:
    early, late = _mlp_sizes(numbers)
    return f"mean absolute effect {late:.2f} % from there on, {early:.2f} % before", late >= 2 * early


def mlp_size(numbers: Numbers) -> Decision:
    _, late = _mlp_sizes(numbers)
    return f"mean absolute effect {late:.2f} %", 5 <= late <= 20


def _mlp_sizes(numbers: Numbers) -> tuple[float, float]:
    mlps = [abs(value) for value in numbers["key"]["metrics"]["relative_logit"]["mlps"]]
    cut = round(len(mlps) * 17 / PAPER_LAYERS)
    return sum(mlps[:cut]) / cut, sum(mlps[cut:]) / (len(mlps) - cut)


def plus_and_minus(numbers: Numbers) -> Decision:
    text, agrees = _shared(numbers, ADDITION, "subtraction", least=8)
    halves = numbers["transfer"]["halves"]
    if agrees is None or halves is None:
        return text, agrees
    n = " and ".join(str(pairs) for pairs in halves["pairs"])
    return (
        f"{text} (two halves of addition, {n} pairs, share {halves['shared']}: two sets cannot be expected to share "
        "more)",
        agrees,
    )


def _shared(numbers: Numbers, one: str, other: str, least: int) -> Decision:
    table = numbers["transfer"]
    if one not in table["sets"] or other not in table["sets"]:
        return "the model cannot answer this set", None
    a, b = table["sets"].index(one), table["sets"].index(other)
    shared, rank = table["shared"][a][b], table["rank_correlation"][a][b]
    text = f"{shared} of {table['top']} shared; rank correlation of all components {fmt(rank, '+.2f')}; "
    text += f"n = {_n(table, 'found_', a)} and {_n(table, 'found_', b)}"
    return text + _caution(numbers, one, other), shared >= least


def _n(table: Numbers, side: str, index: int) -> str:
    return f"{table[f'{side}pairs'][index]} ({table[f'{side}operands'][index]} sets of operands)"


def _caution(numbers: Numbers, *names: str) -> str:
    weak = [each["name"] for each in numbers["sets"] if each["name"] in names and each["kept_wrong"]]
    return f" (mostly answered wrongly: {', '.join(weak)})" if weak else ""


def times_uses_more(numbers: Numbers) -> Decision:
    table = numbers["transfer"]
    operations = (ADDITION, "subtraction", "multiplication", "division")
    if any(name not in table["sets"] for name in operations):
        return "the model cannot answer all four sets", None
    counts = [table["heads_for_half"][table["sets"].index(name)] for name in operations]
    each = [
        f"{sign} {'n/a' if count is None else count} of n = {_n(table, 'found_', table['sets'].index(name))}"
        for sign, count, name in zip("+-x/", counts, operations, strict=True)
    ]
    text = (
        "heads that carry half of the total negative effect, over heads whose interval is below 0: "
        + ", ".join(each)
        + _caution(numbers, *operations)
    )
    known = [count for count in counts if count is not None]
    return text, min(known[2:]) > max(known[:2]) if len(known) == len(operations) else None


# ---- Section 2: knock-out


def _knocked(numbers: Numbers) -> Numbers | None:
    return next((row for row in numbers["knockouts"] if row["name"] == "heads, paper's metric, mean"), None)


def accuracy_falls(numbers: Numbers) -> Decision:
    row = _knocked(numbers)
    if row is None or not row["components"]:
        return "no head hurts", None
    curve = row["curves"]["accuracy"]
    k = len(row["components"])
    text = (
        f"{curve['mean'][0]:.1%} -> {curve['mean'][k]:.1%} {interval(curve['low'][k], curve['high'][k], '.1%')} "
        f"with {k} knocked out, n = {row['pairs']} ({row['operands']} sets of operands); "
        f"p = {fmt(curve['p_value'][k], '.2g')} against {row['draws']} random draws"
    )
    if row["pairs"] < LEAST_PAIRS:
        return text, None
    return text, curve["mean"][k] <= 0.5 * curve["mean"][0] and curve["p_value"][k] <= 0.05


def random_heads_do_not(numbers: Numbers) -> Decision:
    row = _knocked(numbers)
    if row is None or not row["components"]:
        return "no head hurts", None
    curve = row["curves"]["accuracy"]
    k = len(row["components"])
    kept = curve["control"][k] / curve["mean"][0] if curve["mean"][0] else 0.0
    draws = f"{curve['draws_low'][k]:.1%} to {curve['draws_high'][k]:.1%}"
    text = f"{curve['control'][k]:.1%} [draws {draws}], from {curve['mean'][0]:.1%}, n = {row['pairs']}"
    return text, kept >= 0.95 if row["pairs"] >= LEAST_PAIRS else None


def powers_fall(numbers: Numbers) -> Decision:
    row = numbers.get("powers")
    if row is None:
        return "the model cannot answer enough powers", None
    curve = row["curves"]["accuracy"]
    k = len(row["components"])
    point = {name: curve[name][k] for name in ("low", "high", "control", "draws_low", "draws_high")}
    point |= {"plain": curve["mean"][0], "value": curve["mean"][k]}
    text, agrees = _half_lost(point, row["pairs"], row["operands"])
    return (
        f"{text} ({k} heads of addition knocked out; {row['right']} of {row['asked']} powers are answered correctly)",
        agrees,
    )


def _half_lost(point: Numbers, pairs: int, operands: int) -> Decision:
    """Decides whether at least half of the correct answers are lost, and more than with random heads."""
    text = (
        f"accuracy {point['plain']:.0%} -> {point['value']:.0%} {interval(point['low'], point['high'], '.0%')}; "
        f"random {_random(point)}; n = {pairs} ({operands} sets of operands)"
    )
    if point["plain"] < LEAST_ACCURACY or round(point["plain"] * pairs) < LEAST_PAIRS:
        return f"{text}: too few correct answers to lose any", None
    return text, point["value"] <= 0.5 * point["plain"] and point["value"] < point["draws_low"]


def _random(point: Numbers) -> str:
    return f"{fmt(point['control'], '.0%')} {interval(point['draws_low'], point['draws_high'], '.0%')}".strip()


def others_unchanged(numbers: Numbers) -> Decision:
    """A set counts as changed if it falls by more than 5 points and below the random draws, or by more than 5 with 95 %
    confidence.
    """
    table = numbers["transfer"]
    addition = _row(table, ADDITION)
    if addition is None or not table["controls"]:
        return "not measured", None
    lines, changed = [], []
    for name in table["controls"]:
        index = table["sets"].index(name)
        cell, n = _cell(table, "accuracy", addition, index), table["pairs"][index]
        change = cell["value"] - cell["plain"]
        bounds = "" if cell["high"] is None else f" [{_points(cell, 'low'):+.0f}, {_points(cell, 'high'):+.0f}]"
        random = (
            ""
            if cell["draws_low"] is None
            else f" [{_points(cell, 'draws_low'):+.0f}, {_points(cell, 'draws_high'):+.0f}]"
        )
        lines.append(f"{name} {100 * change:+.0f}{bounds}, random {_points(cell, 'control'):+.0f}{random}, n = {n}")
        if round(cell["plain"] * n) < LEAST_PAIRS:
            lines[-1] += " (too few correct)"
            continue
        below = cell["draws_low"] is not None and cell["value"] < cell["draws_low"]
        surely = cell["high"] is not None and cell["high"] < cell["plain"] - 0.05
        changed.append((change < -0.05 and below) or surely)
    text = f"points of accuracy: {'; '.join(lines)} (no MMLU here; sets without arithmetic stand in for it)"
    return text, not any(changed) if changed else None


def _points(point: Numbers, name: str) -> float:
    return 100 * (point[name] - point["plain"])


def _cell(table: Numbers, measure: str, source: int, target: int) -> Numbers:
    """One cell of the matrix, with the value when nothing is knocked out."""
    row = table[measure]
    return {"plain": row["plain"][target]} | {name: row[name][source][target] for name in row if name != "plain"}


def _row(table: Numbers, name: str) -> int | None:
    return table["sets"].index(name) if name in table["sets"] else None


# ---- Section 3: understand


def look_at_the_question(numbers: Numbers) -> Decision:
    roles = numbers["roles"]
    among, everywhere = roles["counts_among"], roles["counts"]
    n, heads = sum(among.values()), sum(everywhere.values())
    named = among["operand"] + among["operator"]
    text = (
        f"{among['operand']} operand and {among['operator']} operator heads among the top {n}; "
        f"{everywhere['operand']} and {everywhere['operator']} among all {heads}"
    )
    return text, 2 * named >= n and named / n > (everywhere["operand"] + everywhere["operator"]) / heads if n else None


def both_classes(numbers: Numbers) -> Decision:
    among = numbers["roles"]["counts_among"]
    return f"{among['operand']} operand, {among['operator']} operator", among["operand"] > 0 and among["operator"] > 0


def operands_rise_and_fall(numbers: Numbers) -> Decision:
    stages = numbers["lens"]["raw_stages"]
    if stages["inflection"] is None:
        return "the curve is highest in the last layer, or never rises", False
    return f"highest rise in layer {stages['inflection']}; found in {stages['found']:.0%} of the draws", stages[
        "found"
    ] >= 0.95


def answer_rises_later(numbers: Numbers) -> Decision:
    lens = numbers["lens"]
    turn = lens["stages"]["inflection"]
    if turn is None:
        return "no inflection", None
    own = [a - b for a, b in zip(lens["answer"], lens["answer_other"], strict=True)]
    before, after = sum(own[:turn]) / max(1, turn), sum(own[turn:]) / (len(own) - turn)
    text = f"mean cosine minus that with other numbers: {before:+.4f} before layer {turn}, {after:+.4f} from there on"
    return text, after > before and after > 0


def stage_layers(numbers: Numbers) -> Decision:
    stages, layers = numbers["lens"]["stages"], numbers["lens"]["layers"]
    own_layers = [stages[name] for name in ("start", "inflection", "end")]
    if None in own_layers:
        return "the rule finds no such stages", False
    paper = (13, 18, 28)
    shares = [layer / layers for layer in own_layers]
    text = (
        "-".join(str(layer) for layer in own_layers) + f" of {layers} = " + "-".join(f"{share:.2f}" for share in shares)
    )
    near = all(abs(share - layer / PAPER_LAYERS) <= NEAR for share, layer in zip(shares, paper, strict=True))
    return f"{text} (paper: {'-'.join(f'{layer / PAPER_LAYERS:.2f}' for layer in paper)})", near


def coarse_to_fine(numbers: Numbers) -> Decision:
    peaks = _peaks(numbers)
    if peaks is None:
        return "no question in which the kinds can be told apart", None
    text = "; ".join(
        f"{kind} {'never on top' if peak is None else f'most often at stage {peak}'}"
        for kind, peak in zip(("an operand", "one off the answer", "the answer"), peaks, strict=True)
    )
    known = [peak for peak in peaks if peak is not None]
    return f"top number: {text}", len(known) == len(peaks) and known[0] < known[1] < known[2]


def neighbours_suppressed(numbers: Numbers) -> Decision:
    peaks = _peaks(numbers)
    if peaks is None:
        return "no question in which the kinds can be told apart", None
    if peaks[1] is None:
        return "one off the answer is never on top", False
    share = numbers["lens"]["on_top"]["share"][1]
    top, end = max(share), share[-1]
    text = f"{top:.0%} of the questions at stage {peaks[1]} of {len(share) - 1}, {end:.0%} at the end"
    return text, peaks[1] > (len(share) - 1) / 2 and end <= top / 2


def _peaks(numbers: Numbers) -> list[int | None] | None:
    """The stages at which an operand, a neighbour and the answer are most often the top number; None for one that never
    is.
    """
    on_top = numbers["lens"]["on_top"]
    if not on_top["pairs"]:
        return None
    return [share.index(max(share)) if max(share) > 0 else None for share in on_top["share"][:3]]


# ---- Section 4: transfer


def carries(name: str) -> Callable[[Numbers], Decision]:
    def decide(numbers: Numbers) -> Decision:
        table = numbers["transfer"]
        addition, target = _row(table, ADDITION), _row(table, name)
        if addition is None or target is None:
            return "the model cannot answer this set", None
        row = _cell(table, "probability", addition, target)
        text = (
            f"probability {row['plain']:.2f} -> {row['value']:.2f} {interval(row['low'], row['high'], '.2f')}; random "
            f"heads {fmt(row['control'], '.2f')} {interval(row['draws_low'], row['draws_high'], '.2f')}, "
            f"n = {_n(table, '', target)}"
        )
        text += _caution(numbers, name)
        return text, None if table["pairs"][target] < LEAST_PAIRS else row["value"] < row["draws_low"]

    return decide


def problems_fall(numbers: Numbers) -> Decision:
    table = numbers["transfer"]
    addition, target = _row(table, ADDITION), _row(table, PROBLEMS)
    if addition is None or target is None:
        return "the model cannot answer this set", None
    text, agrees = _half_lost(
        _cell(table, "accuracy", addition, target), table["pairs"][target], table["operands"][target]
    )
    return f"{text}; our own word problems, not SVAMP{_caution(numbers, PROBLEMS)}", agrees


def found_on_problems(numbers: Numbers) -> Decision:
    text, agrees = _shared(numbers, ADDITION, PROBLEMS, least=6)
    return f"{text}; our own word problems, not GSM8K", agrees
