"""Short conversations: greetings, facts, tasks that copy from the request, follow-ups on earlier turns, and honest refusals."""

from . import story
from .facts import FACTS
from .grammar import capital, expand
from .prose import EXPLANATIONS, HOWTO
from .render import assistant, finish, random_system, user
from .values import VALUES, sentence
from .words import ANIMALS, COLOURS, COMMON_NOUNS, DAYS, FOODS, JOBS, PEOPLE, THINGS

# Every maker returns (question, answer, reasoning). -------------------------------------------------------------------------

GREETINGS = [
    ("Hello", "Hello! How can I help you?"), ("Hello!", "Hello! How can I help you?"), ("Hi", "Hi! How can I help you?"), ("Hi there!", "Hi! What can I do for you?"), ("Good morning", "Good morning! How can I help you?"),
    ("Good evening!", "Good evening! What can I do for you?"), ("Hey", "Hey! How can I help?"), ("Good afternoon.", "Good afternoon! How can I help you?"), ("hello", "Hello! How can I help you?"), ("Hello, how are you?", "I am fine, thank you. How can I help you?"),
    ("How are you?", "I am fine, thank you. And you?"), ("How are you today?", "I am fine, thank you. How can I help you?"), ("What's up?", "Not much. How can I help you?"), ("Thanks!", "You are welcome!"), ("Thank you", "You are welcome!"), ("Thank you very much.", "You are welcome!"),
    ("Great, thanks.", "You are welcome!"), ("Goodbye", "Goodbye!"), ("Bye!", "Goodbye! Come back any time."), ("See you later.", "See you later!"), ("Good night.", "Good night!"), ("Are you there?", "Yes, I am here. How can I help you?"),
    ("Can you help me?", "Of course. What do you need?"), ("I need help.", "Of course. What do you need?"), ("Test", "I can read you. How can I help?"), ("ok", "All right. Is there anything else?"), ("Tell me something.", "Honey keeps for many years without going bad."), ("Well done!", "Thank you!"), ("Nice to meet you.", "Nice to meet you, too!"),
]  # fmt: skip


def greeting(draw):
    question, answer = draw.any(GREETINGS)
    return question, answer, "The user is being friendly. I answer politely."


def known_fact(draw):
    questions, short, full = draw.any(FACTS)
    question = draw.phrase(questions) if len(questions) > 1 else questions[0]
    if draw.chance(0.08):
        return question + " Answer with one word or number." if " " not in short else question, short if " " not in short else full, full
    return question, full, draw.any(("The user asks a question about common knowledge. ", "I know this. ", "A simple question. ", "")) + full


def wrap(draw, tasks: list, **values) -> str:
    return draw.phrase(tasks).format(**values)


