"""The lens: at the last layer it is the model, at the first the embedding, and its stages follow a stated rule."""

from __future__ import annotations

import dataclasses

import oracle
import pytest
import torch
from float64_everywhere import EverywhereDouble
from test_stream import streams
from tiny import LAYOUTS, PAIRS, tiny_model

from arithmoscope import LogitLens, PromptPair, lens
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import encode_all, end_states
from arithmoscope.engine.methods.lens import stages_of


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_the_last_layers_lens_is_the_models_own_logits(architecture, config):
    model = tiny_model(architecture, config=config)
    with EverywhereDouble():
        result = lens(model, PAIRS, k=5)
        assert result.logit.shape == (len(PAIRS), 4)
        for row, pair in enumerate(encode_all(model, PAIRS)):
            logits = oracle.logits(model.hf, list(pair.reference_ids))
            chances = torch.softmax(logits, -1)
            assert float(result.logit[row, -1]) == pytest.approx(float(logits[pair.answer_id]), abs=1e-9)
            assert float(result.probability[row, -1]) == pytest.approx(float(chances[pair.answer_id]), abs=1e-9)
            order = logits.argsort(descending=True)
            assert int(order[int(result.rank[row, -1]) - 1]) == pair.answer_id
            assert torch.equal(result.top[row, -1], order[:5])
            torch.testing.assert_close(result.top_probability[row, -1], chances[order[:5]], atol=1e-9, rtol=0)


def test_every_layer_is_read_by_the_final_norm_and_the_unembedding_from_what_it_reads():
    model = tiny_model("LlamaForCausalLM")
    with EverywhereDouble():
        result = lens(model, PAIRS)
        for row, pair in enumerate(encode_all(model, PAIRS)):
            read = streams(model.hf, list(pair.reference_ids))
            embedding = model.hf.get_input_embeddings()(torch.tensor(pair.reference_ids[-1]))
            torch.testing.assert_close(read[0][0, -1], embedding)
            for layer, stream in enumerate(read):
                logits = model.hf.lm_head(model.hf.model.norm(stream[0, -1]))
                assert float(result.logit[row, layer]) == pytest.approx(
                    float(logits[pair.answer_id].detach()), abs=1e-9
                )


def test_cosines_are_those_of_what_the_mlp_reads_and_writes_with_the_tokens_rows():
    model = tiny_model("LlamaForCausalLM")
    result = lens(model, PAIRS)
    encoded = encode_all(model, PAIRS)
    states = end_states(model, [pair.reference_ids for pair in encoded])
    weight = model.hf.lm_head.weight.detach()
    vocabulary = model.text.get_vocab()

    def cos(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    for layer in range(3):
        mid, mlp = states.mid[0, layer], states.mlp[0, layer]  # 3 + 5 = 8
        operands = [cos(mid, weight[vocabulary[digit]]) for digit in "35"]
        assert float(result.operands[0, layer]) == pytest.approx(sum(operands) / 2, abs=1e-9)
        other = [cos(mid, weight[vocabulary[digit]]) for digit in "0124679"]
        assert float(result.operands_other[0, layer]) == pytest.approx(sum(other) / 7, abs=1e-9)
        assert float(result.answer[0, layer]) == pytest.approx(cos(mlp, weight[vocabulary["8"]]), abs=1e-9)
        other = [cos(mlp, weight[vocabulary[digit]]) for digit in "0124679"]
        assert float(result.answer_other[0, layer]) == pytest.approx(sum(other) / 7, abs=1e-9)


def test_where_no_operands_can_be_read_there_are_no_cosines_and_no_stages():
    result = lens(tiny_model("LlamaForCausalLM"), [PromptPair("The sum of and is", "The none of and is", "plus")])
    assert result.operands.isnan().all()
    assert result.answer.isnan().all()
    assert result.stages().inflection is None
    assert result.probability.isfinite().all()


class TestStages:
    #                       layer  0    1    2    3    4    5    6    7
    OPERANDS = torch.tensor([1.2, 0.0, 0.0, 0.09, 0.6, 1.0, 0.5, 0.2]).double()
    ANSWER = torch.tensor([0.9, 0.0, 0.0, 0.0, 0.0, 0.1, 0.8, 0.3]).double()

    def test_they_are_the_ones_on_paper(self):
        # The largest rise is to layer 5; that the curve begins higher is none. A tenth of the rise from 0 to 1 is 0.1:
        # layer 3 is not above it, layer 4 is. After layer 5 the answer is highest at 6; it was higher at 0, before.
        assert stages_of(self.OPERANDS, self.ANSWER) == (4, 5, 6)

    def test_scale_and_offset_of_the_curves_do_not_matter(self):
        assert stages_of(3 * self.OPERANDS - 7, 0.1 * self.ANSWER + 1) == (4, 5, 6)

    @pytest.mark.parametrize("curve", [torch.linspace(0, 1, 8), torch.linspace(1, 0, 8)])
    def test_a_curve_that_only_rises_or_only_falls_has_none(self, curve):
        assert stages_of(curve.double(), self.ANSWER) is None

    def on_paper(self, plain, operands, other):
        answer = self.ANSWER.expand(6, -1)
        curves = {"operands": operands, "operands_other": other, "answer": answer, "answer_other": 0 * answer}
        return dataclasses.replace(plain, **curves)

    def test_what_all_numbers_have_in_common_moves_nothing_unless_the_raw_curves_are_asked_for(self):
        plain = lens(tiny_model("LlamaForCausalLM"), PAIRS)
        common = torch.linspace(3, 0, 8).double().expand(6, -1)
        result = self.on_paper(plain, self.OPERANDS + common, common)
        assert (result.stages().start, result.stages().inflection, result.stages().end) == (4, 5, 6)
        # 4.2, 2.57, 2.14, 1.80, 1.89, 1.86, 0.93, 0.2: the only rise is to layer 4.
        assert result.stages(raw=True).inflection == 4

    def test_intervals_hold_the_layers_and_narrow_where_all_pairs_agree(self):
        plain = lens(tiny_model("LlamaForCausalLM"), PAIRS)

        def with_curves(operands):
            return self.on_paper(plain, operands, torch.zeros_like(operands)).stages()

        same = self.OPERANDS.expand(6, -1)
        agreed = with_curves(same)
        assert (agreed.start, agreed.inflection, agreed.end) == (4, 5, 6)
        assert agreed.start_interval == (4, 4)
        assert agreed.inflection_interval == (5, 5)
        assert agreed.found == 1
        spread = with_curves(same + 0.4 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).double())
        assert spread.inflection is not None
        assert spread.start_interval is not None
        assert spread.start_interval[0] < spread.start_interval[1]


def test_pairs_alone_in_another_order_give_the_same():
    model = tiny_model("LlamaForCausalLM")
    together = lens(model, PAIRS)
    backwards = lens(model, PAIRS[::-1])
    for name in ("logit", "probability", "operands", "answer"):
        torch.testing.assert_close(getattr(backwards, name).flip(0), getattr(together, name), atol=1e-6, rtol=0)


def test_a_lens_survives_saving(tmp_path):
    result = lens(tiny_model("LlamaForCausalLM"), PAIRS, k=3)
    result.save(tmp_path / "l.safetensors")
    loaded = LogitLens.load(tmp_path / "l.safetensors")
    for field in dataclasses.fields(LogitLens):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now


def test_impossible_requests_are_refused():
    model = tiny_model("LlamaForCausalLM")
    with pytest.raises(Refusal, match="k is 0"):
        lens(model, PAIRS, k=0)
    with pytest.raises(Refusal, match="empty"):
        lens(model, [])
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        lens(model, PAIRS)
