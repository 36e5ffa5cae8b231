"""Comparison of two models: accuracy, probability and divergence, each against a slow and plain computation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import tiny_model
from tuning_cases import LESSONS

from arithmoscope import LoadedModel, PromptPair
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.tuning import comparison as judging
from arithmoscope.engine.tuning.comparison import accuracy_and_loss, compare_answers
from arithmoscope.engine.tuning.evaluate import EvaluatedSet, evaluate, summarise_set
from arithmoscope.engine.tuning.evaluation_sets import evaluation_questions, facets_of
from arithmoscope.engine.tuning.perplexity import compare_on_text
from arithmoscope.engine.tuning.repatching import pairs_to_patch, repatch
from arithmoscope.engine.tuning.training_examples import Example, examples_of
from arithmoscope.prompts.sets.neutral_text import PASSAGES

SUMS = [PromptPair(f"2 + 3 = 5\n{a} + {b} =", f"2 + 3 = 5\n{a} @ {b} =", str(a + b)) for a in range(8) for b in (7, 15)]


@pytest.fixture(scope="module")
def models() -> tuple[LoadedModel, LoadedModel]:
    return tiny_model("LlamaForCausalLM", torch.float32), tiny_model("LlamaForCausalLM", torch.float32, seed=1)


@torch.no_grad()
def logs(model: LoadedModel, ids: Any) -> torch.Tensor:
    """The log-probabilities of the next token at every position, by the model's own forward pass."""
    return model.hf(input_ids=torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)


@torch.no_grad()
def greedy_tokens(model: LoadedModel, example: Example) -> list[int]:
    """Greedily decoded tokens, as many as the answer has."""
    prompt = torch.tensor([example.ids[: -example.answer_length]])
    questions: dict[str, Any] = {
        "max_new_tokens": example.answer_length,
        "min_new_tokens": example.answer_length,
        "do_sample": False,
    }
    return model.hf.generate(prompt, **questions, pad_token_id=0)[0, -example.answer_length :].tolist()  # pyright: ignore


def right_for(model: LoadedModel) -> list[Example]:
    """Questions with the model's own output as answers, so that these are right, and copies with one token changed."""
    result = []
    for each in examples_of(model, [*LESSONS, *SUMS]):
        continued = (*each.ids[: -each.answer_length], *greedy_tokens(model, each))
        result += [
            Example(continued, each.answer_length),
            Example((*continued[:-1], (continued[-1] + 1) % 20), each.answer_length),
        ]
    return result


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM"])
def test_an_answer_is_right_where_greedy_decoding_writes_it(architecture: str):
    model = tiny_model(architecture, torch.float32)
    examples = [*examples_of(model, [*LESSONS, *SUMS]), *right_for(model)]
    result = compare_answers(model, model, examples).before
    assert result.right.tolist() == [
        greedy_tokens(model, each) == list(each.ids[-each.answer_length :]) for each in examples
    ]
    assert 0 < int(result.right.sum()) < len(examples)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM"])
def test_log_probabilities_and_divergence_are_those_of_whole_forward_passes(architecture: str):
    one, other = tiny_model(architecture, torch.float32), tiny_model(architecture, torch.float32, seed=1)
    examples = examples_of(one, [*LESSONS, *SUMS])
    result = compare_answers(one, other, examples)
    for row, each in enumerate(examples):
        first = len(each.ids) - each.answer_length - 1
        before, after = logs(one, each.ids), logs(other, each.ids)
        for message, log in ((result.before, before), (result.after, after)):
            expected = sum(float(log[at, each.ids[at + 1]]) for at in range(first, len(each.ids) - 1))
            assert float(message.log_probability[row]) == pytest.approx(expected, abs=1e-4)
        divergence = float((before[first].exp() * (before[first] - after[first])).sum())
        assert float(result.divergence[row]) == pytest.approx(divergence, abs=1e-4)
    accuracy, loss = accuracy_and_loss(one, examples)
    assert accuracy == float(result.before.right.double().mean())
    tokens = sum(each.answer_length for each in examples)
    assert loss == pytest.approx(-float(result.before.log_probability.sum()) / tokens, abs=1e-5)


def test_neither_batching_nor_order_changes_a_verdict(models: tuple[LoadedModel, LoadedModel]):
    examples = examples_of(models[0], [*LESSONS, *SUMS])
    together = compare_answers(*models, examples)
    turned = compare_answers(*models, examples[::-1])
    assert together.before.texts == turned.before.texts[::-1]
    near: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(together.divergence, turned.divergence.flip(0), **near)
    for row in (0, 5, len(examples) - 1):
        alone = compare_answers(*models, [examples[row]])
        torch.testing.assert_close(together.after.log_probability[row : row + 1], alone.after.log_probability, **near)
        assert together.after.texts[row] == alone.after.texts[0]


