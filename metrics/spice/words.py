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
        "underneath beneath below above upon within without during around after before about off for amongst amidst like alongside inside "
        "outside out down up past beyond atop via onto throughout except despite per versus opposite aboard amid nearby",
        "R": "not n't very too also just still almost away together apart back forward backward backwards forwards ahead indoors outdoors "
        "sideways downhill uphill upside there here upward upwards downward downwards then now only even "
        "mostly again maybe perhaps alone well abreast aside overhead never always often possibly",
    }
    return {word: tag for tag, words in classes.items() for word in words.split()}


CLOSED = _closed()

# Prepositions that follow a verb without a noun of their own ("stands up", "looks on").
PARTICLES = frozenset("up down off out over on in around away back along through by together apart forward".split())


def _prepositions() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    phrases = """next to,close to,in front of,in between=between,on top of,out of,out from=from,off of,away from=from,across from,
        because of,instead of,inside of,outside of,along with,together with=with,due to,adjacent to,ahead of,such as"""
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for phrase in phrases.split(","):
        text, _, name = phrase.strip().partition("=")
        first, *rest = text.split()
        found.setdefault(first, []).append((tuple(rest), name or text))
    return found


# Prepositions of several words: first word -> (rest, name of the relation).
PREPOSITIONS = _prepositions()
# The adverbs and adjectives among their first words -> what follows them.
PREPOSITION_HEADS = {first: PREPOSITIONS[first][0][0][0] for first in "next close away due adjacent ahead such together instead".split()}
# The noun within such a preposition counts as an object, too.
INNER_NOUNS = {"in front of": "front", "on top of": "top"}

# Words that a caption uses as verbs more often than as nouns, by lemma.
VERBS = frozenset(
    """hail land screech blow accompany applaud approach ascend attack attempt attend backflip bake balance bark bathe begin
    belong bend bike bite block boil borrow bounce brandish breathe bring build burn bury buy call carry carve cast
    catch celebrate chase check cheer chew chop clap clean climb cling close collide come compare compete consume
    contain control converse cook cover crash crawl cross crouch crumble cry cuddle curl cut dance dangle decorate
    depict descend dig dine dip direct display dive do dodge drag drape draw dribble drift drink drive drool dunk eat
    embrace emerge enjoy enter escape examine exit explore extend face fall fasten feed fetch fiddle fight fish fix flee
    flip float flow fly follow ford frolic frown gallop gather gaze gesture get give glide gnaw go golf grab graze greet
    grill grin grind grip grow guide hail hang have hear help hike hit hold hop hover huddle hug hunt hurdle illuminate
    include inspect interact jog juggle jump kayak keep kick kiss kneel know land laugh launch lay lead lean leap leave
    let lick lie lift listen live look loom lounge lower lurk make maneuver march meet miss mix mount move mow nap
    navigate nuzzle obscure observe occupy open operate overlook own paddle paint park pass pause pedal peddle peek peel
    peer perform pet photograph pick pile play plunge point poke pose pounce pour prance preen prepare pretend protrude
    pull pursue push put race raise rappel reach read ready recline relax remove rest return reveal ride roam roast roll
    rollerblade romp row run sail say scale scatter scoot scramble scratch scream scrub see sell serve shake share shine
    shoot shout show signal sing sip sit skate skateboard ski skid skip sled sleep slice slide slip smell smile smoke
    snap snarl sneak sniff snorkel snowboard snuggle soar somersault speak spectate spin splash spray spread sprint
    squat squint stand stare start steer step stick stir stoop stop straddle stretch strike stroll struggle study
    stumble surf surround swallow sweep swerve swim swing swoop tackle take talk teach tend think throw tilt toss touch
    tow trail travel traverse trek trot trudge try tug tumble turn twirl twist type unload unwrap use vault visit wade
    wag wait wake wakeboard walk wander want wash watch wave wear wield windsurf work wrap wrestle write yawn yell zoom""".split()
)
# Words in -ing that stand for things or places ("a parking lot"), or that the published parser takes for things in a headless caption.
GERUND_NOUNS = frozenset(
    """building clothing ceiling painting railing wedding evening morning lighting crossing landing siding icing frosting wing
    ring string king thing something nothing anything everything spring opening awning swing sling sibling duckling
    topping stuffing drawing being writing housing carving bedding evening outing parking ground""".split()
)
# Participles that it takes for adjectives of the bare noun after them ("people riding bicycles").
FRAGMENT_ADJECTIVES = frozenset("playing holding riding swinging showing eating".split())
# Nouns that the published parser takes for verbs where they open a headline without a determiner.
OPENING_VERBS = frozenset("bear building buy concrete house light mirror object parrot ship skateboard spoon star".split())
FRAGMENT_NOUNS = frozenset("standing walking skiing swimming drinking waiting cooking".split())

COLOURS = frozenset(
    """black white red green blue yellow brown gray grey orange pink purple tan beige gold golden silver blonde blond maroon
    violet turquoise teal navy cream""".split()
)
# Adjectives that the lexicon has as nouns or verbs as well and that captions use before nouns.
ADJECTIVES = COLOURS | frozenset(
    """clear first single lush giant fake rear antique mexican hispanic african musical electric professional young old large
    small big little tall short long wet dry dirty clean open empty full front wooden brick many several few more other
    same left right top bottom high low dark light bright asian american indian male female elderly adult hot cold deep
    round square flat metal plastic stuffed stone concrete busy crowded public striped plaid patterned bare upper lower
    middle outer inner inside""".split()
)
PEOPLE = frozenset(
    """man woman boy girl child person people player lady guy kid surfer skier snowboarder rider skateboarder baby toddler
    climber biker cyclist group crowd couple family team friend mother father""".split()
)
COUNTED = frozenset("pair bunch lot couple number variety".split())
PLURAL_ONLY = frozenset(
    """people shorts pants scissors trousers clothes jeans binoculars sunglasses goggles tongs pliers tights leggings pajamas
    overalls police cattle""".split()
)
# Nouns and adjectives that the word lists lack.
NOUNS = frozenset("top pan log bar remote fencing lettering carpeting desktop shelving flooring piping yard".split())
ONLY_ADJECTIVES = frozenset(
    "colored coloured full open young fit visible own thick wide overcast second third circular high low other".split()
)
# Adjectives that are adverbs after a verb ("jumps high").
ADVERBIAL = frozenset("high low fast close far hard long straight right left short".split())
# Participles that take the adjective before them with them ("dark colored dogs", "middle aged man").
COMPOUNDING = frozenset("colored coloured aged cut looking".split())
# Nouns that end like plurals and are none.
SINGULAR_S = frozenset("tennis grass glass dress bus christmas gas lens bass moss cross mess boss compass class mattress princess".split())
# Prepositions and adverbs that are nouns or adjectives after a determiner ("the back of a horse", "the outside wall").
PLACES = frozenset("back front top inside outside above below past up down opposite".split())
# Parts of a thing that take no determiner ("on top of"): what follows "of" belongs to the thing before.
PARTS = frozenset("side edge back front top end middle bottom".split())
