"""How each claim is decided: the numbers in, what the model shows in words and whether that is what the paper says.

Layers are compared as shares of the depth, as the paper's model has 32.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from contracts.components import Component
from findings.plain import Numbers
from findings.sets import ADDITION, PROBLEMS

# In words what the model shows, and whether that is what the paper says (None: not tested).
Shown = tuple[str, bool | None]

PAPER_LAYERS = 32
# How far a share of the depth may be from the paper's.
NEAR = 0.1

# ---- Section 1: find the components


def few_heads(numbers: Numbers) -> Shown:
    row = numbers["key"]["metrics"]["relative_logit"]
    share, count = row["threshold_head_share"], row["threshold_heads"]
    said = f"{count} of {numbers['key']['heads']} heads ({share:.1%}) below -5 %; "
    said += f"{row['fdr_heads']} ({row['fdr_head_share']:.1%}) by a false discovery rate of 5 %"
    return said, 0 < share < 0.05


def any_key(numbers: Numbers) -> Shown:
    row = numbers["key"]["metrics"]["relative_logit"]
    first = _strongest_head(numbers)
    return f"{row['threshold_heads']} heads; the strongest is {first[0]} with {first[1]:+.2f} %", row[
        "threshold_heads"
    ] > 0


def _strongest_head(numbers: Numbers) -> tuple[str, float]:
    heads = numbers["key"]["metrics"]["relative_logit"]["heads"]
    mean, layer, head = min((mean, layer, head) for layer, row in enumerate(heads) for head, mean in enumerate(row))
    return f"L{layer}H{head}", mean


def one_strong_head(numbers: Numbers) -> Shown:
    name, mean = _strongest_head(numbers)
    return f"{name}: {mean:+.2f} %", mean <= -10


def confident(numbers: Numbers) -> Shown:
    value = numbers["addition"]["probability"]
    return f"{value:.0%} over {numbers['key']['pairs']} pairs that are answered rightly", abs(value - 0.82) <= 0.1


def middle_layers(numbers: Numbers) -> Shown:
    names = numbers["key"]["metrics"]["relative_logit"]["top_heads"]
    layers = numbers["key"]["layers"]
    at = [Component.parse(name).layer for name in names]
    if not at:
        return "no head hurts", None
    middle = median(at)
    return (
        f"layers {min(at)} to {max(at)} of {layers}, median {middle:g}",
        12 / PAPER_LAYERS <= middle / layers <= 18 / PAPER_LAYERS,
    )


def late_mlps(numbers: Numbers) -> Shown:
    early, late = _mlp_sizes(numbers)
    return f"mean size {late:.2f} % from there on, {early:.2f} % before", late >= 2 * early


def mlp_size(numbers: Numbers) -> Shown:
    _, late = _mlp_sizes(numbers)
    return f"mean size {late:.2f} %", 5 <= late <= 20


def _mlp_sizes(numbers: Numbers) -> tuple[float, float]:
    mlps = [abs(value) for value in numbers["key"]["metrics"]["relative_logit"]["mlps"]]
    cut = round(len(mlps) * 17 / PAPER_LAYERS)
    return sum(mlps[:cut]) / cut, sum(mlps[cut:]) / (len(mlps) - cut)


def plus_and_minus(numbers: Numbers) -> Shown:
    return _shared(numbers, ADDITION, "subtraction", least=8)


def _shared(numbers: Numbers, one: str, other: str, least: int) -> Shown:
    table = numbers["transfer"]
    if one not in table["sets"] or other not in table["sets"]:
        return "the model cannot be asked this", None
    a, b = table["sets"].index(one), table["sets"].index(other)
    shared, rank = table["shared"][a][b], table["rank_correlation"][a][b]
    said = f"{shared} of {table['top']} shared; rank correlation of all components {rank:+.2f}"
    return said + _caution(numbers, one, other), shared >= least


def _caution(numbers: Numbers, *names: str) -> str:
    weak = [each["name"] for each in numbers["sets"] if each["name"] in names and each["kept_wrong"]]
    return f" (mostly answered wrongly: {', '.join(weak)})" if weak else ""


def times_uses_more(numbers: Numbers) -> Shown:
    table = numbers["transfer"]
    wanted = (ADDITION, "subtraction", "multiplication", "division")
    if any(name not in table["sets"] for name in wanted):
        return "not all four can be asked", None
    plus, minus, times, divide = (table["heads_for_half"][table["sets"].index(name)] for name in wanted)
    said = f"heads that carry half of what hurts: + {plus}, - {minus}, x {times}, / {divide}"
    return said + _caution(numbers, *wanted), min(times, divide) > max(plus, minus)


# ---- Section 2: knock-out


def _knocked(numbers: Numbers) -> Numbers | None:
    return next((row for row in numbers["knockouts"] if row["name"] == "heads, paper's metric, mean"), None)


def accuracy_falls(numbers: Numbers) -> Shown:
    row = _knocked(numbers)
    if row is None or not row["components"]:
        return "no head hurts", None
    curve = row["curves"]["accuracy"]
    k = len(row["components"])
    said = (
        f"{curve['mean'][0]:.1%} -> {curve['mean'][k]:.1%} [{curve['low'][k]:.1%}, {curve['high'][k]:.1%}] "
        f"with {k} out, "
        f"n = {row['pairs']}; p = {curve['p_value'][k]:.2g} against {row['draws']} random draws"
    )
    return said, curve["mean"][k] <= 0.5 * curve["mean"][0] and curve["p_value"][k] <= 0.05


def random_heads_do_not(numbers: Numbers) -> Shown:
    row = _knocked(numbers)
    if row is None or not row["components"]:
        return "no head hurts", None
    curve = row["curves"]["accuracy"]
    k = len(row["components"])
    kept = curve["control"][k] / curve["mean"][0] if curve["mean"][0] else 0.0
    draws = f"{curve['draws_low'][k]:.1%} to {curve['draws_high'][k]:.1%}"
    said = f"{curve['control'][k]:.1%} [draws {draws}], from {curve['mean'][0]:.1%}"
    return said, kept >= 0.95


def powers_fall(numbers: Numbers) -> Shown:
    row = numbers.get("powers")
    if row is None:
        return "too few powers to ask", None
    if row["right"] < row["asked"] / 4:
        return f"only {row['right']} of {row['asked']} powers are answered rightly: nothing to lose", None
    curve = row["curves"]["accuracy"]
    k = len(row["components"])
    fall = _relative(curve["mean"][0], curve["mean"][k])
    control = _relative(curve["mean"][0], curve["control"][k])
    return f"{fall:+.0%} with {k} heads of addition out (random: {control:+.0%}), n = {row['pairs']}", fall <= -0.5


def others_unchanged(numbers: Numbers) -> Shown:
    table = numbers["transfer"]
    found = _row(table, ADDITION)
    if found is None or not table["controls"]:
        return "not measured", None
    said, agrees = [], True
    for name in table["controls"]:
        at = table["sets"].index(name)
        change = table["accuracy"]["value"][found][at] - table["accuracy"]["plain"][at]
        said.append(f"{name} {100 * change:+.0f}")
        agrees = agrees and change >= -0.05
    return f"points of accuracy: {', '.join(said)} (no MMLU here; sets without arithmetic stand for it)", agrees


def _row(table: Numbers, name: str) -> int | None:
    return table["sets"].index(name) if name in table["sets"] else None


def _relative(before: float, after: float) -> float:
    return (after - before) / before if before else 0.0


# ---- Section 3: understand


def look_at_the_question(numbers: Numbers) -> Shown:
    roles = numbers["roles"]
    among, everywhere = roles["counts_among"], roles["counts"]
    n, heads = sum(among.values()), sum(everywhere.values())
    named = among["operand"] + among["operator"]
    said = (
        f"{among['operand']} operand and {among['operator']} operator heads among the top {n}; "
        f"{everywhere['operand']} and {everywhere['operator']} among all {heads}"
    )
    return said, 2 * named >= n and named / n > (everywhere["operand"] + everywhere["operator"]) / heads if n else None


def both_classes(numbers: Numbers) -> Shown:
    among = numbers["roles"]["counts_among"]
    return f"{among['operand']} operand, {among['operator']} operator", among["operand"] > 0 and among["operator"] > 0


def operands_rise_and_fall(numbers: Numbers) -> Shown:
    stages = numbers["lens"]["raw_stages"]
    if stages["inflection"] is None:
        return "the curve is highest in the last layer, or never rises", False
    return f"highest rise in layer {stages['inflection']}; found in {stages['found']:.0%} of the draws", stages[
        "found"
    ] >= 0.95


def answer_rises_later(numbers: Numbers) -> Shown:
    lens = numbers["lens"]
    turn = lens["stages"]["inflection"]
    if turn is None:
        return "no inflection", None
    own = [a - b for a, b in zip(lens["answer"], lens["answer_other"], strict=True)]
    before, after = sum(own[:turn]) / max(1, turn), sum(own[turn:]) / (len(own) - turn)
    said = f"mean cosine less other numbers': {before:+.4f} before layer {turn}, {after:+.4f} from there on"
    return said, after > before and after > 0


def stage_layers(numbers: Numbers) -> Shown:
    stages, layers = numbers["lens"]["stages"], numbers["lens"]["layers"]
    found = [stages[name] for name in ("start", "inflection", "end")]
    if None in found:
        return "the rule finds none", False
    paper = (13, 18, 28)
    shares = [layer / layers for layer in found]
    said = "-".join(str(layer) for layer in found) + f" of {layers} = " + "-".join(f"{share:.2f}" for share in shares)
    near = all(abs(share - layer / PAPER_LAYERS) <= NEAR for share, layer in zip(shares, paper, strict=True))
    return f"{said} (paper: {'-'.join(f'{layer / PAPER_LAYERS:.2f}' for layer in paper)})", near


def coarse_to_fine(numbers: Numbers) -> Shown:
    peaks = _peaks(numbers)
    if peaks is None:
        return "no question in which the kinds can be told apart", None
    operand, neighbour, answer = peaks
    said = (
        f"on top most often: an operand at stage {operand}, one off the answer at {neighbour}, the answer at {answer}"
    )
    return said, operand < neighbour < answer


def neighbours_suppressed(numbers: Numbers) -> Shown:
    peaks = _peaks(numbers)
    if peaks is None:
        return "no question in which the kinds can be told apart", None
    share = numbers["lens"]["on_top"]["share"][1]
    top, end = max(share), share[-1]
    said = f"{top:.0%} of the questions at stage {peaks[1]} of {len(share) - 1}, {end:.0%} at the end"
    return said, top > 0 and peaks[1] > (len(share) - 1) / 2 and end <= top / 2


def _peaks(numbers: Numbers) -> tuple[int, int, int] | None:
    """The stage at which an operand, a neighbour and the answer are on top most often."""
    on_top = numbers["lens"]["on_top"]
    if not on_top["pairs"]:
        return None
    operand, neighbour, answer = (share.index(max(share)) for share in on_top["share"][:3])
    return operand, neighbour, answer


# ---- Section 4: transfer


def carries(name: str) -> Callable[[Numbers], Shown]:
    def decide(numbers: Numbers) -> Shown:
        table = numbers["transfer"]
        found, at = _row(table, ADDITION), _row(table, name)
        if found is None or at is None:
            return "the model cannot be asked this", None
        row = table["probability"]
        value, low, plain = row["value"][found][at], row["draws_low"][found][at], row["plain"][at]
        said = (
            f"probability {plain:.2f} -> {value:.2f}; random heads {row['control'][found][at]:.2f} "
            f"[{low:.2f}, {row['draws_high'][found][at]:.2f}], n = {table['pairs'][at]}"
        )
        return said + _caution(numbers, name), value < low

    return decide


def problems_fall(numbers: Numbers) -> Shown:
    table = numbers["transfer"]
    found, at = _row(table, ADDITION), _row(table, PROBLEMS)
    if found is None or at is None:
        return "the model cannot be asked this", None
    row = table["accuracy"]
    fall = _relative(row["plain"][at], row["value"][found][at])
    control = _relative(row["plain"][at], row["control"][found][at])
    said = f"{fall:+.0%} of the right answers (random: {control:+.0%}), n = {table['pairs'][at]}; "
    said += "word problems of ours, not SVAMP"
    return said + _caution(numbers, PROBLEMS), fall <= -0.5


def found_on_problems(numbers: Numbers) -> Shown:
    said, agrees = _shared(numbers, ADDITION, PROBLEMS, least=6)
    return f"{said}; word problems of ours, not GSM8K", agrees