def test_a_question_that_is_asked_many_times_is_judged_once_and_counts_as_often(
    models: tuple[LoadedModel, LoadedModel], monkeypatch: pytest.MonkeyPatch
):
    once = examples_of(models[0], SUMS[:3])
    many = [*once, *[once[0]] * 500]
    held: list[int] = []
    honest = judging._log_softmax
    monkeypatch.setattr(
        judging, "_log_softmax", lambda model, batch, some: held.append(len(some)) or honest(model, batch, some)
    )
    done: list[int] = []
    result, single = compare_answers(*models, many, report=done.append), compare_answers(*models, once)
    assert max(held) <= 3
    assert done[-1] == 503
    assert result.after.texts == (*single.after.texts, *[single.after.texts[0]] * 500)
    assert torch.equal(result.divergence[3:], single.divergence[:1].expand(500))
    losses = [accuracy_and_loss(models[0], [each])[1] for each in once]
    lengths = [each.answer_length for each in once]
    shares = [501 * lengths[0], *lengths[1:]]
    mean = sum(loss * share for loss, share in zip(losses, shares, strict=True)) / sum(shares)
    assert accuracy_and_loss(models[0], many)[1] == pytest.approx(mean, rel=1e-5)
    assert accuracy_and_loss(models[0], many)[0] == pytest.approx(
        single.before.right[[*range(3), *[0] * 500]].double().mean()
    )


def test_what_a_model_says_ends_with_its_first_wrong_token(models: tuple[LoadedModel, LoadedModel]):
    model = models[0]
    (each,) = examples_of(model, [PromptPair("2 + 3 = 5\n8 + 5 =", "2 + 3 = 5\n8 @ 5 =", "13")])
    continued = greedy_tokens(model, each)
    right = Example((*each.ids[:-2], *continued), 2)
    late = Example((*each.ids[:-2], continued[0], (continued[1] + 1) % 20), 2)
    early = Example((*each.ids[:-2], (continued[0] + 1) % 20, 5), 2)
    words = compare_answers(model, model, [right, late, early]).before.texts
    whole = model.text.decode(continued, skip_special_tokens=False)
    assert words == (whole, whole, model.token_text(continued[0]) + "…")


def test_perplexity_and_divergence_of_plain_text_are_those_of_whole_forward_passes(
    models: tuple[LoadedModel, LoadedModel],
):
    one, other = models
    passages = ["2 + 3 = 5\nThe sum of 2 and 3 is 5", "7 plus 1 equals 8", "4"]
    result = compare_on_text(one, other, passages)
    losses: dict[str, list[float]] = {"before": [], "after": [], "divergence": []}
    for passage in passages:
        ids = one.text.encode(passage).ids
        before, after = logs(one, ids), logs(other, ids)
        for at in range(len(ids) - 1):
            losses["before"].append(-float(before[at, ids[at + 1]]))
            losses["after"].append(-float(after[at, ids[at + 1]]))
            losses["divergence"].append(float((before[at].exp() * (before[at] - after[at])).sum()))
    mean = {name: sum(values) / len(values) for name, values in losses.items()}
    assert (result.passages, result.tokens) == (2, len(losses["before"])), "a text of one token has no predictions"
    assert result.before.mean == pytest.approx(math.exp(mean["before"]), rel=1e-4)
    assert result.after.mean == pytest.approx(math.exp(mean["after"]), rel=1e-4)
    assert result.ratio.mean == pytest.approx(math.exp(mean["after"] - mean["before"]), rel=1e-4)
    assert result.divergence.mean == pytest.approx(mean["divergence"], abs=1e-4)
    assert result.before.low is not None
    assert result.before.high is not None
    assert result.before.low <= result.before.mean <= result.before.high
    with pytest.raises(Refusal, match="plain English"):
        compare_on_text(one, other, ["4"])


def test_a_loss_beyond_any_perplexity_is_the_largest_number_and_not_the_end_of_the_evaluation(
    models: tuple[LoadedModel, LoadedModel],
):
    lost = tiny_model("LlamaForCausalLM", torch.float32, seed=2)
    lost.layout.final_norm.weight.data.mul_(1e6)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    result = compare_on_text(models[0], lost, ["One passage of plain text.", "And another one."])
    assert result.after.mean == result.after.high == math.exp(709)
    assert result.before.mean < 1e6
    assert math.isfinite(result.divergence.mean)


def test_a_model_compared_with_itself_shows_no_change(models: tuple[LoadedModel, LoadedModel]):
    model, _ = models
    result = evaluate(model, model, SUMS, LESSONS, questions=6).evaluation
    for each in (result.held_out, *result.sets):
        assert each.before == each.after
        assert (each.change.mean, each.divergence, each.fixed, each.broken) == (0, 0, 0, 0)
        assert each.right + each.wrong == each.n
        assert each.log_probability_before == each.log_probability_after
    assert (result.neutral.ratio.mean, result.neutral.divergence.mean) == (1, 0)
    assert result.neutral.passages == len(PASSAGES)
    assert {each.outcome for each in result.prompts} <= {"right", "wrong"}
    assert result.repatched is not None
    cells = [*result.repatched.difference.heads.mean, *result.repatched.difference.mlps.mean]
    assert {cell for row in cells for cell in row} == {0}


