"""Logit lens and directions in the residual stream, layer by layer: how the answer arises.

What it measures, at END of the reference prompt, for the stream x_l that layer l reads (x_0 the embedding, x_L the last
layer's output):

    lens[l]     = logits(norm_f(x_l)): the answer's logit, probability and rank, and the top tokens
    operands[l] = cos(x_mid_l, W_U[A or B])     x_mid_l the input of layer l's MLP, after its heads
    answer[l]   = cos(mlp_l, W_U[C])            mlp_l the output of that MLP, C the answer's token

The paper concludes from these two curves that heads bring the operands (the first rises, then falls) and that MLPs
write the answer (the second rises). For comparison, each is given with the same cosine for the other numbers' tokens,
which the paper lacks.

Stages, determined on the curves' means over the pairs, each minus the same curve for the other numbers, since the part
common to all numbers says nothing about these (in SmolLM2 it is largest in the first layer). ``raw`` uses the paper's
curves.

    inflection  the layer where the operands' curve has risen most above its lowest value so far
    start       the first layer from which on, up to the inflection, it is above that value by more than a tenth of the
                rise
    end         the layer from the inflection on where the answer's curve is highest

There are no stages if the operands' curve never rises, or has risen most in the last layer and so never falls.

Sources: nostalgebraist, Interpreting GPT: the Logit Lens, 2020; Zhang et al., Interpreting and Improving Large Language
Models in Arithmetic Calculation, ICML 2024, section 4 (the curves; the rule is ours).

Exact as a projection of the stream; as a statement about what the model predicts at layer l an approximation: the final
norm and the unembedding were trained for the last layer's stream.

Cost. One forward pass, and a full unembedding of L + 1 positions per pair.

When it misleads. Early layers decode to tokens near the input; a low rank there need not mean that the information is
missing. A cosine has no scale: the operands' curve also falls when other components write more. An operand of several
tokens counts with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
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
from arithmoscope.engine.serialization import PairResult
from arithmoscope.prompts import EncodedPair

MOST_TOKENS = 100
_RISE = 0.1
_STAGE_DRAWS = 1_000


@dataclass(frozen=True)
class Stages:
    """Layers where a calculation starts, turns and ends; all None if the curves show no stages.

    Attributes:
        start: First layer where the operands' curve rises.
        inflection: Layer where it has risen most.
        end: Layer where the answer's curve is highest.
        start_interval: 95 % percentile interval over draws of the questions (1 000 draws, seed 0).
        inflection_interval: The same for ``inflection``.
        end_interval: The same for ``end``.
        found: Share of the draws that show stages.
    """

    start: int | None
    inflection: int | None
    end: int | None
    start_interval: tuple[float, float] | None
    inflection_interval: tuple[float, float] | None
    end_interval: tuple[float, float] | None
    found: float


@dataclass(frozen=True, eq=False)
class LogitLens(PairResult):
    """Logit lens at END of the reference prompts, on the CPU; L + 1 entries on the axis ``stage``, the embedding first.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        questions: The question of each pair.
        answers: Token id of each answer [pair].
        logit: The answer's logit [pair, stage].
        probability: Its probability [pair, stage].
        rank: Its rank [pair, stage]; the top token has rank 1.
        top: Ids of the k likeliest tokens, likeliest first [pair, stage, k].
        top_probability: Their probabilities [pair, stage, k].
        operands: Cosine of each MLP's input with the operands' unembedding [pair, layer]; NaN if the prompt has no
            operands that can be read.
        operands_other: The same with the other numbers' unembedding.
        answer: Cosine of each MLP's output with the answer's unembedding [pair, layer]; NaN if it is not a number.
        answer_other: The same with the other numbers' unembedding.

    Example:
        >>> lens = am.lens(model, pairs)
        >>> lens.stages(raw=True).found <= 1.0
        True
        >>> lens.save("lens.safetensors")
        >>> len(am.LogitLens.load("lens.safetensors"))
        16
    """

    file_format = "arithmoscope.lens.1"
    noun = "logit lens"

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

    @check_arguments()
    def stages(self, *, raw: bool = False) -> Stages:
        """Start, inflection and end of the calculation, over the pairs whose operands can be read.

        Args:
            raw: Use the curves as they are, instead of minus those of the other numbers.

        Returns:
            Layers with 95 % intervals; None where the curves show no stages.
        """
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
            stages
            for weights in times / times.sum(1, keepdim=True)
            if (stages := stages_of(weights @ operands, weights @ answer)) is not None
        ]
        if whole is None:
            return Stages(None, None, None, None, None, None, len(drawn) / len(times))
        ends = torch.quantile(torch.tensor(drawn or [whole]).double(), torch.tensor([0.025, 0.975]).double(), dim=0)
        start, inflection, end = ((float(low), float(high)) for low, high in ends.T)
        return Stages(*whole, start, inflection, end, len(drawn) / len(times))


def stages_of(operands: Float[Tensor, " layer"], answer: Float[Tensor, " layer"]) -> tuple[int, int, int] | None:
    """Start, inflection and end on two curves; None if the operands' curve does not rise and then fall."""
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


