"""Templates of stories: spans of years, counting, and one-step word problems, each of one or two sentences.

``{a}`` and ``{b}`` are the left and right operand. ``[...]`` marks the words that state the operation; in
``[one|other]`` the other words state the row's second operation. ``{stem}`` is the beginning of the other year, as
in "from 1723 to 172", where the answer is 8.
"""

from __future__ import annotations

from arithmoscope.contracts.prompts import Operation, Topic

# Topic, operation of the first words, operation of the second (or none), text. All written for this project.
Row = tuple[Topic, Operation, Operation | None, str]

_YEARS: tuple[Row, ...] = (
    ("year_span", "add", None, "The war [lasted] {a} years from {b} to {stem}"),
    ("year_span", "add", "subtract", "The school was built {a} years [after|before] {b}, in {stem}"),
    ("year_span", "add", "subtract", "Counted {a} years [forward|back] from {b}, the year is {stem}"),
    ("year_span", "add", None, "The voyage [lasted] {a} years from {b} to {stem}"),
    ("year_span", "add", None, "The project [took] {a} years from {b} to {stem}"),
    ("year_span", "add", None, "The king [reigned] {a} years from {b} to {stem}"),
    ("year_span", "add", None, "The trial [dragged on] {a} years from {b} to {stem}"),
    ("year_span", "add", "subtract", "Ann's brother was born {a} years [after|before] {b}, in {stem}"),
    ("year_span", "add", "subtract", "The bridge was finished {a} years [later|earlier] than {b}, in {stem}"),
    ("year_span", "add", "subtract", "The letter was written {a} years [after|before] {b}, in {stem}"),
    ("year_span", "add", "subtract", "The year that comes {a} years [after|before] {b} is {stem}"),
    ("year_span", "add", "subtract", "They met {a} years [after|before] {b}, in the year {stem}"),
    ("year_span", "add", "subtract", "The flood came {a} years [later|sooner] than {b}, in {stem}"),
    ("year_span", "add", "subtract", "The tower was {a} years [newer|older] than one of {b}: it was built in {stem}"),
    ("year_span", "subtract", None, "The war ended in {b} [after] {a} years; it began in {stem}"),
    ("year_span", "subtract", None, "In {b} the king had [reigned] {a} years, since {stem}"),
    ("year_span", "subtract", None, "In {b} the house was [already] {a} years old: it was built in {stem}"),
)

_COUNTING: tuple[Row, ...] = (
    ("counting", "add", None, "I have {a} apples [and] {b} pears. The number of fruits that I have is"),
    ("counting", "add", None, "There are {a} dogs [and] {b} cats. The number of animals is"),
    ("counting", "add", None, "Q: On the table lie {a} pens [and] {b} books. How many things lie there? A:"),
    ("counting", "add", None, "The vase holds {a} roses [and] {b} tulips. The number of flowers is"),
    ("counting", "add", None, "I see {a} cars [and] {b} buses. The number of vehicles is"),
    ("counting", "add", None, "In the room are {a} chairs [and] {b} beds. The pieces of furniture number"),
    ("counting", "add", None, "The band has {a} drums [and] {b} flutes. The number of instruments is"),
    ("counting", "add", None, "Q: I own {a} shirts [and] {b} coats. How many clothes do I own? A:"),
    ("counting", "add", None, "Q: In the bowl are {a} plums [and] {b} figs. How many fruits are in it? A:"),
    ("counting", "add", None, "The garden has {a} oaks [and] {b} pines. The number of trees is"),
    ("counting", "add", None, "On the pond swim {a} ducks [and] {b} swans. The number of birds is"),
    ("counting", "add", None, "In the drawer are {a} forks [as well as] {b} spoons. The number of items is"),
    ("counting", "add", None, "The net holds {a} trout [together with] {b} carp. The number of fish is"),
    ("counting", "add", None, "The box holds {a} red balls [plus] {b} blue ones. The number of balls is"),
)

