"""A tiny random model that gives the engine real work: several layers and heads, and a tokenizer for arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

MODEL_ID = "tiny"
_WORDS = [*"0123456789", "+", "-", "*", "/", "=", "@", "\n"]


def write_model(models_dir: Path) -> None:
    """Writes a Llama of 12 layers with 8 heads, as safetensors with its tokenizer, to ``models_dir/tiny``."""
    import torch
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["<unk>", *_WORDS])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" +"), "removed"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.Fuse()
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embed" not in name:
            torch.nn.init.normal_(weight, std=0.15)  # larger than usual, so that effects are far from uniform
    folder = models_dir / MODEL_ID
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
