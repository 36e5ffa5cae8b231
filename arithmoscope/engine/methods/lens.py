"""Logit lens and the stream's directions: layer by layer, how the answer comes to be.

What it measures, at END of the reference prompt, for the stream x_l that layer l reads (x_0 the embedding, x_L the last
layer's output):

    lens[l]     = logits(norm_f(x_l)): the answer's logit, probability and rank, and the top tokens
    operands[l] = cos(x_mid_l, W_U[A or B])     x_mid_l what the MLP of layer l reads: the heads have written into it
    answer[l]   = cos(mlp_l, W_U[C])            mlp_l what that MLP writes, C the answer's token

The paper reads off these two curves that heads bring the operands (the first one rises, then falls) and that MLPs write
the answer (the second one rises). Beside each, the same cosine with the other numbers' tokens, which the paper lacks.

Stages, found on the curves' means over the pairs, each less the same curve for the other numbers: what all numbers have
in common says nothing about these (in SmolLM2 it is largest in the first layer). ``raw`` takes the paper's curves.

    inflection  the layer where the operands' curve has risen most above its lowest value so far
    start       the first layer from which on, up to the inflection, it is above that value by more than a tenth of the
                rise
    end         the layer from the inflection on where the answer's curve is highest

There are none where the operands' curve never rises, or has risen most in the last layer: then it does not fall again.

Sources: nostalgebraist, Interpreting GPT: the Logit Lens, 2020; Zhang et al., Interpreting and Improving Large Language
Models in Arithmetic Calculation, ICML 2024, section 4 (the curves; the rule is ours).

Exact as a reading of the stream; as a statement about what the model believes at layer l an approximation: the final
norm and the unembedding were made for the last layer's stream.

Cost. One forward pass, and a full unembedding of L + 1 positions a pair.

When it misleads. Early layers read as tokens near the input; a low rank there need not mean that nothing is known. A
cosine has no scale: the operands' curve also falls when others write more. An operand of several tokens counts with
all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import UNEMBED_SHARE, Plan, Shape, plan_for
from arithmoscope.engine.forward.cached_run import run_from
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.measures.metrics import question_draws
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import read_tensors, write_tensors
from arithmoscope.prompts import EncodedPair

MOST_TOKENS = 100
_RISE = 0.1
_STAGE_DRAWS = 1_000


@dataclass(frozen=True)
class Stages:
    """Layers where a calculation starts, turns and ends, with 95 % percentile intervals over draws of the questions
    (1 000, seed 0); all None where the rule finds none. ``found`` is the share of the draws in which it finds some."""

    start: int | None
    inflection: int | None
    end: int | None
    start_interval: tuple[float, float] | None
    inflection_interval: tuple[float, float] | None
    end_interval: tuple[float, float] | None
    found: float


@dataclass(frozen=True, eq=False)
class Lens:
    """The stream at END by layer, the embedding first, on the CPU; L + 1 ``stage`` rows.

    logit, probability, rank  of the answer; the top token has rank 1
    top, top_probability      the tokens on top, the likeliest first
    operands, operands_other  cosine of what each MLP reads with the operands' tokens, and with other numbers'
    answer, answer_other      cosine of what each MLP writes with the answer's token, and with other numbers'
                              NaN where the prompt has no operands that can be read, or the answer is no number
    """

    model: str
    revision: str
    questions: tuple[str, ...]
    answers: Int[Tensor, " pair"]
    logit: Float[Tensor, "pair stage"]
    probability: Float[Tensor, "pair stage"]
    rank: Int[Tensor, "pair stage"]
    top: Int[Tensor, "pair stage k"]
    top_probability: Float[Tensor, "pair stage k"]
    operands: Float[Tensor, "pair layer"]
    operands_other: Float[Tensor, "pair layer"]
    answer: Float[Tensor, "pair layer"]
    answer_other: Float[Tensor, "pair layer"]

    def __len__(self) -> int:
        return len(self.questions)

    def stages(self, *, raw: bool = False) -> Stages:
        """Start, inflection and end by the rule of this module, over the pairs whose operands can be read. ``raw``: of
        the curves as they are, not less the other numbers' ones."""
        operands = self.operands if raw else self.operands - self.operands_other
        answer = self.answer if raw else self.answer - self.answer_other
        keep = operands.isfinite().all(1) & answer.isfinite().all(1)
        operands, answer = operands[keep].double(), answer[keep].double()
        if not len(operands):
            return Stages(None, None, None, None, None, None, 0.0)
        whole = stages_of(operands.mean(0), answer.mean(0))
        questions = [question for question, kept in zip(self.questions, keep.tolist(), strict=True) if kept]
        times = question_draws(questions, _STAGE_DRAWS)
        drawn = [
            found
            for weights in times / times.sum(1, keepdim=True)
            if (found := stages_of(weights @ operands, weights @ answer)) is not None
        ]
        if whole is None:
            return Stages(None, None, None, None, None, None, len(drawn) / len(times))
        ends = torch.quantile(torch.tensor(drawn or [whole]).double(), torch.tensor([0.025, 0.975]).double(), dim=0)
        start, inflection, end = ((float(low), float(high)) for low, high in ends.T)
        return Stages(*whole, start, inflection, end, len(drawn) / len(times))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        write_tensors(path, "lens", {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Lens:
        """Read what `save` wrote. Refuses (``bad_request``) any other file."""
        read = read_tensors(path, "lens")
        return cls(**{**read, "questions": tuple(read["questions"])})


def stages_of(operands: Float[Tensor, " layer"], answer: Float[Tensor, " layer"]) -> tuple[int, int, int] | None:
    """Start, inflection and end on two curves; None where the operands' curve does not rise and then fall."""
    lowest = operands.cummin(0).values
    inflection = int((operands - lowest).argmax())
    low, high = float(lowest[inflection]), float(operands[inflection])
    if high == low or inflection == len(operands) - 1:
        return None
    above = (operands > low + _RISE * (high - low)).tolist()
    start = inflection
    while start > 0 and above[start - 1]:
        start -= 1
    return start, inflection, inflection + int(answer[inflection:].argmax())


def lens(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Lens:
    """What the stream at END of the reference prompts says at every layer, with the ``k`` tokens on top.

    ``progress(done, total)`` counts pairs. Refuses a ``k`` below 1 or above 100.
    """
    encoded = encode_all(model, pairs or [])
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    return lens_of(model, encoded, k=k, progress=progress)


@torch.no_grad()
def lens_of(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    *,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Lens:
    """As `lens`, of pairs that are encoded already."""
    if not 1 <= k <= min(MOST_TOKENS, model.embeddings):
        raise Refusal("bad_request", f"k is {k}; it is from 1 to {MOST_TOKENS}.", "Choose another k.")
    length = max(len(pair.reference_ids) for pair in encoded)
    plan = plan_for(model, Shape("total", length, length if model.runs_alone else 1, len(encoded), probability=True))
    parts: dict[int, dict[str, Tensor]] = {}
    groups: dict[int, list[int]] = {}
    for row, pair in enumerate(encoded):
        groups.setdefault(len(pair.reference_ids), []).append(row)

    def measure(rest: Sequence[int], plan: Plan) -> int:
        some = rest[: 1 if model.runs_alone else plan.pairs]
        measured = _measure(model, [encoded[row] for row in some], k, plan)
        for place, row in enumerate(some):
            parts[row] = {name: values[place] for name, values in measured.items()}
        if progress is not None:
            progress(len(parts), len(encoded))
        return len(some)

    run_in_chunks(groups.values(), plan, measure)
    whole = {name: torch.stack([parts[row][name] for row in range(len(encoded))]) for name in parts[0]}
    return Lens(
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(pair.question for pair in encoded),
        answers=torch.tensor([pair.answer_id for pair in encoded]),
        **whole,
    )


def _measure(model: LoadedModel, encoded: Sequence[EncodedPair], k: int, plan: Plan) -> dict[str, Tensor]:
    """Some pairs of one length."""
    length, n = len(encoded[0].reference_ids), len(encoded)
    with evaluating(model.hf):
        run = run_from(
            model, [pair.reference_ids for pair in encoded], 0 if model.runs_alone else length - 1, plan.tokens
        )
        end = slice(run.positions - 1, None, run.positions)
        streams = torch.cat([run.stream[end], run.final[end, None]], dim=1)
        answers = torch.tensor([pair.answer_id for pair in encoded], device=model.device)
        found: dict[str, list[Tensor]] = {
            name: [] for name in ("logit", "probability", "rank", "top", "top_probability")
        }
        step = max(1, plan.rows // UNEMBED_SHARE // n)
        for some in streams.split(step, dim=1):
            logits = all_logits(model, some)
            if not bool(logits.isfinite().all()):
                raise Refusal("not_finite", "The reference run's logits are not finite.")
            mine = logits.gather(-1, answers[:, None, None].expand(-1, logits.shape[1], 1))
            total = logits.logsumexp(-1, keepdim=True)
            best = logits.topk(k, dim=-1)
            found["logit"].append(mine[..., 0])
            found["probability"].append((mine - total)[..., 0].exp())
            found["rank"].append((logits > mine).sum(-1) + 1)
            found["top"].append(best.indices)
            found["top_probability"].append((best.values - total).exp())
    cosines = _cosines(model, encoded, run.mid[end], run.mlp[end])
    return {name: torch.cat(values, dim=1).cpu() for name, values in found.items()} | cosines


def _cosines(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    mid: Float[Tensor, "pair layer hidden"],
    mlp: Float[Tensor, "pair layer hidden"],
) -> dict[str, Tensor]:
    numbers = {token: value for token, value in model.number_values.items() if 0 <= value <= 9}
    found: dict[str, list[Tensor]] = {name: [] for name in ("operands", "operands_other", "answer", "answer_other")}
    for row, pair in enumerate(encoded):
        operands = [token.id for token in pair.reference_tokens if token.role in ("operand_a", "operand_b")]
        answer = [pair.answer_id] if pair.answer_id in model.number_values else []
        taken = {model.number_values.get(token) for token in (*operands, *answer)}
        other = [token for token, value in numbers.items() if value not in taken and token < model.embeddings]
        for name, states, tokens in (
            ("operands", mid[row], operands),
            ("operands_other", mid[row], other if operands else []),
            ("answer", mlp[row], answer),
            ("answer_other", mlp[row], other if answer else []),
        ):
            found[name].append(_mean_cosine(model, states, tokens))
    return {name: torch.stack(rows).cpu() for name, rows in found.items()}


def _mean_cosine(model: LoadedModel, states: Float[Tensor, "layer hidden"], tokens: Sequence[int]) -> Tensor:
    """Over some tokens' rows of the unembedding; NaN where there are none."""
    if not tokens:
        return torch.full((len(states),), torch.nan, dtype=states.dtype)
    rows, _ = model.layout.unembed_columns(torch.tensor(list(tokens), device=model.device))
    return functional.cosine_similarity(states[:, None], rows.to(states.dtype)[None], dim=-1).mean(1)
