"""Knowledge without arithmetic: facts, grammar, antonyms, sequences. One word to another, by a named relation.

Answers are short common words, so that many are one token in most vocabularies. All rows are common knowledge,
written down for this project.
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


def _listed(rows: str) -> dict[str, str]:
    return {subject: answer for subject, _, answer in (row.partition(" ") for row in rows.split(", "))}


def _followed(things: str, step: int, *, around: bool) -> dict[str, str]:
    """What comes ``step`` further on; of days and months around the end."""
    row = things.split()
    places = range(len(row))
    return {row[at]: row[(at + step) % len(row)] for at in places if around or at + step in places}


# Topic -> the relation as it is written -> what goes in -> what comes out. Relations of one frame may be exchanged.
RELATIONS: dict[Topic, dict[str, dict[str, str]]] = {
    "facts": {"capital": _listed(_CAPITALS), "language": _listed(_LANGUAGES), "continent": _listed(_CONTINENTS)},
    "grammar": {"plural": _listed(_PLURALS), "past tense": _listed(_PASTS), "past participle": _listed(_PARTICIPLES)},
    "antonyms": {"opposite": _listed(_OPPOSITES), "synonym": _listed(_SYNONYMS)},
    "sequences": {
        "after": {
            **_followed(_DAYS, 1, around=True),
            **_followed(_MONTHS, 1, around=True),
            **_followed(_LETTERS, 1, around=False),
        },
        "before": {
            **_followed(_DAYS, -1, around=True),
            **_followed(_MONTHS, -1, around=True),
            **_followed(_LETTERS, -1, around=False),
        },
    },
}
# Asked for only where another relation is swapped in: a set of antonyms asks for opposites.
ONLY_SWAPPED = frozenset({"synonym"})

# Wordings, the plain one first. {relation} and {subject} are the parts; {kind} is "day", "month" or "letter".
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
    """What a member of a sequence is called."""
    return "day" if subject in _DAYS.split() else "month" if subject in _MONTHS.split() else "letter"