_GAINS_AND_LOSSES: tuple[Row, ...] = (
    ("word_problem", "add", "subtract", "Tom has {a} coins. He [finds|loses] {b} coins. Now he has"),
    ("word_problem", "add", "subtract", "Ann had {a} stamps and [bought|sold] {b}. The number she has now is"),
    ("word_problem", "add", "subtract", "Q: A bus has {a} riders. Then {b} [get on|get off]. How many are on it? A:"),
    ("word_problem", "add", "subtract", "A shelf holds {a} books. Tom [adds|removes] {b}. The shelf now holds"),
    ("word_problem", "add", "subtract", "A class has {a} pupils, and {b} more [join|leave]. The class then has"),
    ("word_problem", "add", "subtract", "The water was {a} feet deep and [rose|fell] by {b}. Its depth in feet is"),
    (
        "word_problem",
        "add",
        "subtract",
        "Ann is {a} years old. Her friend is {b} years [older|younger]. Her friend's age is",
    ),
    ("word_problem", "add", "subtract", "A team had {a} points and [won|lost] {b}. Its points are now"),
    ("word_problem", "add", "subtract", "A farmer has {a} sheep and [buys|sells] {b}. The farmer now has"),
    ("word_problem", "add", "subtract", "Q: A jar has {a} sweets. Tom [puts in|takes out] {b}. How many are left? A:"),
    ("word_problem", "add", "subtract", "A ticket cost {a} dollars. The price went [up|down] by {b}. It now costs"),
    ("word_problem", "add", "subtract", "A plant was {a} inches tall and [grew|was cut] by {b}. Its inches are now"),
    ("word_problem", "add", "subtract", "Q: Ann has {a} dollars and [earns|spends] {b}. How much has she now? A:"),
)

_TIMES: tuple[Row, ...] = (
    ("word_problem", "multiply", "add", "Tom has {a} coins. Ann has {b} [times as many|coins more]. Ann has"),
    ("word_problem", "multiply", None, "There are {a} bags [with] {b} apples each. The number of apples is"),
    ("word_problem", "multiply", None, "Q: There are {a} rows [of] {b} chairs. How many chairs are there? A:"),
    ("word_problem", "multiply", "add", "Tom is {a} years old. His aunt is {b} [times as old|years older]. Her age is"),
    (
        "word_problem",
        "multiply",
        "add",
        "A tree is {a} feet tall. A tower is {b} [times as tall|feet taller]. Its feet are",
    ),
    (
        "word_problem",
        "multiply",
        "add",
        "Ann ran {a} miles. Tom ran {b} [times as far|miles farther]. The miles Tom ran are",
    ),
    ("word_problem", "multiply", "add", "A price of {a} dollars was [multiplied|raised] by {b}. It is now"),
    ("word_problem", "multiply", None, "[Each] of {a} children has {b} pens. The number of their pens is"),
    ("word_problem", "multiply", None, "Tom buys {a} pens [at] {b} dollars each. The dollars he pays are"),
    ("word_problem", "multiply", None, "Ann works {a} hours [a day] for {b} days. The hours she works are"),
    ("word_problem", "multiply", None, "A box holds {a} eggs. The number of eggs in [all of] {b} boxes is"),
    ("word_problem", "multiply", None, "Q: A car has {a} seats. How many seats have {b} [such] cars? A:"),
    ("word_problem", "multiply", None, "A baker bakes {a} cakes [every] hour. In {b} hours he bakes"),
)

_SHARES: tuple[Row, ...] = (
    ("word_problem", "divide", "subtract", "A price of {a} dollars was [divided|lowered] by {b}. It is now"),
    ("word_problem", "divide", None, "Tom [shares] {a} sweets equally among {b} friends. Each friend gets"),
    ("word_problem", "divide", None, "Q: Ann [splits] {a} coins into {b} equal piles. How many are in a pile? A:"),
    ("word_problem", "divide", None, "There are {a} apples to be [packed] in bags of {b}. The number of bags is"),
    ("word_problem", "divide", None, "A rope of {a} feet is [cut] into {b} equal parts. The feet of a part are"),
    ("word_problem", "divide", None, "A trip of {a} miles is [spread] evenly over {b} days. The miles of a day are"),
    ("word_problem", "divide", None, "Q: A class of {a} [forms] teams of {b}. How many teams are there? A:"),
    ("word_problem", "divide", None, "Pens cost {b} dollars [each]. For {a} dollars the number of pens is"),
    (
        "word_problem",
        "divide",
        "subtract",
        "Ann is {a} years old. Tom is [younger by a factor of|younger by] {b}. His age is",
    ),
    ("word_problem", "divide", None, "A wall of {a} bricks is [laid] in {b} equal rows. The bricks in a row are"),
    (
        "word_problem",
        "divide",
        None,
        "Q: A book of {a} pages is [read] at {b} pages a day. How many days does it take? A:",
    ),
    ("word_problem", "divide", None, "A bill of {a} dollars is [paid] by {b} people in equal shares. A share is"),
    (
        "word_problem",
        "divide",
        None,
        "A field of {a} acres is [parted] equally between {b} sons. The acres of a son are",
    ),
)

STORIES: tuple[Row, ...] = (*_YEARS, *_COUNTING, *_GAINS_AND_LOSSES, *_TIMES, *_SHARES)