REPEAT = ["Repeat: {x}", "Repeat after me: {x}", "Say \"{x}\".", "Please repeat this: {x}", "Write exactly this: {x}", "Copy this line: {x}", "Echo: {x}", "Type this again: {x}", "Give me back this text: {x}", "Please say: {x}"]
REVERSE = ["Reverse the order of this list: {x}", "Write this list backwards: {x}", "Put these in reverse order: {x}", "List in reverse: {x}", "Turn this list around: {x}", "Last first: {x}", "Reverse: {x}", "From last to first, please: {x}"]
UPPER = ["Write this in capital letters: {x}", "Upper case: {x}", "Put {x} in capitals.", "Capitalise every letter of {x}.", "Make this upper case: {x}", "{x} in capital letters, please.", "Convert to upper case: {x}", "Shout: {x}"]
COUNT = ["How many items are in this list: {x}?", "Count these: {x}", "How many things are these: {x}?", "Count the items: {x}", "What is the length of this list: {x}?", "How many are there: {x}?", "Tell me how many words: {x}", "Number of items in: {x}?"]
SORT = ["Sort these numbers: {x}", "Put these numbers in order: {x}", "Sort from small to large: {x}", "Order these numbers: {x}", "Arrange in rising order: {x}", "Sort: {x}", "Which order is right, from small to large: {x}?", "Please sort {x}"]
FIRST = ["What is the first item of this list: {x}?", "Which comes first here: {x}?", "Give me the first of these: {x}", "First item: {x}", "Name the first: {x}", "Take the first one: {x}", "Which is the first of {x}?", "First of these, please: {x}"]
LAST = ["What is the last item of this list: {x}?", "Which comes last here: {x}?", "Give me the last of these: {x}", "Last item: {x}", "Name the last: {x}", "Take the last one: {x}", "Which is the last of {x}?", "Last of these, please: {x}"]
LONGEST = ["Which of these words is the longest: {x}?", "Find the longest word: {x}", "Pick the longest word: {x}", "Longest word in: {x}?", "Which word has the most letters: {x}?", "Name the longest of these words: {x}", "The longest, please: {x}", "Choose the longest word of {x}"]
SPELL = ["Spell the word {x}.", "Spell {x}.", "How do you spell {x}?", "Write {x} letter by letter.", "Give me the letters of {x}.", "Which letters are in {x}?", "Spell out {x}, please.", "Split {x} into letters."]
SWAP = ["Replace {y} by {z} in this sentence: {x}", "In the sentence \"{x}\", change {y} to {z}.", "Write \"{x}\" again with {z} instead of {y}.", "Put {z} in place of {y}: {x}", "Use {z} for {y}: {x}", "Change {y} into {z}: {x}", "Rewrite with {z} instead of {y}: {x}", "Swap {y} for {z}: {x}"]
JSON_TASK = ["Write this as JSON: name {n}, age {g}, city {c}", "Make a JSON object with name {n}, age {g} and city {c}.", "JSON for: {n}, {g} years old, from {c}", "{n} is {g} and lives in {c}. Give me JSON.", "Put {n}, {g}, {c} into JSON with name, age and city.", "As JSON please: name={n}, age={g}, city={c}", "Convert to JSON: {n} ({g}), {c}", "JSON object: {n}, {g}, {c}"]
EXTRACT = ["Find the number in this text: {x}", "Which number is in this sentence: {x}", "Extract the number: {x}", "What number do you see here: {x}", "Give me only the number: {x}", "The number, please: {x}", "Pick out the number: {x}", "Is there a number in this: {x}"]
MAIL = ["Find the mail address: {x}", "Which email address is in this text: {x}", "Extract the address: {x}", "Give me only the email: {x}", "What is the address here: {x}", "The mail address, please: {x}", "Pick out the email: {x}", "Where can I write to: {x}"]
BULLETS = ["Make a list with dashes: {x}", "Write as bullet points: {x}", "One per line with a dash: {x}", "Bullet list of {x}", "Turn into a bullet list: {x}", "List these with dashes: {x}", "Each on its own line, please: {x}", "As a list: {x}"]
NUMBERED = ["Number these items: {x}", "Write as a numbered list: {x}", "Make a numbered list of {x}", "Give these numbers, one per line: {x}", "1, 2, 3: number {x}", "Numbered list: {x}", "Put numbers before each: {x}", "List with numbers, please: {x}"]


def items(draw, low=3, high=6) -> list:
    kind = draw.integer(0, 4)
    count = draw.integer(low, high)
    if kind == 0:
        return [draw.word() for _ in range(count)]
    if kind == 1:
        return [VALUES["code"](draw) for _ in range(count)]
    if kind == 2:
        return draw.several(PEOPLE, count)
    return draw.several(draw.any((THINGS, COMMON_NOUNS, FOODS, ANIMALS)), count)


def repeat(draw):
    roll = draw.random()
    if roll < 0.4:
        text = sentence(draw) + draw.any((".", "", "!"))
    elif roll < 0.7:
        text = " ".join(items(draw))
    else:
        text = " ".join(draw.word() if draw.chance(0.6) else draw.code() for _ in range(draw.integer(2, 7)))
    return wrap(draw, REPEAT, x=text), text, "I repeat the text exactly."


