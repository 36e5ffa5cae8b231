"""Valid combinations of options give sets that keep their promises; all others are refused."""

from itertools import product
from typing import Any, get_args

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import Corruption, TemplatePrompts, Topic
from arithmoscope.contracts.topics import TOPICS
from arithmoscope.prompts import encode_pair, generate, prepare
from arithmoscope.prompts.language.numerals import in_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.language.readings import Reading
from arithmoscope.prompts.language.relation_facts import FRAMES
from arithmoscope.prompts.language.relations import recall_items, recall_question
from arithmoscope.prompts.language.stories import stories
from arithmoscope.prompts.sets import sampling
from arithmoscope.prompts.sets.sampling import draw
from arithmoscope.prompts.tokens.chat_layout import lay_out


def spec(**changes: Any) -> TemplatePrompts:
    return TemplatePrompts.model_validate({"source": "template", **changes})


@pytest.fixture(scope="session")
def everything() -> Tokenizer:
    """A word a token, for all words of all topics; numbers up to 99 and the years, in digits and words."""
    texts = [
        recall_question(topic, frame, *prompts)
        for topic in FRAMES
        for frame in FRAMES[topic]
        for prompts in recall_items(topic)
    ]
    texts += [story.template.text for story in stories()]
    recalled = [parse_question(text) for text in texts]
    texts += [reading.answer for reading in recalled if reading is not None]
    texts += [f"{number} {in_words(number)} none @ + - * / ^ = power" for number in range(100)]
    texts += [str(year) for year in range(1100, 2000)]
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False))
    return tokenizer


def asked_of(topic: Topic, **changes: Any) -> TemplatePrompts:
    row = TOPICS[topic]
    own = {"operations": row.operations} if row.operations else {}
    return spec(topic=topic, wording="varied", pairs=40, **own, **changes)


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("corruption", get_args(Corruption))
@pytest.mark.parametrize("shots", [0, 8])
def test_every_topic_has_sets_by_every_corruption_or_says_which(
    topic: Topic, corruption: Corruption, shots: int, everything: Tokenizer
):
    prompts = asked_of(topic, corruption=corruption, shots=shots)
    if corruption in TOPICS[topic].impossible:
        with pytest.raises(Refusal, match=corruption) as refused:
            draw(prompts, everything)
        assert refused.value.code == "impossible_options"
        assert corruption not in refused.value.way_out
        return
    drawn = draw(prompts, everything)
    questions = [question_text(pair.reference) for pair in drawn.pairs]
    assert len(set(questions)) == len(questions) > 0
    for pair, question in zip(drawn.pairs, questions, strict=True):
        reading = parse_question(pair.reference)
        assert reading is not None
        assert reading.answer == pair.answer
        examples = pair.reference.removesuffix(question)
        lines = examples.splitlines()
        assert len(lines) == shots
        assert len(set(lines)) == shots
        assert not any(line.startswith(f"{question} ") for line in lines)
        assert pair.counterfactual.startswith(examples)
        assert pair.counterfactual != pair.reference
        for line in lines:  # the same wording, solved rightly
            sign = " " if " " in line else "="
            solved = parse_question(line.rpartition(sign)[0] + sign)
            assert solved is not None, line
            assert line.endswith(f"{sign}{solved.answer}")
        encoded = encode_pair(pair, everything)
        roles = {token.role for token in encoded.reference_tokens}
        assert "operator" in roles
        assert "operand_a" in roles or shots == 0  # where it is the first token it is ``first``
        assert ("operand_b" in roles) == bool(TOPICS[topic].operations)