@check_arguments(k=Range(1, MOST_TOKENS))
def lens(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> LogitLens:
    """Logit lens: the residual stream at END of the reference prompts, decoded after every layer.

    Logit lens (nostalgebraist, 2020), with the directions of operands and answer (Zhang et al., 2024, section 4).

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; only their reference prompts and answers are used.
        k: Number of top tokens to return, from 1 to 100.
        progress: Called with (pairs done, pairs in total).

    Returns:
        The answer's logit, probability and rank [pair, stage] and the top tokens [pair, stage, k], the embedding first,
        and cosines [pair, layer], on the CPU.

    Raises:
        Refusal: ``bad_request`` for ``k`` out of range; ``not_finite`` if the model computes NaN or infinity;
            `BadPrompt` for an empty list or a prompt that cannot be tokenised.

    Example:
        >>> lens = am.lens(model, pairs, k=3)
        >>> [model.token_text(token) for token in lens.top[0, -1].tolist()]
        [...]
    """
    encoded = encode_all(model, pairs)
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
) -> LogitLens:
    """As `lens`, for encoded pairs."""
    if not 1 <= k <= min(MOST_TOKENS, model.embeddings):
        raise Refusal("bad_request", f"k is {k}; it must be from 1 to {MOST_TOKENS}.", "Choose another k.")
    length = max(len(pair.reference_ids) for pair in encoded)
    plan = plan_for(model, Shape("total", length, length if model.runs_alone else 1, len(encoded), probability=True))
    parts: dict[int, dict[str, Tensor]] = {}
    groups: dict[int, list[int]] = {}
    for row, pair in enumerate(encoded):
        groups.setdefault(len(pair.reference_ids), []).append(row)

    def measure(rest: Sequence[int], plan: Plan) -> int:
        batch = rest[: 1 if model.runs_alone else plan.pairs]
        measured = _measure(model, [encoded[row] for row in batch], k, plan)
        for place, row in enumerate(batch):
            parts[row] = {name: values[place] for name, values in measured.items()}
        if progress is not None:
            progress(len(parts), len(encoded))
        return len(batch)

    run_in_chunks(groups.values(), plan, measure)
    whole = {name: torch.stack([parts[row][name] for row in range(len(encoded))]) for name in parts[0]}
    return LogitLens(
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(pair.question for pair in encoded),
        answers=torch.tensor([pair.answer_id for pair in encoded]),
        **whole,
    )


def _measure(model: LoadedModel, encoded: Sequence[EncodedPair], k: int, plan: Plan) -> dict[str, Tensor]:
    """Readings of pairs of one length, by field name."""
    length, n = len(encoded[0].reference_ids), len(encoded)
    with evaluating(model.hf):
        run = run_from(
            model, [pair.reference_ids for pair in encoded], 0 if model.runs_alone else length - 1, plan.tokens
        )
        end = slice(run.positions - 1, None, run.positions)
        streams = torch.cat([run.stream[end], run.final[end, None]], dim=1)
        answers = torch.tensor([pair.answer_id for pair in encoded], device=model.device)
        parts: dict[str, list[Tensor]] = {
            name: [] for name in ("logit", "probability", "rank", "top", "top_probability")
        }
        step = max(1, plan.rows // UNEMBED_SHARE // n)
        for chunk in streams.split(step, dim=1):
            logits = all_logits(model, chunk)
            if not bool(logits.isfinite().all()):
                raise Refusal("not_finite", "The reference run's logits are not finite.")
            answer = logits.gather(-1, answers[:, None, None].expand(-1, logits.shape[1], 1))
            total = logits.logsumexp(-1, keepdim=True)
            best = logits.topk(k, dim=-1)
            parts["logit"].append(answer[..., 0])
            parts["probability"].append((answer - total)[..., 0].exp())
            parts["rank"].append((logits > answer).sum(-1) + 1)
            parts["top"].append(best.indices)
            parts["top_probability"].append((best.values - total).exp())
    cosines = _cosines(model, encoded, run.mid[end], run.mlp[end])
    return {name: torch.cat(values, dim=1).cpu() for name, values in parts.items()} | cosines


def _cosines(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    mid: Float[Tensor, "pair layer hidden"],
    mlp: Float[Tensor, "pair layer hidden"],
) -> dict[str, Tensor]:
    numbers = {token: value for token, value in model.number_values.items() if 0 <= value <= 9}
    cosines: dict[str, list[Tensor]] = {name: [] for name in ("operands", "operands_other", "answer", "answer_other")}
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
            cosines[name].append(_mean_cosine(model, states, tokens))
    return {name: torch.stack(rows).cpu() for name, rows in cosines.items()}


def _mean_cosine(model: LoadedModel, states: Float[Tensor, "layer hidden"], tokens: Sequence[int]) -> Tensor:
    """Mean cosine with the unembedding's rows of ``tokens``; NaN if there are none."""
    if not tokens:
        return torch.full((len(states),), torch.nan, dtype=states.dtype)
    rows, _ = model.layout.unembed_columns(torch.tensor(list(tokens), device=model.device))
    return functional.cosine_similarity(states[:, None], rows.to(states.dtype)[None], dim=-1).mean(1)
