"""The tokenizer: a digit, a sign, a line end and each word of the product's tables are one token; spaces are none.

Its decoder writes numbers without spaces, words with them, and a text of the product's wordings as it was, except for
spaces around signs ("3+5=" comes back as "3 + 5 =").
"""

from __future__ import annotations

import re
import string

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from arithmoscope.prompts.language.numerals import in_words
from benchmarks.adder.wordings import calculations, counterfactual, recalls

BOS, EOS, UNKNOWN, LINE_END = "<s>", "</s>", "<unk>", "\n"
NOTHING = "none"
"""The answer to a question whose operator is taken out."""
_WORD = r"\n|[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]"
# (pattern, text) in order: what the decoder changes after it has joined all tokens with spaces.
_JOINED = (
    (" ?\n ?", "\n"),
    ("(?<=[0-9]) (?=[0-9])", ""),  # the digits of a number
    ("(?<=[0-9]) \\. (?=[0-9])", "."),
    (" (?=[.,?:;!])", ""),
    ("(?<=[a-z]) ' (?=s\\b)", "'"),
    ("(?<=[a-z]) - (?=(one|two|three|four|five|six|seven|eight|nine)\\b)", "-"),
    ("\\* \\*", "**"),
    ("(?<=\\() ", ""),
    (" (?=\\))", ""),
)


def words() -> list[str]:
    """All tokens but the special ones, in alphabetical order."""
    texts = [*string.digits, "@", ".", ",", "-", NOTHING]
    texts += [in_words(number) for number in (*range(100), 100, 1_000)]
    for wording in calculations():
        swapped = [counterfactual(wording, corruption) for corruption in ("null_operator", "operator_swap")]
        texts += [each.template.text for each in (wording, *swapped) if each is not None]
    for recall in recalls():
        texts += [recall.question(subject) for subject in recall.answers] + list(recall.answers.values())
    plain = (re.sub(r"\{[a-z]+\}", " ", text) for text in texts)
    return sorted({word for text in plain for word in re.findall(_WORD, text)})


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token of the vocabulary."""
    return tokenizer.get_vocab()[token]


def build_tokenizer() -> Tokenizer:
    """The tokenizer, the same on every machine."""
    vocabulary = {word: number for number, word in enumerate((BOS, EOS, UNKNOWN, LINE_END, *words()))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    tokenizer.add_special_tokens([BOS, EOS, UNKNOWN])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])]
    )
    joined = [decoders.Replace(Regex(pattern), text) for pattern, text in _JOINED]
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), *joined])
    return tokenizer
