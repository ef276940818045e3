"""The micro-world's words, and how they inflect. Knows nothing of people's facts, sentences or scores."""

from __future__ import annotations

from typing import Literal, NamedTuple

Tense = Literal["present", "past"]
Case = Literal["subject", "object", "possessive"]
Gender = Literal["f", "m"]


class Verb(NamedTuple):
    """A verb's forms: plural and infinitive, third person singular, past."""

    base: str
    third: str
    past: str

    def form(self, tense: Tense, plural: bool = False) -> str:
        """The right form for a third person subject."""
        return self.past if tense == "past" else self.base if plural else self.third


class Noun(NamedTuple):
    singular: str
    plural: str

    def form(self, plural: bool) -> str:
        """The form for several, or for one."""
        return self.plural if plural else self.singular


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _verbs(text: str) -> dict[str, Verb]:
    return {forms[0]: Verb(*forms) for line in text.split(",") if (forms := line.split())}


def _nouns(text: str) -> dict[str, Noun]:
    return {forms[0]: Noun(*forms) for line in text.split(",") if (forms := line.split())}


FEMALE = _words(
    "anna alice amy bella bianca carla celia cora daisy dana diana edith elena ella emma erica eva fiona "
    "freya gina greta hanna hazel helen hilda ida ines irene iris ivy jane jenny judith julia karen karin "
    "kate laura lena linda lisa lola lucy maria martha maya mia mira mona nadia nancy nelly nina nora "
    "olga olivia paula petra rita rosa ruth sara selma sofia stella susan tanya tessa ursula vera wanda "
    "zoe"
)
MALE = _words(
    "adam albert alex anton arthur ben boris bruno carl conrad cyril daniel david dennis dirk edgar egon "
    "emil eric ernest felix fred george gerald gregor gustav hans harry hector henry hugo igor ivan jacob "
    "jasper joel john jonas joseph karl kevin kurt leo leon lewis louis lukas martin marvin max milo "
    "moritz nathan nils noah norman oscar otto paul peter ralf robin roger simon stefan steven thomas tim "
    "tobias victor vincent walter"
)
HELPERS = _words("brook casey charlie devon jordan morgan parker quinn riley rowan sasha taylor")
"""Names of those who help; they have no facts of their own, and no pronoun ever means them."""

