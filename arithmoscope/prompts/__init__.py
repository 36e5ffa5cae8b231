"""Arithmetic in words and tokens: reads it, corrupts it, draws it from templates, and cuts it where the answer begins.

Pure Python and the `tokenizers` package: no model is needed here, only its tokeniser.
"""

from tokenizers import Tokenizer

from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.prompts.sets.prompt_sets import PromptSet, generate, prepare, preview
from arithmoscope.prompts.tokens.encoded import EncodedPair, encode_pair, number_token_values, number_word_values
from arithmoscope.prompts.tokens.length_checks import refuse_unequal_lengths

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