def test_a_change_is_counted_question_by_question(models: tuple[LoadedModel, LoadedModel]):
    one, other = models
    evaluated = evaluate(one, other, SUMS, LESSONS, questions=6)
    result, held_out = evaluated.evaluation, evaluated.sets[0]
    for each in (result.held_out, *result.sets):
        assert each.fixed + each.broken + each.right + each.wrong == each.n
        assert each.before.mean == pytest.approx((each.broken + each.right) / each.n)
        assert each.after.mean == pytest.approx((each.fixed + each.right) / each.n)
        assert each.change.mean == pytest.approx((each.fixed - each.broken) / each.n)
    by_name = {(each.group, each.name): each for each in result.sets}
    assert by_name["held_out", "addition"].n == len(SUMS)
    assert by_name["held_out", "1 digit"].n + by_name["held_out", "2 digits"].n == len(SUMS)
    assert by_name["held_out", "equations"].n == len(SUMS)
    assert {group for group, _ in by_name} >= {"held_out", "arithmetic"}
    assert any(note.startswith("Not asked: facts") for note in evaluated.notes), "its words are none of this model's"
    alone = summarise_set(EvaluatedSet("one", "held_out", held_out.pairs, held_out.comparison), [3])
    assert (alone.n, alone.change.low, alone.change.high) == (1, None, None)


def test_path_patching_again_is_that_of_either_model(models: tuple[LoadedModel, LoadedModel]):
    from arithmoscope import path_patching

    pairs = [pair for pair in SUMS if len(pair.answer) == 1][:3]
    result = repatch(*models, pairs_to_patch(models[0], pairs))
    effects = [path_patching(model, pairs) for model in models]
    for side, expected in zip((result.before, result.after), effects, strict=True):
        heads, _ = expected.values("logit_difference")
        torch.testing.assert_close(torch.tensor(side.heads.mean), heads.mean(0).float(), atol=1e-4, rtol=1e-3)
    moved = effects[1].values("logit_difference")[1] - effects[0].values("logit_difference")[1]
    means = torch.tensor(result.difference.mlps.mean)[:, 0]
    torch.testing.assert_close(means, moved.mean(0).float(), atol=1e-4, rtol=1e-3)
    assert (result.n_pairs, result.difference.n_pairs) == (3, 3)


def test_questions_without_a_counterfactual_are_not_patched_and_a_note_says_so(models: tuple[LoadedModel, LoadedModel]):
    plain = [PromptPair(pair.reference, pair.reference, pair.answer) for pair in SUMS]
    assert pairs_to_patch(models[0], plain) == []
    assert len(pairs_to_patch(models[0], SUMS, at_most=5)) == 5
    evaluated = evaluate(*models, plain, [], questions=2)
    assert evaluated.evaluation.repatched is None
    assert any("no held-out question has a counterfactual" in note for note in evaluated.notes)


def test_what_was_trained_on_is_asked_in_no_other_set(models: tuple[LoadedModel, LoadedModel]):
    trained = [PromptPair(f"{a} + {b} =", f"{a} @ {b} =", str(a + b)) for a in range(10) for b in range(a, 10)]
    questions, notes = evaluation_questions(models[0], trained[:-2])
    one_digit = next(pairs for each, pairs in questions if each.name == "one-digit addition")
    assert {facets_of(pair)["operation"] for pair in one_digit} == {"addition"}
    assert {tuple(sorted(pair.reference.splitlines()[-1][:-2].split(" + "))) for pair in one_digit} == {
        ("8", "9"),
        ("9", "9"),
    }
    _, notes = evaluation_questions(models[0], trained)
    assert "Not asked: one-digit addition. All its questions were trained on." in notes
    subtraction = next(pairs for each, pairs in questions if each.name == "one-digit subtraction")
    assert len(subtraction) == 50, "the same operands, another question"


def test_a_model_that_gives_no_finite_numbers_is_not_evaluated(models: tuple[LoadedModel, LoadedModel]):
    broken = tiny_model("LlamaForCausalLM", torch.float32, seed=2)
    broken.layout.final_norm.weight.data.fill_(math.nan)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    with pytest.raises(Refusal) as refused:
        evaluate(models[0], broken, SUMS, [], questions=2)
    assert refused.value.code == "not_finite"


@pytest.mark.parametrize(
    ("reference", "facets"),
    [
        ("3 + 5 =", ("addition", "1 digit", "equations")),
        ("The difference of 123 and 5 is", ("subtraction", "3 digits", "statements")),
        ("Q: What is 12 times 5? A:", ("multiplication", "2 digits", "questions")),
        ("3 + 5 - 2 =", ("several operations", "1 digit", "equations")),
        ("The capital of France is", ("no calculation", "no operands", "other wordings")),
    ],
)
def test_questions_are_counted_by_operation_digits_and_style(reference: str, facets: tuple[str, ...]):
    assert tuple(facets_of(PromptPair(reference, reference, "8")).values()) == facets
