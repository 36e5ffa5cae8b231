"""Arithmetic prompts: parsing, corruption, drawing from templates, and tokenisation up to the answer.

Pure Python and the `tokenizers` package: needs a model's tokeniser, never the model.
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