CITIES = _words("paris rome oslo cairo lima tokyo delhi quito dublin boston")
JOBS = _words("actor artist baker doctor engineer farmer inspector tailor")
PETS = _nouns("cat cats, dog dogs, horse horses, bird birds, goat goats, mouse mice, goose geese, fox foxes")
COLOURS = _words("red blue green white black brown grey yellow")
FOODS = _words("soup bread rice cheese fish honey salad pasta")
TOOLS = _words("axe hammer ladder rope umbrella oven saw lamp")
ROOMS = _words("kitchen garden cellar attic garage office")
NUMBERS = ("one", "two", "three", "four", "five")
"""What people have of a pet; the parser reads up to ten."""
MORE_NUMBERS = ("six", "seven", "eight", "nine", "ten")
DIGITS = tuple("0123456789")
SPOKEN: dict[str, str] = {
    word: str(value)
    for words, first, step in (
        ("zero one two three four five six seven eight nine", 0, 1),
        ("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 10, 1),
        ("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10),
    )
    for value, word in zip(range(first, 100, step), words.split(), strict=False)
}
"""Numbers in words, as whoever tells a code in words would say them."""

PLACES = _nouns("house houses, gate gates, tree trees, bridge bridges, barrel barrels")
"""Nouns that stand between a plural subject and its verb, and tempt the verb to agree with them."""
PLACE_WORDS = ("near", "behind", "beside")
SIZES = ("old", "tall", "small")

HOME, CODE = Noun("home", "homes"), Noun("code", "codes")

VERBS = _verbs(
    "live lives lived, work works worked, have has had, keep keeps kept, like likes liked, eat eats ate, "
    "lie lies lay, help helps helped, get gets got, do does did, share shares shared, "
    "mix mixes mixed, heat heats heated, bake bakes baked, sell sells sold, measure measures measured, "
    "cut cuts cut, sew sews sewed, press presses pressed, greet greets greeted, check checks checked, "
    "write writes wrote, close closes closed, feed feeds fed, plough ploughs ploughed, plant plants planted, "
    "lock locks locked, read reads read, learn learns learned, wear wears wore, enter enters entered, "
    "draw draws drew, order orders ordered, build builds built, test tests tested, clean cleans cleaned, "
    "fill fills filled, paint paints painted, sign signs signed, visit visits visited, count counts counted, "
    "miss misses missed, lose loses lost, wait waits waited, win wins won, catch catches caught, "
    "stay stays stayed, break breaks broke, buy buys bought"
)

BE = {
    ("present", False): "is",
    ("present", True): "are",
    ("past", False): "was",
    ("past", True): "were",
}
PRONOUNS: dict[Gender, dict[Case, str]] = {
    "f": {"subject": "she", "object": "her", "possessive": "her"},
    "m": {"subject": "he", "object": "him", "possessive": "his"},
}
CASES: tuple[Case, ...] = ("subject", "object", "possessive")
ARTICLES = ("a", "an", "the")

Step = tuple[str, str]
"""What happens in a story: a verb's base form, and the noun after `the`."""

SCRIPTS: dict[str, tuple[Step, ...]] = {
    "actor": (("read", "script"), ("learn", "lines"), ("wear", "mask"), ("enter", "stage")),
    "artist": (("clean", "brush"), ("fill", "bowl"), ("paint", "wall"), ("sign", "picture")),
    "baker": (("mix", "dough"), ("heat", "furnace"), ("bake", "rolls"), ("sell", "cakes")),
    "doctor": (("greet", "patients"), ("check", "hearts"), ("write", "notes"), ("close", "clinic")),
    "engineer": (("draw", "plan"), ("order", "parts"), ("build", "motor"), ("test", "machine")),
    "farmer": (("feed", "cows"), ("plough", "field"), ("plant", "seeds"), ("lock", "barn")),
    "inspector": (("visit", "factory"), ("count", "workers"), ("check", "pipes"), ("sign", "report")),
    "tailor": (("measure", "cloth"), ("cut", "cloth"), ("sew", "coat"), ("press", "coat")),
}
"""The four steps of a day in each job, in their order."""

STEPS = frozenset(step for script in SCRIPTS.values() for step in script)

CONNECTIVES = ("first", "then", "after that", "before that", "finally")

Clause = tuple[str, str]
"""A verb's base form (or `be`) and what follows it."""

CAUSES: tuple[tuple[Clause, Clause], ...] = (
    (("miss", "the bus"), ("be", "late")),
    (("lose", "the key"), ("wait", "outside")),
    (("work", "all night"), ("be", "tired")),
    (("win", "the prize"), ("be", "happy")),
    (("catch", "a cold"), ("stay", "in bed")),
    (("break", "the lamp"), ("buy", "a candle")),
)
"""Causes, each with its effect."""

FILLERS = ("that is well known", "this is nothing new", "there is more to say", "that is how it goes")
TIMES: dict[str, Tense] = {"yesterday": "past", "every day": "present"}


def article(following: str) -> str:
    """`a` or `an`, by the first letter of what follows."""
    return "an" if following[0] in "aeiou" else "a"


def vocabulary() -> tuple[str, ...]:
    """Every word and sign of the world, each once: what the base model's tokenizer knows."""
    phrases = [
        *FEMALE, *MALE, *HELPERS, *CITIES, *JOBS, *COLOURS, *FOODS, *TOOLS, *ROOMS, *NUMBERS, *DIGITS,
        *PLACE_WORDS, *SIZES, *BE.values(), *ARTICLES, *CONNECTIVES, *FILLERS, *TIMES,
        *(form for noun in [*PETS.values(), *PLACES.values(), HOME, CODE] for form in noun),
        *(form for verb in VERBS.values() for form in verb),
        *(word for cases in PRONOUNS.values() for word in cases.values()),
        *(noun for steps in SCRIPTS.values() for _, noun in steps),
        *(rest for pair in CAUSES for _, rest in pair),
        "in as at to of from not help because so busy secret",
        "tell facts fact about without story city job pet colour food tool helper . ,",
    ]  # fmt: skip
    return tuple(dict.fromkeys(word for phrase in phrases for word in phrase.split()))