def copying_task(draw):
    task = draw.integer(0, 17)
    if task <= 2:
        return repeat(draw)
    listing = items(draw)
    text = ", ".join(listing)
    if task == 3:
        return wrap(draw, REVERSE, x=text), ", ".join(reversed(listing)), f"The list from the last to the first: {', '.join(reversed(listing))}."
    if task == 4:
        word = draw.word() if draw.chance(0.5) else draw.pick(COMMON_NOUNS)
        return wrap(draw, UPPER, x=word), word.upper(), f"The letters are {' '.join(word)}. In capitals: {' '.join(word.upper())}."
    if task == 5:
        counted = " ".join(f"{i} {item}" + ("," if i < len(listing) else ".") for i, item in enumerate(listing, 1))
        return wrap(draw, COUNT, x=text), f"There are {len(listing)} items.", f"I count: {counted}"
    if task == 6:
        numbers = draw.rng.sample(range(1, 100 if draw.chance(0.7) else 1000), 3)
        result = ", ".join(map(str, sorted(numbers)))
        return wrap(draw, SORT, x=", ".join(map(str, numbers))), result, f"The smallest is {min(numbers)}, the largest is {max(numbers)}."
    if task == 7:
        return wrap(draw, FIRST, x=text), f"The first is {listing[0]}.", "I look at the beginning of the list."
    if task == 8:
        return wrap(draw, LAST, x=text), f"The last is {listing[-1]}.", "I look at the end of the list."
    if task == 9:
        words_ = [draw.pick(COMMON_NOUNS) if draw.chance(0.5) else draw.word() for _ in range(3)]
        longest = max(words_, key=len)
        if sum(len(word) == len(longest) for word in words_) > 1:
            return repeat(draw)
        lengths = ", ".join(f"{word} has {len(word)}" for word in words_)
        return wrap(draw, LONGEST, x=", ".join(words_)), f"The longest word is {longest}.", f"{capital(lengths)}."
    if task == 10:
        word = draw.word() if draw.chance(0.6) else draw.pick(COMMON_NOUNS)
        return wrap(draw, SPELL, x=word), "-".join(word), f"The letters of {word}, one by one."
    if task == 11:
        one, other = draw.several(COMMON_NOUNS, 2)
        frame = draw.any(("I put the {} on the table.", "The {} was in the garden all night.", "She bought a new {} on Monday.", "Nobody knew where the {} was.", "Give me that {}, please.", "We saw a {} near the river."))
        return wrap(draw, SWAP, x=frame.format(one), y=one, z=other), frame.format(other), f"I write {other} where {one} was."
    if task == 12:
        name, age, town = draw.pick(PEOPLE), draw.integer(5, 95), VALUES["city"](draw)
        return wrap(draw, JSON_TASK, n=name, g=age, c=town), f'{{"name": "{name}", "age": {age}, "city": "{town}"}}', "Three members: name, age and city."
    if task == 13:
        number = draw.digits(draw.any((2, 3, 4, 5)))
        frame = draw.any(("There were {} people in the hall.", "The bridge is {} metres long.", "We counted {} birds on the lake.", "He paid {} coins for the boat.", "Room {} is on the left.", "The book has {} pages."))
        return wrap(draw, EXTRACT, x=frame.format(number)), number, f"The number is {number}."
    if task == 14:
        address = VALUES["email"](draw)
        frame = draw.any(("Please write to {} before Friday.", "You can reach me at {} or by phone.", "My old address {} still works.", "Send it to {}, not to me.", "Questions? Ask {}."))
        return wrap(draw, MAIL, x=frame.format(address)), address, f"The address is {address}."
    if task == 15:
        return wrap(draw, BULLETS, x=text), "\n".join(f"- {item}" for item in listing), "One item per line."
    if task == 16:
        return wrap(draw, NUMBERED, x=text), "\n".join(f"{i}. {item}" for i, item in enumerate(listing, 1)), "One item per line, with numbers."
    one, other = draw.word(), draw.word()
    return f"{draw.any(('Join', 'Put together', 'Combine'))} {one} and {other}.", one + other, f"{one} and {other} without a space."


UNKNOWN = [
    ("What is the phone number of {p}?", "I don't know the phone number of {p}."), ("How old is {p}?", "I don't know how old {p} is."), ("Where does {p} live?", "I don't know where {p} lives."), ("What did {p} eat yesterday?", "I don't know what {p} ate yesterday."),
    ("Who won the race in {t}?", "I don't know who won the race in {t}."), ("What is the capital of {t}?", "I don't know a country called {t}."), ("What does the word {w} mean?", "I don't know the word {w}."), ("Who invented the {w}?", "I don't know what a {w} is."),
    ("What will the weather be tomorrow?", "I can't know the weather of tomorrow."), ("What time is it?", "I don't know: I have no clock."), ("What is the date today?", "I don't know: I have no calendar."), ("Where am I?", "I don't know where you are."), ("What is my name?", "I don't know your name yet."),
    ("How many people live in {t}?", "I don't know how many people live in {t}."), ("What is in my pocket?", "I can't know what is in your pocket."), ("Tell me the password of {p}.", "I don't know any passwords, and I would not tell them."), ("What is the meaning of {w}?", "I don't know what {w} means."), ("Who is {p}?", "I don't know who {p} is."),
    ("Can you call {p}?", "I'm sorry, I can't make calls."), ("Please open the window.", "I'm sorry, I can't do that. I can only write."), ("Play some music.", "I'm sorry, I can't play music here."), ("Send a letter to {p}.", "I'm sorry, I can't send letters."), ("How do I build a {w}?", "I'm sorry, I don't know what a {w} is."),
]  # fmt: skip


