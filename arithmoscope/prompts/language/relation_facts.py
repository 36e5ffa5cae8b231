"""Tables of relations without arithmetic: facts, grammar, antonyms, sequences. Each maps a word to a word.

Answers are short common words, most of them one token in most vocabularies. All rows are common knowledge, written down
for this project.
"""

from __future__ import annotations

from arithmoscope.contracts.prompts import Topic

# fmt: off
_CAPITALS = (
    "France Paris, Germany Berlin, Italy Rome, Spain Madrid, Portugal Lisbon, England London, Scotland Edinburgh, "
    "Ireland Dublin, Norway Oslo, Sweden Stockholm, Denmark Copenhagen, Finland Helsinki, Poland Warsaw, "
    "Austria Vienna, Hungary Budapest, Greece Athens, Turkey Ankara, Russia Moscow, Ukraine Kyiv, Egypt Cairo, "
    "Kenya Nairobi, Iran Tehran, Iraq Baghdad, Syria Damascus, Lebanon Beirut, Japan Tokyo, China Beijing, "
    "Thailand Bangkok, Vietnam Hanoi, Cuba Havana, Peru Lima, Chile Santiago, Canada Ottawa, Belgium Brussels"
)
_LANGUAGES = (
    "France French, Germany German, Italy Italian, Spain Spanish, Portugal Portuguese, England English, "
    "Russia Russian, Greece Greek, Turkey Turkish, Japan Japanese, China Chinese, Poland Polish, Sweden Swedish, "
    "Norway Norwegian, Denmark Danish, Austria German, Mexico Spanish, Cuba Spanish, Peru Spanish, Chile Spanish, "
    "Brazil Portuguese, Egypt Arabic, Iraq Arabic, Syria Arabic, Australia English"
)
_CONTINENTS = (
    "France Europe, Germany Europe, Italy Europe, Spain Europe, Poland Europe, Sweden Europe, Egypt Africa, "
    "Kenya Africa, Nigeria Africa, Ghana Africa, Japan Asia, China Asia, Thailand Asia, Vietnam Asia, Iraq Asia"
)
_PLURALS = (
    "dog dogs, cat cats, man men, woman women, child children, foot feet, tooth teeth, mouse mice, house houses, "
    "box boxes, city cities, knife knives, leaf leaves, wolf wolves, life lives, book books, tree trees, "
    "bird birds, car cars, story stories, baby babies, wife wives, hero heroes, church churches"
)
_PASTS = (
    "go went, see saw, eat ate, take took, give gave, come came, run ran, make made, know knew, think thought, "
    "find found, say said, write wrote, speak spoke, break broke, drive drove, sing sang, drink drank, fall fell, "
    "grow grew, buy bought, bring brought, begin began, choose chose"
)
_PARTICIPLES = (
    "go gone, see seen, eat eaten, take taken, give given, know known, write written, speak spoken, "
    "break broken, drive driven, sing sung, drink drunk, fall fallen, grow grown, begin begun, choose chosen"
)
_OPPOSITES = (
    "hot cold, big small, good bad, up down, left right, day night, black white, fast slow, high low, old new, "
    "open closed, rich poor, strong weak, light dark, long short, wet dry, hard soft, early late, full empty, "
    "happy sad, inside outside, true false, love hate, war peace, life death, start end, first last, north south, "
    "east west, above below, always never, before after, buy sell, clean dirty, deep shallow, heavy light, "
    "loud quiet, thick thin, wide narrow, young old, win lose, push pull"
)
_SYNONYMS = (
    "big large, small little, fast quick, start begin, end finish, happy glad, sad unhappy, rich wealthy, "
    "hard difficult, loud noisy, quiet silent, wet damp, buy purchase, dirty filthy, always forever"
)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = "January February March April May June July August September October November December"
_LETTERS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"
# fmt: on


def _table(rows: str) -> dict[str, str]:
    return {subject: answer for subject, _, answer in (row.partition(" ") for row in rows.split(", "))}


def _neighbours(sequence: str, step: int, *, cyclic: bool) -> dict[str, str]:
    """Each member of a sequence with the one ``step`` further on; ``cyclic`` sequences continue at the other end."""
    row = sequence.split()
    places = range(len(row))
    return {row[index]: row[(index + step) % len(row)] for index in places if cyclic or index + step in places}


# Topic -> relation, as written -> subject -> answer. Relations of one topic can replace each other in a frame.
RELATIONS: dict[Topic, dict[str, dict[str, str]]] = {
    "facts": {"capital": _table(_CAPITALS), "language": _table(_LANGUAGES), "continent": _table(_CONTINENTS)},
    "grammar": {"plural": _table(_PLURALS), "past tense": _table(_PASTS), "past participle": _table(_PARTICIPLES)},
    "antonyms": {"opposite": _table(_OPPOSITES), "synonym": _table(_SYNONYMS)},
    "sequences": {
        "after": {
            **_neighbours(_DAYS, 1, cyclic=True),
            **_neighbours(_MONTHS, 1, cyclic=True),
            **_neighbours(_LETTERS, 1, cyclic=False),
        },
        "before": {
            **_neighbours(_DAYS, -1, cyclic=True),
            **_neighbours(_MONTHS, -1, cyclic=True),
            **_neighbours(_LETTERS, -1, cyclic=False),
        },
    },
}
# Used only as a replacement for another relation: a set of antonyms asks for opposites.
ONLY_SWAPPED = frozenset({"synonym"})

# Wordings, the plain one first. {kind} is "day", "month" or "letter".
FRAMES: dict[Topic, tuple[str, ...]] = {
    "facts": (
        "The {relation} of {subject} is",
        "Q: What is the {relation} of {subject}? A:",
        "Everybody knows that the {relation} of {subject} is",
        "Asked for the {relation} of {subject}, she said",
    ),
    "grammar": (
        "The {relation} of {subject} is",
        "Q: What is the {relation} of {subject}? A:",
        "In English the {relation} of {subject} is",
        "The word for the {relation} of {subject} is",
    ),
    "antonyms": (
        "The {relation} of {subject} is",
        "Q: What is the {relation} of {subject}? A:",
        "A word that is the {relation} of {subject} is",
        "Asked for the {relation} of {subject}, she said",
    ),
    "sequences": (
        "The {kind} that comes {relation} {subject} is",
        "Q: Which {kind} comes {relation} {subject}? A:",
        "The {kind} right {relation} {subject} is",
        "Just {relation} {subject} comes the {kind}",
    ),
}


def kind_of(subject: str) -> str:
    """The noun for a member of a sequence."""
    return "day" if subject in _DAYS.split() else "month" if subject in _MONTHS.split() else "letter"
