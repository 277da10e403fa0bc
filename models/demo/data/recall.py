"""Facts hidden in long texts, and plain copying, so that the model learns to look back over the whole context."""

from . import docs, story
from .grammar import a
from .render import assistant, render, user
from .segment import BOS, EOS, FULL, LIGHT, NONE, Segment
from .values import VALUES
from .words import ANIMALS, CITIES, COLOURS, COMMON_NOUNS, FOODS, JOBS, PLACES, THINGS

CHARACTERS_PER_TOKEN = 4.0  # of stories
FACT_TOKENS = 14
SHORTEST = 120


class Fact:
    """A sentence that hides a value, the questions that ask for it, and the answer."""

    def __init__(self, kind: str, subject: str, sentence: str, questions: list, answer: str, value: str):
        self.kind, self.subject, self.sentence, self.questions, self.answer, self.value = kind, subject, sentence, questions, answer, value


def door_code(draw):
    thing = f"{draw.any(COLOURS.values)} {draw.any(('door', 'box', 'gate', 'safe', 'room', 'suitcase', 'cabinet', 'bicycle lock'))}"
    value = draw.code()
    return Fact("door", thing, f"The code for the {thing} is {value}.", [f"What is the code for the {thing}?", f"Which code opens the {thing}?", f"Tell me the code for the {thing}.", f"I forgot the code for the {thing}."], f"The code for the {thing} is {value}.", value)


def number_of_person(draw):
    name, item = VALUES["person"](draw), draw.any(("locker number", "phone number", "room number", "ticket number", "badge number"))
    value = draw.digits(draw.any((3, 4, 5)))
    return Fact("person", f"{name} {item}", f"{name}'s {item} is {value}.", [f"What is {name}'s {item}?", f"Which {item} does {name} have?", f"Tell me the {item} of {name}."], f"{name}'s {item} is {value}.", value)


def place_of_thing(draw):
    thing = f"{draw.any(COLOURS.values)} {draw.pick_or_word(THINGS, 0.3)}"
    value = draw.pick_or_word(PLACES)
    return Fact("thing", thing, f"The {thing} is kept in the {value}.", [f"Where is the {thing}?", f"Where is the {thing} kept?", f"In which place is the {thing}?"], f"The {thing} is kept in the {value}.", value)


def definition(draw):
    word = draw.word()
    value = f"{a(draw.any(COLOURS.values) + ' ' + draw.pick_or_word(THINGS))}"
    return Fact("word", word, f"The word {word} means {value}.", [f"What does {word} mean?", f"What is the meaning of {word}?", f"What is a {word}?"], f"The word {word} means {value}.", value)


def secret(draw):
    owner = draw.any((f"the {draw.pick(JOBS)}", f"the town of {draw.made_name()}", VALUES["person"](draw)))
    value = draw.word() if draw.chance(0.6) else draw.pick_or_word(COMMON_NOUNS)
    return Fact("secret", owner, f"The secret word of {owner} is {value}.", [f"What is the secret word of {owner}?", f"Which secret word does {owner} have?", f"Tell me the secret word of {owner}."], f"The secret word of {owner} is {value}.", value)


def liking(draw):
    name, sort, pool = VALUES["person"](draw), *draw.any((("animal", ANIMALS), ("food", FOODS), ("city", CITIES), ("colour", COLOURS)))
    value = draw.pick_or_word(pool, 0.35)
    return Fact("liking", f"{name} {sort}", f"{name}'s favourite {sort} is {value}.", [f"What is {name}'s favourite {sort}?", f"Which {sort} does {name} like most?", f"Tell me {name}'s favourite {sort}."], f"{name}'s favourite {sort} is {value}.", value)


def key_value(draw):
    key = draw.word() + draw.any(("_", ".")) + draw.any(("port", "path", "name", "limit", "key", "mode", "host", "size"))
    value = draw.any((draw.code, draw.word, lambda: VALUES["path"](draw)))()
    return Fact("key", key, f"{key} = {value}", [f"What is the value of {key}?", f"What is {key}?", f"To what is {key} set?", f"Look up {key}."], f"{key} is {value}.", value)