@pytest.mark.parametrize("topic", TOPICS)
def test_what_a_topic_cannot_have_is_what_none_of_its_questions_has(topic: Topic, everything: Tokenizer, monkeypatch):
    """The table agrees exactly with drawing."""
    row = TOPICS[topic]
    monkeypatch.setattr(sampling, "refuse_impossible_set", lambda _spec: None)
    for corruption in get_args(Corruption):
        if corruption in row.impossible:
            with pytest.raises(Refusal) as refused:
                draw(asked_of(topic, corruption=corruption), everything)
            assert refused.value.code == "no_counterfactual"
        else:
            assert draw(asked_of(topic, corruption=corruption), everything).pairs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic": "facts", "operations": ["multiply"]}, "no arithmetic"),
        ({"topic": "facts", "operands": [0, 99]}, "no arithmetic"),
        ({"topic": "facts", "styles": ["question"]}, "no styles"),
        ({"topic": "facts", "numerals": "words"}, "in words"),
        ({"topic": "facts", "decimals": 1}, "no decimals"),
        ({"topic": "counting", "operations": ["subtract"]}, "cannot subtract"),
        ({"topic": "year_span", "operations": ["add", "multiply"]}, "cannot multiply"),
        ({"topic": "year_span", "numerals": "words"}, "in words"),
        ({"topic": "word_problem", "operations": ["power"]}, "cannot power"),
        ({"topic": "word_problem", "styles": ["statement"]}, "no styles"),
        ({"topic": "word_problem", "decimals": 1}, "no decimals"),
        ({"numerals": "words", "decimals": 1}, "in digits"),
        ({"operands": [0, 9_999], "decimals": 2}, "up to 999"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_way_out(
    changes: dict[str, Any], message: str, tokenizer: Tokenizer
):
    with pytest.raises(Refusal, match=message) as refused:
        prepare(spec(**changes), tokenizer)
    assert refused.value.code == "impossible_options"
    assert refused.value.way_out != refused.value.problem.way_out


@pytest.mark.parametrize(("numerals", "decimals"), [("digits", 0), ("digits", 1), ("digits", 2), ("words", 0)])
@pytest.mark.parametrize("corruption", get_args(Corruption))
@pytest.mark.parametrize("operands", [(1, 9), (10, 99), (100, 999)])
def test_numbers_are_written_as_asked_and_answers_are_exact(
    numerals: str, decimals: int, corruption: Corruption, operands: tuple[int, int], tokenizer: Tokenizer
):
    prompts = spec(
        operations=["add", "subtract", "multiply", "divide"],
        styles=["equation", "statement", "question"],
        numerals=numerals,
        decimals=decimals,
        operands=operands,
        corruption=corruption,
        answer="first",
        pairs=36,
        shots=2,
    )
    drawn = draw(prompts, tokenizer)
    assert len(drawn.pairs) == 36
    low, high = operands
    for pair in drawn.pairs:
        reading = parse_question(pair.reference)
        assert isinstance(reading, Reading)
        assert reading.words == (numerals == "words")
        assert all(low <= operand.value <= high for operand in reading.operands)
        assert max(operand.places for operand in reading.operands) == decimals
        assert reading.value >= 0
        other = parse_question(pair.counterfactual)
        if corruption == "null_operator":
            assert other is None
        elif corruption.startswith("operand_swap"):
            assert isinstance(other, Reading)
            assert (other.answer == reading.answer) == corruption.endswith("same_answer")
            assert [o.places for o in other.operands] == [o.places for o in reading.operands]
        for line in pair.reference.splitlines()[:-1]:
            assert "." in line or not decimals


def test_years_are_cut_where_the_vocabulary_has_an_answer(tokenizer: Tokenizer, everything: Tokenizer):
    (first, *_) = generate(topic="year_span", shots=1, tokenizer=tokenizer)
    assert first.reference.splitlines()[0].endswith("to 1728")
    assert len(first.answer) == 1
    assert first.reference.splitlines()[1][-3:].isdecimal()
    (whole, *_) = generate(topic="year_span", shots=1, tokenizer=everything)  # a year is one token there
    assert len(whole.answer) == 4
    assert whole.reference.endswith(" to")
    (two, *_) = generate(topic="year_span", operands=(10, 20), answer="each", tokenizer=tokenizer)
    assert len(two.answer) == 2


def test_examples_of_every_topic_are_turns_of_a_conversation(everything: Tokenizer):
    from test_chat import CHATML

    for topic, numerals in product(TOPICS, ("digits", "words")):
        if numerals == "words" and not TOPICS[topic].words:
            continue
        pair = draw(asked_of(topic, shots=3, numerals=numerals), everything).pairs[0]
        layout = lay_out(pair.reference, CHATML)
        assert layout.text.count("<|im_start|>assistant") == 4, pair.reference


def test_a_plain_set_has_fewer_wordings_than_a_varied_one(everything: Tokenizer):
    for topic in TOPICS:
        plain, varied = (
            draw(asked_of(topic).model_copy(update={"wording": wording}), everything).n_distinct
            for wording in ("plain", "varied")
        )
        assert 0 < plain < varied


def test_the_draws_of_every_topic_are_repeatable_and_a_shorter_set_begins_a_longer_one(everything: Tokenizer):
    for topic in TOPICS:
        whole = draw(asked_of(topic), everything).pairs
        assert draw(asked_of(topic), everything).pairs == whole
        assert draw(asked_of(topic), everything, at_most=5).pairs == whole[:5]
        assert draw(asked_of(topic, seed=1), everything).pairs != whole
