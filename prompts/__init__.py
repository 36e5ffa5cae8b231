"""Arithmetic in words and tokens: reads it, corrupts it, draws it from templates, and cuts it where the answer begins.

Pure Python and the `tokenizers` package: no model is needed here, only its tokeniser.
"""

from tokenizers import Tokenizer

from contracts.models import ChatFrame
from contracts.prompts import PromptPair
from prompts.lengths import refuse_unequal_lengths
from prompts.sets import PromptSet, generate, prepare, preview
from prompts.tokens import EncodedPair, encode_pair, number_token_values, number_word_values

__all__ = [
    "ChatFrame",
    "EncodedPair",
    "PromptPair",
    "PromptSet",
    "Tokenizer",
    "encode_pair",
    "generate",
    "number_token_values",
    "number_word_values",
    "prepare",
    "preview",
    "refuse_unequal_lengths",
]
