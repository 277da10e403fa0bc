"""Small arithmetic, worked out digit by digit.

Scope: a + b and a - b with numbers up to 999 (differences may be negative), a × b with one factor up to 99 and one up to 9, exact
division by a number up to 9 with a result up to 12, and word problems of one or two such steps. The steps are mechanical, so that
each needs one known sum or product of digits. Problems whose hash is held out are never drawn for training; sums and products of
single digits are exempt, since everything else is made of them.
"""

from .draw import held_out
from .grammar import capital, plural
from .render import assistant, finish, random_system, user
from .words import ANIMALS, FOODS, PEOPLE, THINGS, pronouns

SIGNS = {"+": "+", "-": "-", "*": "×", "/": "/"}
PLACES = ["Ones", "Tens", "Hundreds", "Thousands"]


# Steps -------------------------------------------------------------------------------------------------------------------


def digits_of(number: int, width: int) -> list:
    return [number // 10**i % 10 for i in range(width)]


def add_steps(a: int, b: int) -> str:
    width = len(str(max(a, b)))
    if width == 1:
        return f"{a} + {b} = {a + b}."
    steps, carry = [], 0
    for place, x, y in zip(PLACES, digits_of(a, width), digits_of(b, width)):
        total = x + y + carry
        steps.append(f"{place}: {x} + {y} + {carry} = {total}, write {total % 10}, carry {total // 10}.")
        carry = total // 10
    return f"{a} + {b}. " + " ".join(steps) + f" So {a} + {b} = {a + b}."


def subtract_steps(a: int, b: int) -> str:
    if b > a:
        return f"{b} is larger than {a}. " + subtract_steps(b, a) + f" So {a} - {b} = -{b - a}."
    width = len(str(a))
    if width == 1:
        return f"{a} - {b} = {a - b}."
    steps, borrow = [], 0
    for place, x, y in zip(PLACES, digits_of(a, width), digits_of(b, width)):
        low = y + borrow
        if x < low:
            steps.append(f"{place}: {x} is less than {low}, {x + 10} - {low} = {x + 10 - low}, borrow 1.")
            borrow = 1
        else:
            steps.append(f"{place}: {x} - {low} = {x - low}, borrow 0.")
            borrow = 0
    return f"{a} - {b}. " + " ".join(steps) + f" So {a} - {b} = {a - b}."


def multiply_steps(a: int, b: int) -> str:
    if a < b:
        return multiply_steps(b, a)
    if a < 10:
        return f"{a} × {b} = {a * b}."
    ones, tens = a % 10, a // 10
    first = ones * b
    second = tens * b
    return (
        f"{a} × {b}. Ones: {ones} × {b} = {first}, write {first % 10}, carry {first // 10}."
        f" Tens: {tens} × {b} = {second}, {second} + {first // 10} = {second + first // 10}. So {a} × {b} = {a * b}."
    )


def divide_steps(a: int, b: int) -> str:
    return f"{b} × {a // b} = {a}. So {a} / {b} = {a // b}."


STEPS = {"+": add_steps, "-": subtract_steps, "*": multiply_steps, "/": divide_steps}


def value(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[sign]


# Problems ----------------------------------------------------------------------------------------------------------------


def is_elementary(a: int, sign: str, b: int) -> bool:
    return (a < 10 and b < 10) or sign == "/"


def is_held_out(a: int, sign: str, b: int) -> bool:
    low, high = sorted((a, b))
    return held_out(f"{low}{sign}{high}" if sign in "+*" else f"{a}{sign}{b}")


def allowed(draw, a: int, sign: str, b: int) -> bool:
    """Whether this split may use the problem."""
    if is_elementary(a, sign, b):
        return not draw.is_eval
    return is_held_out(a, sign, b) == draw.is_eval


def operand(draw) -> int:
    """Short and long numbers alike."""
    return draw.integer(*draw.any(((0, 9), (10, 99), (10, 99), (100, 999), (100, 999))))


def problem(draw, signs: str = "++--**/") -> tuple:
    while True:
        sign = draw.any(signs)
        if sign == "*":
            a, b = draw.integer(0, 9) if draw.chance(0.25) else draw.integer(10, 99), draw.integer(0, 9)
            if draw.chance(0.3):
                a, b = b, a
        elif sign == "/":
            b = draw.integer(2, 9)
            a = b * draw.integer(1, 12)
        else:
            a, b = operand(draw), operand(draw)
            if sign == "-" and a < b and draw.chance(0.85):
                a, b = b, a
        if allowed(draw, a, sign, b):
            return a, sign, b


QUESTIONS = {
    "+": ["What is {a} + {b}?", "{a} + {b}", "{a} + {b} = ?", "Add {a} and {b}.", "How much is {a} plus {b}?", "What is {a} plus {b}?", "What is the sum of {a} and {b}?", "Compute {a} + {b}.", "Please add {b} to {a}.", "Can you add {a} and {b} for me?", "Calculate {a} + {b}.", "{a} plus {b}?", "Sum of {a} and {b}, please.", "Tell me {a} + {b}.", "I need {a} + {b}.", "How much is {a} + {b}?"],
    "-": ["What is {a} - {b}?", "{a} - {b}", "{a} - {b} = ?", "Subtract {b} from {a}.", "How much is {a} minus {b}?", "What is {a} minus {b}?", "What is the difference {a} - {b}?", "Compute {a} - {b}.", "Take {b} away from {a}.", "Can you calculate {a} - {b}?", "Calculate {a} - {b}.", "{a} minus {b}?", "Tell me {a} - {b}.", "What is left of {a} without {b}?", "How much is {a} - {b}?"],
    "*": ["What is {a} × {b}?", "{a} × {b}", "{a} * {b} = ?", "Multiply {a} by {b}.", "How much is {a} times {b}?", "What is {a} times {b}?", "What is the product of {a} and {b}?", "Compute {a} * {b}.", "Multiply {a} and {b}, please.", "Calculate {a} x {b}.", "{a} times {b}?", "What is {a} * {b}?", "Tell me {a} × {b}.", "How much is {a} * {b}?"],
    "/": ["What is {a} / {b}?", "Divide {a} by {b}.", "How much is {a} divided by {b}?", "{a} / {b}", "What is {a} divided by {b}?", "Compute {a} / {b}."],
}  # fmt: skip


def shown(a: int, sign: str, b: int) -> str:
    return f"{a} {SIGNS[sign]} {b} = {value(a, sign, b)}"


def plain_question(draw):
    a, sign, b = problem(draw)
    steps = STEPS[sign](a, b)
    answer = draw.any((shown(a, sign, b), shown(a, sign, b) + ".", f"The answer is {value(a, sign, b)}.", f"{value(a, sign, b)}"))
    return draw.phrase(QUESTIONS[sign]).format(a=a, b=b), steps, answer, value(a, sign, b)


# (sign, text, question, answer): {a} and {b} are the numbers.
WORD_PROBLEMS = [
    ("+", "{hero} has {a} {things} and gets {b} more.", "How many {things} does {hero} have now?", "{hero} has {r} {things} now."),
    ("+", "In the {box} there are {a} {things}, and {hero} puts {b} more into it.", "How many are in the {box}?", "There are {r} {things} in the {box}."),
    ("+", "{hero} walks {a} metres in the morning and {b} metres in the evening.", "How far does {hero} walk?", "{hero} walks {r} metres."),
    ("+", "A {things1} costs {a} coins and a {box} costs {b} coins.", "How much do both cost together?", "Together they cost {r} coins."),
    ("+", "{hero} read {a} pages yesterday and {b} pages today.", "How many pages is that?", "{hero} read {r} pages."),
    ("-", "{hero} has {a} {things} and gives {b} to {friend}.", "How many {things} are left?", "{hero} has {r} {things} left."),
    ("-", "There are {a} {things} in the {box}. {hero} takes {b} of them.", "How many are still there?", "There are {r} {things} in the {box}."),
    ("-", "A book has {a} pages, and {hero} has read {b} of them.", "How many pages are left?", "{r} pages are left."),
    ("-", "{hero} has {a} coins and buys a {box} for {b} coins.", "How many coins does {hero} still have?", "{hero} still has {r} coins."),
    ("-", "The way is {a} kilometres long. {hero} has gone {b} of them.", "How far is it still?", "It is {r} kilometres more."),
    ("*", "{hero} has {b} boxes with {a} {things} each.", "How many {things} is that?", "{hero} has {r} {things}."),
    ("*", "One {box} costs {a} coins. {hero} buys {b} of them.", "How much does {hero} pay?", "{hero} pays {r} coins."),
    ("*", "A farmer has {b} fields with {a} {animals} on each.", "How many {animals} are there?", "There are {r} {animals}."),
    ("*", "{hero} runs {a} metres every day for {b} days.", "How many metres is that?", "{hero} runs {r} metres."),
]
SECOND_STEPS = [
    ("+", "Then {friend} brings {c} more.", "In the end there are {r}."), ("-", "Then {c} of them are lost.", "In the end there are {r}."), ("-", "Later {friend} takes {c}.", "In the end there are {r}."),
    ("+", "The next day {c} more are found.", "In the end there are {r}."),
]  # fmt: skip


def word_values(draw) -> dict:
    hero, friend = draw.several(PEOPLE, 2)
    thing = draw.pick(THINGS)
    things = plural(thing) if draw.chance(0.7) else draw.any([food for food in FOODS.values if food.endswith("s")])
    return {"hero": hero, "friend": friend, "things": things, "things1": thing, "box": draw.any(("box", "basket", "bag", "cellar", "room", "chest")), "animals": plural(draw.pick(ANIMALS)), **pronouns(hero)}


def word_problem(draw):
    values = word_values(draw)
    sign, text, question, answer = draw.phrase(WORD_PROBLEMS)
    while True:
        a, _, b = problem(draw, sign)
        if min(a, b) > 0 and value(a, sign, b) >= 0 and (sign != "*" or b < 10):
            break
    result = value(a, sign, b)
    steps = STEPS[sign](a, b)
    filled = values | {"a": a, "b": b, "r": result}
    countable = "{things}" in text and result <= 999
    if not (countable and draw.chance(0.35)):
        return f"{text} {question}".format(**filled), steps, answer.format(**filled), result
    while True:  # a second step on the result
        next_sign, next_text, _ = draw.any(SECOND_STEPS)
        c = draw.integer(1, 99)
        final = value(result, next_sign, c)
        if 0 <= final <= 999 and allowed(draw, result, next_sign, c):
            break
        if next_sign == "-" and result == 0:
            return f"{text} {question}".format(**filled), steps, answer.format(**filled), result
        if draw.is_eval or result > 900:
            if draw.chance(0.02):  # no allowed second step in reach
                return f"{text} {question}".format(**filled), steps, answer.format(**filled), result
    question = draw.any(("How many are there in the end?", "How many is that in the end?", "How many are there now?"))
    whole = f"{text} {next_text} {question}".format(**filled, c=c)
    return whole, steps + " " + STEPS[next_sign](result, c), f"In the end there are {final}.", final


def comparison(draw):
    a, b = draw.rng.sample(range(1, 1000), 2)
    if draw.chance(0.5):
        larger = max(a, b)
        question = draw.any(("Which is larger, {} or {}?", "Which number is bigger: {} or {}?", "Is {} or {} larger?")).format(a, b)
        return question, f"{larger} is larger than {min(a, b)}.", f"{larger} is larger.", larger
    smaller = min(a, b)
    question = draw.any(("Which is smaller, {} or {}?", "Which number is less: {} or {}?")).format(a, b)
    return question, f"{smaller} is less than {max(a, b)}.", f"{smaller} is smaller.", smaller


def generate(draw, context: int):
    messages = random_system(draw)
    thinking = draw.chance(0.82)
    result = None
    for _ in range(draw.any((1, 1, 1, 2, 3))):
        roll = draw.random()
        if result is not None and 0 <= result <= 900 and roll < 0.4:
            question, steps, answer, result = continued(draw, result)
        elif roll < 0.68:
            question, steps, answer, result = plain_question(draw)
        elif roll < 0.96:
            question, steps, answer, result = word_problem(draw)
        else:
            question, steps, answer, result = comparison(draw)
        messages.append(user(question))
        # Without thinking the steps stand in the answer: a small model cannot do them in its head.
        messages.append(assistant(answer, steps) if thinking else assistant(capital(steps)))
    return finish(draw, messages, thinking)


def continued(draw, result: int):
    """A second question about the number just found."""
    for _ in range(50):
        sign, c = draw.any("+-"), draw.integer(1, 99)
        if allowed(draw, result, sign, c) and result - c >= 0:
            asks = {"+": ("Now add {}.", "And plus {}?", "Add {} to that."), "-": ("Now subtract {}.", "And minus {}?", "Take {} away from that.")}
            return draw.any(asks[sign]).format(c), STEPS[sign](result, c), shown(result, sign, c) + ".", value(result, sign, c)
    return plain_question(draw)
