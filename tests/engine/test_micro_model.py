"""A model small enough for pencil and paper: one layer, one head, two dimensions, four words.

Embeddings have length sqrt(2), so that an RMS norm with unit weight leaves them as they are; queries and keys are 0,
so that the head averages its values; values and output are the identity. The MLP is down(relu(gate x) * up x).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from arithmoscope import PromptPair, load_model, path_patching

ROOT = sqrt(2)
PAIR = PromptPair(reference="a b", counterfactual="c b", answer="d")


def micro_model():
    config = transformers.LlamaConfig(
        vocab_size=4,
        hidden_size=2,
        intermediate_size=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=2,
        hidden_act="relu",
        rms_norm_eps=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    hf: Any = transformers.LlamaForCausalLM(config).double()
    layer = hf.model.layers[0]
    with torch.no_grad():
        for weight in hf.parameters():
            weight.zero_()
        for norm in (layer.input_layernorm, layer.post_attention_layernorm, hf.model.norm):
            norm.weight.fill_(1.0)
        #                                               a            b            c            d
        hf.model.embed_tokens.weight.copy_(torch.tensor([[ROOT, 0.0], [1.0, 1.0], [0.0, ROOT], [-1.0, 1.0]]))
        layer.self_attn.v_proj.weight.copy_(torch.eye(2))
        layer.self_attn.o_proj.weight.copy_(torch.eye(2))
        layer.mlp.gate_proj.weight.copy_(torch.tensor([[1.0, 0.0]]))
        layer.mlp.up_proj.weight.copy_(torch.tensor([[1.0, 1.0]]))
        layer.mlp.down_proj.weight.copy_(torch.tensor([[0.0], [1.0]]))
        hf.lm_head.weight[3] = torch.tensor([1.0, 0.0])  # the answer's logit is the first dimension
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2, "d": 3}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return load_model(hf, transformers.PreTrainedTokenizerFast(tokenizer_object=words))


def norm(x, y):
    scale = sqrt((x * x + y * y) / 2)
    return x / scale, y / scale


def answer(x, y):
    return norm(x, y)[0]


def mlp(x, y):
    x, y = norm(x, y)
    return max(x, 0.0) * (x + y)


# By hand. After attention END holds b + (a + b) / 2 in the reference, b + (c + b) / 2 in the counterfactual.
REF = (1 + (ROOT + 1) / 2, 1 + 1 / 2)
SRC = (1 + 1 / 2, 1 + (ROOT + 1) / 2)
LOGIT = answer(REF[0], REF[1] + mlp(*REF))


@pytest.mark.parametrize(
    ("effect", "head"),
    [
        ("direct", answer(SRC[0], SRC[1] + mlp(*REF)) - LOGIT),
        ("through_mlps", answer(SRC[0], SRC[1] + mlp(*SRC)) - LOGIT),
    ],
)
def test_effects_equal_those_worked_by_hand(effect, head):
    effects = path_patching(micro_model(), [PAIR], effect=effect)
    assert float(effects.reference[0]) == pytest.approx(LOGIT, abs=1e-6)  # the norm itself computes in float32
    assert float(effects.heads[0, 0, 0]) == pytest.approx(head, abs=1e-6)
    replaced = answer(REF[0], REF[1] + mlp(*SRC)) - LOGIT
    assert float(effects.mlps[0, 0]) == pytest.approx(replaced, abs=1e-6)
    assert len({round(abs(x), 3) for x in (head, replaced, 0.0)}) == 3, "the cases must differ to tell them apart"


def test_the_logits_are_the_ones_on_paper():
    # sqrt(2) = 1.41421: REF = (2.20711, 1.5), its norm (1.16966, 0.79493), the MLP writes 1.16966 * 1.96459 = 2.29791,
    # and 2.20711 / sqrt((2.20711^2 + 3.79791^2) / 2) = 0.71058.
    assert pytest.approx((2.20711, 1.5), abs=1e-5) == REF
    assert pytest.approx(0.71058, abs=1e-5) == LOGIT
