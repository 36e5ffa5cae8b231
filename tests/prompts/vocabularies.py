"""Tiny tokenizers of every kind that models use, trained on the spot.

They differ in their treatment of the space before an answer."""

from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_SUMS = [f"{a} {sign} {b} = {a + b}" for a in range(10) for b in range(10) for sign in "+-*/@"]
_SENTENCES = [
    "three plus five is eight",
    "three none five is eight",
    "The sum of 3 and 5 is 8",
    "The none of 3 and 5 is 8",
    "Q: What is the sum of 3 and 5? A: 8",
    "2+3=5",
    "from 1723 to 1728",
]
CORPUS = _SUMS + _SENTENCES * 20
_BYTES = pre_tokenizers.ByteLevel.alphabet()


def digits_and_bare_spaces() -> Tokenizer:
    """Like SmolLM2: byte-level, every digit by itself, the space before a digit a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=_BYTES, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def spaced_numbers(trim_offsets: bool = False) -> Tokenizer:
    """Like GPT-2: byte-level, " 8" and " 18" are one token. RoBERTa leaves the space out of the offsets."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=_BYTES, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def metaspace_with_bos() -> Tokenizer:
    """Like LLaMA-2: "▁" for spaces and before the text, bytes for what is unknown, a BOS token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    digits = pre_tokenizers.Digits(individual_digits=True)
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, metaspace])
    spaces = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def unigram_with_eos() -> Tokenizer:
    """Like T5: Unigram over "▁", an EOS token after the text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def whole_words() -> Tokenizer:
    """Words between white space; what was not in the corpus is <unk>."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False))
    return tokenizer


VOCABULARIES = {
    "digits_and_bare_spaces": digits_and_bare_spaces,
    "spaced_numbers": spaced_numbers,
    "spaced_numbers_trimmed": lambda: spaced_numbers(trim_offsets=True),
    "metaspace_with_bos": metaspace_with_bos,
    "unigram_with_eos": unigram_with_eos,
    "whole_words": whole_words,
}

CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>")


def with_control_tokens(make: Callable[[], Tokenizer]) -> Tokenizer:
    """The same with ChatML's control tokens, and with a run of spaces that is a token but controls nothing."""
    tokenizer = make()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("    ", normalized=False)])
    return tokenizer
