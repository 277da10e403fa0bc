"""Plain English: short stories with a consistent cast, and descriptions, explanations, how-to texts, dialogues and letters."""

from . import prose
from .grammar import a, capital, expand, plural
from .plots import AIR, CLOSERS, OPENERS, PLOTS, TITLES
from .segment import FULL, Segment, plain_document
from .words import ADJECTIVES, ANIMALS, COLOURS, DAYS, FOODS, JOBS, MATERIALS, NUMBER_WORDS, PEOPLE, PLACES, THINGS, pronouns

SEASONS = ["spring", "summer", "autumn", "winter"]
WEATHER = ["sunny", "rainy", "cold", "windy", "foggy", "warm", "snowy", "cloudy", "dark"]
ORDINALS = ["second", "third", "fourth", "fifth", "sixth", "seventh"]


def cast(draw) -> dict:
    """Values for every slot of the templates, chosen once for a text so that it stays consistent."""
    hero = draw.pick(PEOPLE) if draw.chance(0.8) else draw.made_name()
    friend = draw.pick(PEOPLE)
    while friend == hero:
        friend = draw.pick(PEOPLE)
    his, theirs = pronouns(hero), pronouns(friend)
    pick, choose = draw.pick, draw.any
    thing, thing2 = pick(THINGS), pick(THINGS)
    place, place2 = draw.several(PLACES, 2)
    food, food2 = draw.several(FOODS, 2)
    colour, colour2 = draw.several(COLOURS, 2)
    animal, animal2 = draw.several(ANIMALS, 2)
    job = pick(JOBS)
    day, day2 = draw.rng.sample(DAYS, 2)
    n, n2 = sorted(draw.rng.sample(range(2, 13), 2), reverse=True)
    object_, object2 = choose(ADJECTIVES) + " " + thing, choose(ADJECTIVES) + " " + thing2
    low = draw.integer(-5, 18)
    season = choose(SEASONS)
    return {
        "hero": hero, "friend": friend, "he": his["he"], "him": his["him"], "his": his["his"], "He": capital(his["he"]), "he2": his["he"],
        "His": capital(his["his"]), "himself": his["him"] + "self", "man2": his["man"], "their": "their", "fhe": theirs["he"], "fhim": theirs["him"],
        "fhis": theirs["his"], "FHe": capital(theirs["he"]), "town": draw.made_name(), "place": place, "place2": place2, "a_place": a(place),
        "thing": thing, "thing2": thing2, "object": object_, "object2": object2, "a_object": a(object_), "a_object2": a(object2), "food": food,
        "food2": food2, "Food": capital(food), "animal": animal, "animal2": animal2, "a_animal": a(animal), "job": job, "jobs": plural(job), "things": plural(thing), "things2": plural(thing2), "animals": plural(animal), "colour": colour,
        "colour2": colour2, "day": day, "day2": day2, "season": season, "season2": choose(("summer", "autumn")), "weather": choose(WEATHER),
        "n": NUMBER_WORDS[n], "n2": NUMBER_WORDS[n2], "N": capital(NUMBER_WORDS[n]), "hours": NUMBER_WORDS[choose((2, 3, 4, 5, 6, 8))],
        "hour": NUMBER_WORDS[draw.integer(1, 12)], "nth": choose(ORDINALS), "material": choose(MATERIALS), "big": draw.integer(2, 90) * 100,
        "age": draw.integer(18, 90), "low": low, "high": low + draw.integer(3, 14),
    }  # fmt: skip


def story(draw, values: dict | None = None) -> str:
    values, rng = values or cast(draw), draw.rng
    beats = PLOTS[draw.any(list(PLOTS))]
    sentences = []
    for position, beat in enumerate(beats):
        choices = [variant for variant in beat if variant is not None]
        if len(choices) < len(beat) and draw.chance(0.35):
            continue
        # The first beat says how things stand: two versions of it would contradict each other.
        count = 2 if 0 < position < len(beats) - 1 and len(choices) > 2 and draw.chance(0.4) else 1
        chosen = sorted(rng.sample(range(len(choices)), count))
        sentences.append(" ".join(expand(choices[i], values, rng) for i in chosen))
        if draw.chance(0.25):
            sentences[-1] += " " + expand(draw.any(AIR), values, rng)
    sentences[0] = expand(draw.any(OPENERS), values, rng) + sentences[0]
    sentences[-1] += expand(draw.any(CLOSERS), values, rng)
    text = paragraphs(draw, [capital(sentence) for sentence in sentences])
    if draw.chance(0.15):
        text = capital(expand(draw.any(TITLES), values, rng)) + "\n\n" + text
    return text


def paragraphs(draw, sentences: list) -> str:
    if draw.chance(0.5):
        return " ".join(sentences)
    out = sentences[0]
    for sentence in sentences[1:]:
        out += ("\n\n" if draw.chance(0.4) else " ") + sentence
    return out


def how_to(draw) -> str:
    values = cast(draw)
    task = draw.any(list(prose.HOWTO))
    steps = [expand(step, values, draw.rng) for step in prose.HOWTO[task]]
    shape = draw.integer(0, 2)
    if shape == 0:
        return f"How to {task}:\n\n" + "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1))
    if shape == 1:
        return f"How to {task}:\n\n" + "\n".join(f"- {step}" for step in steps)
    joined = ["First " + steps[0][0].lower() + steps[0][1:]] + ["Then " + s[0].lower() + s[1:] if i % 2 else s for i, s in enumerate(steps[1:])]
    return draw.any(("This is how you {}. ", "It is easy to {}. ", "Many people want to {}. ")).format(task) + " ".join(joined)


def one_text(draw) -> str:
    shape = draw.random()
    if shape < 0.62:
        return story(draw)
    if shape < 0.72:
        return expand(draw.any(prose.DESCRIPTIONS), cast(draw), draw.rng)
    if shape < 0.79:
        return expand(draw.any(prose.EXPLANATIONS), {}, draw.rng)
    if shape < 0.84:
        return how_to(draw)
    values = cast(draw)
    if shape < 0.93:
        return draw.any(("\n", " ", "\n\n")).join(capital(expand(line, values, draw.rng)) for line in draw.any(prose.DIALOGUES))
    return capital(expand(draw.any(prose.LETTERS), values, draw.rng))


def generate(draw, context: int) -> list[Segment]:
    return plain_document(one_text(draw), FULL)
