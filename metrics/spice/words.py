"""The small closed classes of English, and what captions do with words that may be nouns or verbs."""

from __future__ import annotations


def _closed() -> dict[str, str]:
    classes = {
        "T": "a an the some any each every another both no all either neither",
        "K": "this that these those",
        "Y": "his her their its my your our",
        "U": "he she they it him them i you we us me himself herself itself themselves who's",
        "W": "who which whom whose what",
        "X": "while as because when where although though if whilst whereas until since so than",
        "C": "and or but & nor",
        "M": "can could will would may might shall should must do does did 'll",
        "B": "is are was were be been being am 're 'm",
        "O": "to",
        "'": "'s '",
        ".": ". ! ? ;",
        ",": ", : -- - -lrb- -rrb- ( ) `` '' \"",
        "#": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
        "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million dozen",
        "I": "in on at of with by from into onto over under through across along near beside behind between among against toward towards "
        "underneath beneath below above upon within without during around after before about off for like amongst amidst alongside inside "
        "outside out down up past beyond atop via onto throughout except despite per versus as opposite aboard amid nearby",
        "R": "not n't very too also just still almost away together apart back forward backward backwards forwards ahead indoors outdoors "
        "sideways downhill uphill upside there here well high low far close upward upwards downward downwards then now only even "
        "mostly again maybe perhaps long alone ready-made abreast aside overhead never always often mid-air midair",
    }
    return {word: tag for tag, words in classes.items() for word in words.split()}


CLOSED = _closed()

# Prepositions that follow a verb without a noun of their own ("stands up", "looks on").
PARTICLES = frozenset("up down off out over on in around away back along through by together apart forward".split())

# Adverbs and adjectives that begin a preposition of several words: first word -> (rest, name of the relation).
PREPOSITIONS: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "next": ((("to",), "next to"),),
    "close": ((("to",), "close to"),),
    "in": ((("front", "of"), "in front of"), (("between",), "between")),
    "on": ((("top", "of"), "on top of"),),
    "out": ((("of",), "out of"), (("from",), "from")),
    "off": ((("of",), "off of"),),
    "away": ((("from",), "from"),),
    "across": ((("from",), "across from"),),
    "because": ((("of",), "because of"),),
    "instead": ((("of",), "instead of"),),
    "inside": ((("of",), "inside of"),),
    "outside": ((("of",), "outside of"),),
    "along": ((("with",), "along with"),),
    "together": ((("with",), "with"),),
    "due": ((("to",), "due to"),),
    "adjacent": ((("to",), "adjacent to"),),
    "ahead": ((("of",), "ahead of"),),
    "such": ((("as",), "such as"),),
    "up": ((("to",), "to"),),
}
# The noun within such a preposition counts as an object, too.
INNER_NOUNS = {"in front of": "front", "on top of": "top"}

# Words that a caption uses as verbs more often than as nouns, by lemma.
VERBS = frozenset(
    """approach attempt attend balance begin bend bike bite bounce bow box breathe bring build burn buy camp carry cast catch celebrate chase
    check chew clean climb close compete contain cook cover crash crawl cross crouch cry cut dance dig dip dive do drag draw dress drink drive
    eat embrace enjoy enter examine exit explore face fall feed fetch fight film fix flip float fly follow frolic gather gaze get give glide go
    grab graze grin grind grip guide hang have help hike hit hold hop hug hurdle jog jump kayak keep kick kiss kneel laugh launch lay lead lean
    leap leave let lick lie lift listen look lounge make march meet miss mount move open overlook paddle pass peek peer perform pet pick play
    point pose pounce prepare pretend pull push put race reach read ready recline relax rest reveal ride roll row run sail say see sell serve
    shake share shoot show sing sit skate skateboard ski skip sled sleep slide smell smile sniff snowboard soar speak spin splash spray spread
    squat stand stare start steer step stick stop stretch strike stroll study surf surround swim swing tackle take talk throw toss touch travel
    trot try tumble turn type unload use vault wade wait wake wakeboard walk wander wash watch wave wear work wrestle write yell""".split()
)
# Words in -ing that stand for things or places ("a parking lot"), or that the published parser takes for things in a headless caption.
GERUND_NOUNS = frozenset(
    """building clothing ceiling painting railing wedding evening morning lighting crossing landing siding icing frosting wing ring string
    king thing something nothing anything everything spring opening awning swing sling sibling duckling topping stuffing drawing being
    writing housing carving bedding""".split()
)
FRAGMENT_NOUNS = frozenset("standing walking skiing hanging swimming drinking waiting cooking driving surfing holding".split())

COLOURS = frozenset(
    """black white red green blue yellow brown gray grey orange pink purple tan beige gold golden silver blonde blond maroon violet turquoise teal
    navy cream""".split()
)
# Adjectives that the lexicon has as nouns or verbs as well and that captions use before nouns.
ADJECTIVES = COLOURS | frozenset(
    """young old large small big little tall short long wet dry dirty clean open empty full front wooden brick many several few more other same
    left right top bottom high low dark light bright asian american indian male female elderly adult hot cold deep round square flat metal
    plastic stuffed stone concrete busy crowded public striped plaid patterned bare upper lower middle outer inner inside""".split()
)
PEOPLE = frozenset(
    """man woman boy girl child person people player lady guy kid surfer skier snowboarder rider skateboarder baby toddler climber biker
    cyclist group crowd couple family team friend mother father""".split()
)
COUNTED = frozenset("pair bunch lot couple number variety".split())
PLURAL_ONLY = frozenset(
    """people shorts pants scissors trousers clothes jeans binoculars sunglasses goggles tongs pliers tights leggings pajamas overalls police
    cattle""".split()
)
# Nouns that end like plurals and are none.
SINGULAR_S = frozenset("tennis grass glass dress bus christmas gas lens bass moss cross mess boss compass class mattress princess".split())
