"""Plain English passages without numbers, written for this project.

Their perplexity before and after fine-tuning shows what training on arithmetic costs elsewhere.
"""

from __future__ import annotations

PASSAGES: tuple[str, ...] = (
    "The baker lights the oven long before the street wakes up. Flour hangs in the warm air while the dough rests "
    "under a damp cloth, slowly swelling. When the loaves come out, the crust crackles softly as it cools, and the "
    "smell drifts through the open window to people who are still half asleep.",
    "Rain that falls on the hills does not hurry to the sea. Some of it soaks into moss, some runs along roots and "
    "stones, and some sinks so deep that it stays hidden for generations. A spring in a dry summer may be giving back "
    "water that fell when today's old trees were seeds.",
    "My grandmother kept buttons in a biscuit tin. Whenever a shirt was too worn to mend, she cut the buttons off and "
    "dropped them in. As children we sorted them by colour on the kitchen floor, and each of them seemed to come from "
    "a stranger's coat with a story that nobody could tell us any more.",
    "A violin is mostly empty space. The strings alone are almost silent; it is the thin wooden box that turns their "
    "trembling into a voice. The shape of the belly, the age of the spruce and even the varnish change how it sings, "
    "which is why makers still argue about the old masters.",
    "The harbour was quiet except for ropes knocking against masts. A man in a yellow coat mended nets under a lamp, "
    "and a cat watched him with great patience. Far out, the light of a ship moved along the horizon so slowly that "
    "it seemed to stand still whenever I looked at it.",
    "Bees do not see flowers as we do. Many petals that look plain to us carry bright paths in ultraviolet light, "
    "leading straight to the nectar. The flower spends nothing on modesty: it paints a road for its guests, and they "
    "carry its pollen away without ever knowing that they were hired.",
    "To keep a diary well, write about what you saw rather than what you felt. Feelings fade into each other over the "
    "years, but the torn poster at the station, the soup that was too salty and the joke that your neighbour told "
    "will bring the whole afternoon back when you read of them again.",
    "The castle was never taken by force. Its walls stood above a bend of the river, and its well reached far below "
    "the rock. In the end it fell because the garrison had not been paid, and somebody left a small door unlocked on "
    "a foggy night. The guides tell this story with some satisfaction.",
    "Glass is made from sand, ash and lime, melted until they flow like honey. A good blower gathers a glowing lump "
    "at the end of a pipe, turns it without pause and breathes into it gently. If the breath is too strong the bubble "
    "tears, and if the hand stops, the vessel sags to the side.",
    "When the library closed for the summer, the children brought their borrowed books to the porch of the old "
    "school. They read aloud to each other in the shade, taking turns with the voices. By the time the doors opened "
    "again, the smallest of them could recite the tale of the fox by heart.",
    "Clouds look soft, yet they are made of tiny drops that fall all the time. Rising air holds them up, as a "
    "fountain holds a ball. When the drops meet and merge they grow too heavy for the draught beneath, and what had "
    "been drifting white above the fields comes down as rain.",
    "The tailor measured nothing. He looked at the customer, frowned, walked around him slowly and began to cut. "
    "People said that he had learned it from his mother, who could tell by the way a person leaned on the counter "
    "whether the left shoulder would need more cloth than the right.",
    "Chess players often remember a position better than the faces of those they played against. To them the board is "
    "not a heap of pieces but a few familiar shapes: a chain of pawns, a weak square, a king that feels a draught. "
    "Scatter the pieces without sense, and their memory is no better than ours.",
    "In the desert the night is cold because nothing keeps the warmth of the day. The sand gives it back to a clear "
    "sky as soon as the sun has gone. Animals know this and dig: a little below the surface it is mild at any hour, "
    "and the burrow of a fox hardly notices the seasons.",
    "She learned the language by listening to the radio while she cooked. For months it was only music between the "
    "trumpets of the news. Then a word stood out, and another, like stones when the tide runs low. On a grey morning "
    "she laughed at a joke and only afterwards noticed what had happened.",
    "The old bridge was built without mortar. Every stone leans on its neighbour, and the heavier the load, the more "
    "tightly they hold together. Travellers once left coins in a crack beside the shrine for a safe journey. The "
    "coins are gone, but the groove that so many fingers wore is still there.",
    "Owls fly without a sound because the front edge of their feathers is fringed like a comb. The fringe breaks the "
    "air into small swirls that make no noise. A mouse hears nothing until the claws arrive, while the owl, whose "
    "ears sit at different heights, has heard the mouse all along.",
    "A letter used to take weeks to cross the ocean. People wrote as if they were talking across a wide valley: "
    "slowly, with care, and about things that would still be true when the paper arrived. Many kept copies, since "
    "they would have forgotten their own questions by the time an answer came.",
    "The gardener never pulls up every weed. Nettles feed the caterpillars of her favourite butterflies, clover feeds "
    "the soil, and the bindweed along the fence is allowed to flower before it goes. What looks untidy from the road "
    "is a household in which she knows almost every tenant.",
    "Iron was precious before people learned to smelt it, for the only iron they had came from the sky. Smiths "
    "hammered meteorites into beads and blades for kings. Later, when furnaces grew hot enough to win the metal from "
    "red earth, farmers could afford what rulers had once been buried with.",
    "The train stopped between stations, and nobody said why. After a while strangers began to talk. A woman shared "
    "her cherries, a student played a quiet tune, and an old man explained how signals work. When the train moved on, "
    "some of us were a little sorry that the delay was over.",
    "Salt once paid for roads and wars. It keeps meat through the winter, and so whoever owned a salt mine owned a "
    "part of every kitchen. Towns grew along the routes on which it was carried, and their names still tell of it, "
    "long after people have forgotten why the merchants stopped there.",
    "Before you paint a wall, look at it in the evening light. Every dent that the noon sun hides throws a shadow "
    "then. Fill them, wait until the filler is truly dry, and sand it with a light hand. The colour is the smallest "
    "part of the work, although it is all that visitors will notice.",
    "The moon pulls at the sea, but also at the solid ground, which rises and falls beneath our feet without our "
    "feeling it. We notice the tides only where water meets land and climbs the beach. In the middle of the ocean a "
    "sailor floats up and down with the whole surface and knows nothing of it.",
    "Our teacher of history never asked for dates. He asked what people were afraid of, what they ate in spring when "
    "the stores were empty, and who was allowed to read. Somebody who knows that, he said, can guess the rest, and "
    "somebody who does not will never understand why they acted as they did.",
    "The potter centres the clay with the heel of her hand. Until it runs true nothing else can be done: every wobble "
    "that remains will return in the wall of the bowl. Beginners hurry this part and fight the clay for the rest of "
    "the hour. She waits, and then the rest is easy.",
    "Whales sing, and their songs change. A new phrase appears among the singers of some bay, others copy it, and "
    "within a few seasons it has crossed an ocean. Nobody knows what it means to them. It spreads as tunes spread "
    "among people: because it is new, and because the neighbours sing it.",
    "The market smelled of oranges, wet dogs and coffee. A boy sold umbrellas and prayed for clouds; beside him his "
    "uncle sold sunglasses and prayed for sun. On most days the weather disappointed both of them a little, and they "
    "shared their bread on the steps of the fountain without any hard feelings.",
    "Paper was a secret for a long time. Those who knew how to beat old rags into pulp and lift a sheet from the vat "
    "guarded the craft, for it was cheaper than parchment and lighter than silk. When it finally spread, so did "
    "complaints that people wrote too much and thought too little.",
    "If you are lost in a forest, do not run. Sit down, drink something and listen. Roads, dogs and water can be "
    "heard farther than you think. Mark the place before you leave it, and walk downhill along a stream if there is "
    "any, since people have always built their houses near water.",
    "The clock in the hall had stopped years ago, but nobody had the heart to take it down. Visitors checked their "
    "watches in confusion. My father claimed that it was right more often than the politicians, and on the "
    "anniversary of the day it stopped he wound it, out of politeness, and nothing happened.",
    "Bread mould taught medicine a lesson. A careless researcher left a dish near a window, and where the mould had "
    "grown the bacteria were gone. Others might have thrown it away. He looked again, wondered why, and wrote it "
    "down, though it took patient colleagues many years to turn the accident into a cure.",
    "A desk tells you a great deal about its owner. Some are bare, as if work were a guest who might be offended by "
    "dust. Others are landscapes with valleys and cliffs of paper, through which only the owner can travel. Tidy such "
    "a desk as a favour, and you will not be forgiven for a long time.",
    "The mountain village has a custom for newcomers. On the evening they arrive, each household brings them a log "
    "for the stove. Nobody makes a speech. By the end there is a pile beside the door that lasts until spring, and "
    "the newcomers have seen every face that they will need to know.",
    "Dyes were once worth more than the cloth they coloured. Purple came from sea snails, red from insects on a "
    "cactus, and blue from leaves that had to rot in vats with a terrible smell. Wearing a bright coat was a way of "
    "saying, without a word, how far your ships could sail.",
    "He had promised to fix the roof before autumn, and every sunny week he found a reason to wait. Then the storms "
    "came. He lay awake listening to drops that fell into pots and pans, each with a note of its own, and thought "
    "that it might almost be a tune if it were somebody else's house.",
    "Ants find the shortest way to sugar without any plan. Each leaves a faint trail of scent, and the trail fades "
    "with time. On a short path the ants return sooner and renew it more often, so more of them follow it, and before "
    "long the detours are empty. The map is in the ground, not in their heads.",
    "The actress prepared for the role by working in a laundry. She learned how steam hurts the lungs and how tired "
    "hands fold sheets without looking. On stage she never mentioned any of it, yet the audience believed every "
    "gesture. An old woman in the gallery wept, because she had folded like that herself.",
    "Frost draws ferns on the window because ice grows where it finds a scratch or a speck of dust. From there it "
    "branches, feeding on the damp air of the room, and stops where the glass is too warm. Wipe it away, and the next "
    "night it returns to the same scratches and draws almost the same garden.",
    "The orchestra tunes to the oboe, not because it is the finest instrument but because it cannot easily be bent. "
    "Its note is thin, steady and a little stubborn. Around it the strings slide into place, the horns follow, and "
    "for a moment before the conductor enters, a whole crowd agrees about something.",
)