def unknown(draw):
    question, answer = draw.phrase(UNKNOWN)
    values = {"p": draw.made_name(), "t": draw.made_name(), "w": draw.word()}
    return question.format(**values), answer.format(**values), "I don't know this, so I say so." if "sorry" not in answer else "I can't do this, so I say so."


def question_and_answer(draw):
    """One question that stands alone."""
    roll = draw.random()
    if roll < 0.12:
        return greeting(draw)
    if roll < 0.6:
        return known_fact(draw)
    if roll < 0.92:
        return copying_task(draw)
    return unknown(draw)


STORY_ASKS = ["Tell me a story.", "Tell me a short story.", "Write a story about {h}.", "Write a short story with {h} and {f}.", "I want to hear a story about {h}.", "Please tell me something about {h} and {f}.", "Can you write a little story about {h}?", "A story, please."]


def story_request(draw):
    """A story on demand; the names in the request are its heroes."""
    values = story.cast(draw)
    ask = draw.phrase(STORY_ASKS)
    return ask.format(h=values["hero"], f=values["friend"]), story.story(draw, values), f"The user wants a story. I write one about {values['hero']}."


EXPLAIN = {"rain": 0, "a shadow": 1, "bread": 2, "ice": 3, "bees": 4, "paper": 5, "the moon": 6, "magnets": 7, "rivers": 8, "leaves in autumn": 9, "sound": 10, "floating": 11, "language models": 12, "computers": 13, "plants": 14, "salt water": 15}


def explanation(draw):
    if draw.chance(0.5):
        topic = draw.any(list(EXPLAIN))
        ask = draw.any(("Tell me about {}.", "Explain {} to me.", "What can you tell me about {}?", "How does it work: {}?", "Write a few sentences about {}.")).format(topic)
        return ask, expand(EXPLANATIONS[EXPLAIN[topic]], {}, draw.rng), f"The user wants to know about {topic}."
    task = draw.any(list(HOWTO))
    values = story.cast(draw)
    steps = "\n".join(f"{i}. {expand(step, values, draw.rng)}" for i, step in enumerate(HOWTO[task], 1))
    return draw.any(("How do I {}?", "How can I {}?", "Tell me how to {}.", "What are the steps to {}?", "Explain how to {}.")).format(task), steps, f"The user wants to {task}. I give the steps."


# Conversations that look back ------------------------------------------------------------------------------------------------

MEMORIES = [
    # (statement, acknowledgement, questions, answer)
    ("My name is {p}.", "Nice to meet you, {p}!", ["What is my name?", "Do you remember my name?", "Who am I?", "How am I called?"], "Your name is {p}."),
    ("I am {p} from {t}.", "Nice to meet you, {p}!", ["Where do I come from?", "Which town am I from?", "Where am I from?"], "You are from {t}."),
    ("I have a {a} called {m}.", "{m} is a nice name for a {a}.", ["What is the name of my {a}?", "How is my {a} called?", "Do you remember the name of my {a}?"], "Your {a} is called {m}."),
    ("My favourite colour is {c}.", "{C} is a fine colour.", ["What is my favourite colour?", "Which colour do I like most?"], "Your favourite colour is {c}."),
    ("I work as a {j}.", "That must be interesting work.", ["What is my job?", "What do I work as?"], "You work as a {j}."),
    ("My code is {k}.", "I will remember the code {k}.", ["What is my code?", "Tell me my code.", "Which code did I give you?"], "Your code is {k}."),
    ("I live in {t}.", "{t} must be a nice place.", ["Where do I live?", "In which town do I live?"], "You live in {t}."),
    ("My sister is called {p}.", "{p} is a beautiful name.", ["What is the name of my sister?", "How is my sister called?"], "Your sister is called {p}."),
    ("I bought {f} and {f2} today.", "That sounds good.", ["What did I buy?", "What did I buy today?"], "You bought {f} and {f2}."),
    ("My appointment is on {d} at {h}.", "I will remember: {d} at {h}.", ["When is my appointment?", "On which day and at what time is my appointment?"], "Your appointment is on {d} at {h}."),
    ("The secret word is {w}.", "I will keep it in mind.", ["What is the secret word?", "Tell me the secret word.", "Which word was secret?"], "The secret word is {w}."),
    ("I am {n} years old.", "Thank you for telling me.", ["How old am I?", "What is my age?"], "You are {n} years old."),
    ("I put the {x} into the {b}.", "All right, the {x} is in the {b}.", ["Where is the {x}?", "Where did I put the {x}?"], "The {x} is in the {b}."),
]  # fmt: skip