MAKERS = [door_code, door_code, number_of_person, number_of_person, place_of_thing, definition, secret, liking, key_value]


def some_facts(draw, count: int) -> list:
    """Facts about different subjects."""
    facts, subjects = [], set()
    same_kind = draw.any(MAKERS) if draw.chance(0.35) else None  # many alike: the subject alone tells them apart
    tries = 0
    while len(facts) < count:
        tries += 1
        fact = (same_kind or draw.any(MAKERS))(draw)
        if fact.subject not in subjects:
            subjects.add(fact.subject)
            facts.append(fact)
        elif tries > 20 * count:
            same_kind = None
    return facts


def filler(draw, tokens: int) -> list[str]:
    """Paragraphs of roughly that many tokens together."""
    if tokens <= 0:
        return []
    shape = draw.random()
    if shape < 0.18:
        return [fact.sentence for fact in some_facts(draw, max(1, tokens // FACT_TOKENS))]  # nothing but distractors
    wanted = int(tokens * CHARACTERS_PER_TOKEN)
    if shape < 0.36 and not draw.is_eval and docs.available():
        return docs.passage(draw, int(wanted * 0.85)).split("\n\n")
    paragraphs, length = [], 0
    while length < wanted:
        text = story.one_text(draw)
        if length and length + len(text) > wanted * 1.1:
            break
        paragraphs.append(text)
        length += len(text) + 2
    return paragraphs


def hide(draw, facts: list, tokens: int) -> str:
    """The facts at random places in filler; the result has about that many tokens."""
    spare = max(0, tokens - FACT_TOKENS * len(facts))
    paragraphs = filler(draw, spare)
    lead = draw.any(("", "", "Remember: ", "Note: ", "By the way: ", "Important: "))
    for fact in facts:
        at = draw.rng.randint(0, len(paragraphs))
        if paragraphs and draw.chance(0.3) and at < len(paragraphs) and "\n" not in paragraphs[at]:
            sentences = paragraphs[at].split(". ")
            sentences.insert(draw.rng.randint(0, len(sentences) - 1), (lead + fact.sentence).rstrip("."))
            paragraphs[at] = ". ".join(sentences)
        else:
            paragraphs.insert(at, lead + fact.sentence)
    return draw.any(("\n\n", "\n\n", "\n")).join(paragraphs)


def ask(draw, fact: Fact):
    question = draw.any(fact.questions)
    answer = fact.answer
    if draw.chance(0.15):
        question += draw.any((" Answer only with the value.", " Just the answer, please."))
        answer = fact.value
    return question, answer


def reasoning_for(draw, fact: Fact) -> str:
    return draw.any((f"The text says: {fact.sentence}", f"I look for {fact.subject}. The text says: {fact.sentence}"))


def hidden_facts(draw, tokens: int):
    """A text with facts, then questions about them; the text comes with the first question, or as system text."""
    # Several questions a text: the long text is paid for once.
    facts = some_facts(draw, draw.any((1, 4, 8, 12, 16)) if tokens > 1000 else draw.any((1, 2, 4, 6, 8)) if tokens > 300 else draw.any((1, 2, 3)))
    asked = facts[:]
    draw.rng.shuffle(asked)
    asked = asked[: draw.integer((len(asked) + 1) // 2, len(asked))]
    thinking = draw.chance(0.3)
    text = hide(draw, facts, tokens - 35 * len(asked))
    messages = []
    for i, fact in enumerate(asked):
        question, answer = ask(draw, fact)
        if draw.chance(0.025):
            question, answer, reasoning = unanswerable(draw, facts)
        else:
            reasoning = reasoning_for(draw, fact)
        if i == 0:
            shape = draw.random()
            frame = "{text}\n\n{question}" if shape < 0.6 else "Read this text:\n\n{text}\n\n{question}" if shape < 0.8 else "{question}\n\n{text}"
            question = frame.format(text=text, question=question)
        messages += [user(question, weight=LIGHT), assistant(answer, reasoning)]
    return render(messages, thinking, keep_reasoning=draw.chance(0.5))


def unanswerable(draw, facts: list):
    """A question whose subject the text does not name."""
    subjects = {fact.subject for fact in facts}
    while True:
        other = draw.any(MAKERS)(draw)
        if other.subject not in subjects:
            return draw.any(other.questions), "The text does not say that.", "I do not find this in the text."


def random_line(draw, words: int) -> str:
    shape = draw.integer(0, 3)
    if shape == 0:
        return " ".join(draw.word() for _ in range(words))
    if shape == 1:
        return " ".join(draw.any(COMMON_NOUNS.values) for _ in range(words))
    if shape == 2:
        return " ".join(draw.code() for _ in range(words))
    return " ".join(draw.any((draw.word, draw.code, draw.made_name, lambda: draw.any(THINGS.values)))() for _ in range(words))


def repeated_spans(draw, tokens: int):
    """Random words, then the same words again, up to three times over: what comes next can only be copied."""
    with_gap = draw.chance(0.5)
    words = draw.integer(4, max(5, min(60 if with_gap else 150, tokens // 8)))
    line = random_line(draw, words)
    line_tokens = max(1, len(line) // 2)  # random words take about two characters a token
    gap = filler(draw, tokens - 2 * line_tokens) if with_gap else []
    again = max(1, min(draw.any((1, 2, 3)), tokens // line_tokens - 1))
    segments = [Segment(BOS, True, NONE), Segment(line + "\n", False, NONE)]
    if gap:
        segments.append(Segment("\n".join(gap) + "\n", False, LIGHT))
    for _ in range(again):
        # A mark tells that the line comes again, and makes its first word predictable.
        segments += [Segment("Again:\n", False, NONE), Segment(line + "\n", False, FULL)]
    segments.append(Segment(EOS, True, FULL if again == 3 else NONE))
    return segments


def repeat_chat(draw, tokens: int):
    """Lines with labels; the user asks for one of them again, word by word."""
    count = draw.integer(2, 6)
    labels = draw.rng.sample(["first", "second", "third", "fourth", "fifth", "sixth"], count) if draw.chance(0.3) else [draw.word() for _ in range(count)]
    lines = {label: random_line(draw, draw.integer(3, 9)) for label in labels}
    paragraphs = [f"{label}: {line}" for label, line in lines.items()]
    gap = filler(draw, tokens - 45 * count)
    cut = draw.rng.randint(0, len(gap))
    text = "\n".join(gap[:cut] + paragraphs + gap[cut:]) if draw.chance(0.7) else "\n".join(paragraphs + gap)
    messages = []
    for i, label in enumerate(draw.rng.sample(labels, draw.integer(1, min(3, count)))):
        question = draw.any((f"Repeat the line {label}.", f"What does the line {label} say?", f"Write the line {label} again."))
        messages += [user(f"{text}\n\n{question}" if i == 0 else question, weight=NONE if i == 0 else LIGHT), assistant(lines[label], f"I look for the line {label}.")]
    return render(messages, draw.chance(0.25))


def sheet(draw, tokens: int):
    """A list of nothing but facts, then a question about many of them."""
    facts = some_facts(draw, max(3, min(140, tokens // (FACT_TOKENS + 5))))
    text = "\n".join(fact.sentence for fact in facts)
    messages = []
    for i, fact in enumerate(draw.rng.sample(facts, min(len(facts), draw.integer(2, 12)))):
        question, answer = ask(draw, fact)
        messages += [user(f"{text}\n\n{question}" if i == 0 else question, weight=NONE if i == 0 else LIGHT), assistant(answer, reasoning_for(draw, fact))]
    return render(messages, draw.chance(0.25), keep_reasoning=draw.chance(0.5))


def generate(draw, context: int) -> list[Segment]:
    """A document of a length drawn evenly up to the context, so that distances are even, too."""
    tokens = int((SHORTEST + draw.random() * (context - SHORTEST)) * 0.9)
    # Bare copying comes first in a training: it is the seed of everything else here.
    copying = 0.35 if context <= 640 else 0.17
    roll = draw.random()
    if roll < copying:
        return repeated_spans(draw, tokens)
    if roll < copying + 0.15:
        return sheet(draw, tokens)
    if roll < 0.87:
        return hidden_facts(draw, tokens)
    return repeat_chat(draw, tokens)