def memory_values(draw) -> dict:
    colour = draw.pick(COLOURS)
    food, food2 = draw.several(FOODS, 2)
    return {
        "p": VALUES["person"](draw), "t": VALUES["city"](draw), "a": draw.any(("dog", "cat", "horse", "rabbit", "parrot")), "m": draw.made_name(), "c": colour, "C": capital(colour), "j": draw.pick(JOBS), "k": draw.code(),
        "f": food, "f2": food2, "d": draw.any(DAYS), "h": VALUES["time"](draw), "w": draw.word(), "n": draw.integer(5, 99), "x": draw.pick(THINGS), "b": draw.any(("drawer", "cellar", "blue box", "kitchen", "car", "garden")),
    }  # fmt: skip


def with_memory(draw) -> list:
    """One or two statements, other talk in between, then questions about them."""
    told = draw.rng.sample(MEMORIES, draw.any((1, 2, 2)))
    told = [entry for i, entry in enumerate(told) if all(entry[3].split("{")[0] != other[3].split("{")[0] for other in told[:i])]
    given = [(entry, memory_values(draw)) for entry in told]
    messages = []
    for (statement, reply, _, _), values in given:
        messages += [user(statement.format(**values)), assistant(reply.format(**values), "The user tells me something. I take note of it.")]
        if draw.chance(0.4):
            question, answer, reasoning = question_and_answer(draw)
            messages += [user(question), assistant(answer, reasoning)]
    draw.rng.shuffle(given)
    for (statement, _, questions, answer), values in given:
        said = answer.format(**values)
        messages += [user(draw.any(questions).format(**values)), assistant(said, f"The user said: \"{statement.format(**values)}\" {said}")]
    return messages


def about_last_list(draw) -> list:
    """Several questions about one list."""
    listing = items(draw, 3, 6)
    messages = [user(draw.any(("Here is a list: {}.", "My list: {}", "Remember these: {}", "I have {}.")).format(", ".join(listing))), assistant(f"You have {len(listing)} items on the list.", "I count the items: " + ", ".join(f"{i} {item}" for i, item in enumerate(listing, 1)) + ".")]
    ordinals = ["first", "second", "third", "fourth", "fifth", "sixth"][: len(listing)]
    for _ in range(draw.integer(1, 3)):
        i = draw.integer(0, len(listing) - 1)
        ordinal = ordinals[i] if i < len(listing) - 1 or draw.chance(0.5) else "last"
        messages += [user(draw.any(("What is the {} item?", "Which one is the {}?", "Tell me the {} one.", "And the {}?")).format(ordinal)), assistant(f"The {ordinal} item is {listing[i]}.", f"The {ordinal} item is {listing[i]}.")]
    return messages


def generate(draw, context: int):
    thinking = draw.chance(0.45)
    messages = random_system(draw)
    roll = draw.random()
    if roll < 0.2:
        messages += with_memory(draw)
    elif roll < 0.27:
        messages += about_last_list(draw)
    elif roll < 0.34:
        question, answer, reasoning = story_request(draw)
        messages += [user(question), assistant(answer, reasoning)]
    elif roll < 0.4:
        question, answer, reasoning = explanation(draw)
        messages += [user(question), assistant(answer, reasoning)]
    else:
        for _ in range(draw.any((1, 1, 2, 3, 4))):
            question, answer, reasoning = question_and_answer(draw)
            messages += [user(question), assistant(answer, reasoning)]
    if draw.chance(0.1):
        question, answer, reasoning = greeting(draw)
        messages += [user(question), assistant(answer, reasoning)]
    return finish(draw, messages, thinking)
