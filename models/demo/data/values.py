"""Values that fill the slots of tool calls and facts: natural ones, and random-looking ones that can only be copied."""

from . import words as w
from .draw import Pool
from .grammar import a

EXTENSIONS = w.words("txt md py rs toml json csv log yaml html css js ts sh conf xml ini c h go java sql")
FOLDERS = w.words("src docs tests data config lib bin assets scripts notes build logs reports images backup tools examples public private")
FILE_STEMS = w.words("""main index report notes config readme server client parser lexer utils helper test data users orders invoice budget plan todo
draft summary log build setup router model view engine cache token session schema worker queue store reader writer render shader matrix""")
DOMAINS = w.words("example.com example.org example.net mail.example post.example")
LANGUAGES = Pool(w.words("English French German Spanish Italian Dutch Swedish Polish Greek Turkish Arabic Hindi Japanese Korean Finnish Danish Czech Latin Welsh Portuguese"))
CURRENCIES = Pool(w.words("EUR USD GBP JPY CHF SEK NOK DKK PLN CZK CAD AUD INR CNY BRL MXN ZAR KRW"))
TOPICS = Pool(w.phrases("""
black holes, bread recipes, cheap flights, coral reefs, electric cars, garden plants, guitar chords, hiking trails, history of paper, home insulation, jazz records,
knitting patterns, learning chess, lunar eclipses, medieval castles, mushroom soup, night trains, old maps, ocean currents, paint colours, piano lessons, rainfall statistics,
rare stamps, river levels, roman roads, rust ownership, sailing knots, solar panels, sourdough starter, space probes, stone bridges, street markets, tea ceremonies,
tide tables, train strikes, tree houses, unit tests, vegetable prices, volcanic islands, water filters, weather radar, wild birds, wind power, wooden boats, yoga exercises,
bicycle repair, bee keeping, sleep research, solar eclipse dates, lighthouse history, clay ovens, binary search, hash tables, sorting algorithms, memory leaks"""))
COMMANDS = Pool(w.phrases("""
ls -la, git status, git log --oneline, git diff, cargo build, cargo test, cargo clippy, make, make clean, make test, npm install, npm test, npm run build,
pytest -q, python main.py, python3 -m http.server, df -h, du -sh ., ps aux, uptime, whoami, date, pwd, free -m, top -b -n 1, uname -a, env, hostname, git pull,
git branch -a, go test ./..., go vet ./..., docker ps, docker images, cat /proc/cpuinfo, tail -n 20 app.log, wc -l src/main.rs, cargo fmt --check, ruff check ., mypy src"""))
UNITS = w.words("metres kilometres miles feet inches grams kilograms pounds litres gallons hours minutes")


def city(d):
    return d.pick(w.CITIES) if d.chance(0.65) else d.made_name()


def person(d):
    return d.pick(w.PEOPLE) if d.chance(0.7) else d.made_name()


def full_name(d):
    return d.any(w.PEOPLE.values) + " " + d.made_name()


def email(d):
    return d.made(lambda: d.any(w.PEOPLE.values).lower() + d.any((".", "_", "")) + d._syllables(2) + "@" + d.any(DOMAINS))


def stem(d):
    roll = d.random()
    if roll < 0.4:
        return d.any(FILE_STEMS)
    if roll < 0.7:
        return d.word()
    return d.any(FILE_STEMS) + "_" + (d.word() if d.chance(0.6) else str(d.integer(1, 99)))


def file_name(d):
    return d.made(lambda: stem(d) + "." + d.any(EXTENSIONS))


def folder(d):
    def make():
        parts = [d.any(FOLDERS) if d.chance(0.6) else d._syllables(2) for _ in range(d.any((1, 1, 2)))]
        return d.any(("", "", "/", "./")) + "/".join(parts)

    return d.made(make)


def path(d):
    def make():
        parts = [d.any(FOLDERS) if d.chance(0.65) else d._syllables(2) for _ in range(d.any((0, 1, 1, 2, 2)))]
        root = d.any(("", "", "", "/", "/home/user/", "./")) if parts else ""
        return root + "/".join(parts + [stem(d) + "." + d.any(EXTENSIONS)])

    return d.made(make)


def url(d):
    return d.made(lambda: "https://" + d.any(("", "www.", "docs.", "api.")) + d._syllables(2) + "." + d.any(("com", "org", "net", "example")) + "/" + d._syllables(2))


def date(d):
    return d.made(lambda: f"{d.integer(2024, 2029)}-{d.integer(1, 12):02}-{d.integer(1, 28):02}")


def time(d):
    return f"{d.integer(0, 23):02}:{d.any((0, 5, 10, 15, 20, 30, 40, 45, 50)):02}"


def topic(d):
    roll = d.random()
    if roll < 0.5:
        return d.pick(TOPICS)
    if roll < 0.75:
        return d.word() + " " + d.pick(w.COMMON_NOUNS)
    return d.pick(w.COMMON_NOUNS) + " " + d.any(w.THINGS.values)


def sentence(d):
    """A short message or note."""
    shape = d.integer(0, 9)
    if shape == 0:
        return f"I will be {d.integer(2, 59)} minutes late"
    if shape == 1:
        return f"The {d.pick(w.THINGS)} is in the {d.pick(w.PLACES)}"
    if shape == 2:
        return f"Meet me at the {d.pick(w.PLACES)} at {time(d)}"
    if shape == 3:
        return f"Please bring {d.pick(w.FOODS)} and {d.pick(w.FOODS)}"
    if shape == 4:
        return f"Happy birthday, {person(d)}!"
    if shape == 5:
        return f"The code is {d.code()}"
    if shape == 6:
        return f"Call {person(d)} about the {d.pick(w.THINGS)}"
    if shape == 7:
        return f"The {d.word()} {d.pick(w.COMMON_NOUNS)} arrives on {d.any(w.DAYS)}"
    if shape == 8:
        return f"{person(d)} bought {a(d.pick(w.THINGS))} for {d.integer(2, 99)} coins"
    return f"Do not forget the {d.pick(w.COLOURS)} {d.pick(w.THINGS)}"


def title(d):
    return f"{d.any(('Meeting with', 'Lunch with', 'Call with', 'Visit', 'Talk to', 'Dinner with'))} {person(d)}" if d.chance(0.6) else f"{d.pick(w.COMMON_NOUNS).capitalize()} {d.any(('review', 'lesson', 'planning', 'test', 'party'))}"


def code_line(d):
    name, value = d.word(), d.code()
    return d.any((f'{name} = "{value}"', f"let {name} = {d.integer(1, 999)};", f'print("{name}")', f"{name}({d.integer(1, 99)})", f"return {name}", f"import {name}", f"# {sentence(d)}"))


def integer(low, high):
    return lambda d: d.integer(low, high)


def decimal(value: float):
    """A whole number is written without a point."""
    return int(value) if value == int(value) else value


def number(d):
    return decimal(d.integer(1, 999) / 10 if d.chance(0.6) else d.integer(1, 9999) / 100)


def from_pool(pool):
    return lambda d: d.pick(pool)


def words_list(d):
    return d.several(w.COMMON_NOUNS if d.chance(0.5) else w.THINGS, d.integer(2, 4))


def people_list(d):
    return [person(d) for _ in range(d.integer(2, 3))]


def numbers_list(d):
    return [d.integer(1, 99) for _ in range(d.integer(3, 6))]


def expression(d):
    parts = [str(d.integer(2, 999)), d.any("+-*/"), str(d.integer(2, 999))]
    if d.chance(0.4):
        parts = ["(" + parts[0], parts[1], parts[2] + ")", d.any("+-*"), str(d.integer(2, 99))]
    return d.made(lambda: " ".join(parts[:-1] + [str(d.integer(2, 999))]))


def song(d):
    return d.made(lambda: f"{d.any(w.ADJECTIVES).capitalize()} {d.any(w.COMMON_NOUNS.values).capitalize()}" if d.chance(0.6) else f"{d._syllables(2).capitalize()} {d.any(w.COMMON_NOUNS.values).capitalize()}")


def book(d):
    return d.made(lambda: f"The {d.any(w.JOBS.values).capitalize()} of {d._syllables(2).capitalize()}" if d.chance(0.5) else f"The {d.any(w.ADJECTIVES).capitalize()} {d.any(w.THINGS.values).capitalize()}")


def record(d):
    """A flat JSON object."""
    makers = [lambda: d.word(), lambda: d.integer(1, 999), lambda: d.code(), lambda: d.chance(0.5)]
    return {d.any(("name", "id", "level", "key", "active", "mode", "count")) if d.chance(0.5) else d.word(): d.any(makers)() for _ in range(d.integer(1, 3))}


def sql(d):
    return d.made(lambda: f"SELECT {d.any(('*', 'name', 'id', 'count(*)'))} FROM {d._syllables(2)}" + (f" WHERE {d.any(('id', 'age', 'price'))} {d.any('<>=')} {d.integer(1, 999)}" if d.chance(0.6) else ""))


def reason(d):
    return d.any(("it is too late", "I found a cheaper one", "it was a mistake", "I do not need it")) if d.chance(0.5) else f"I already have {a(d.pick(w.THINGS))}"


VALUES = {
    "expression": expression, "song": song, "book": book, "record": record, "sql": sql, "reason": reason, "heat": lambda d: decimal(d.integer(10, 60) / 2),
    "flag": lambda d: d.chance(0.5), "object": lambda d: d.any(w.ADJECTIVES) + " " + d.pick(w.THINGS), "flight": lambda d: d.letters(2) + d.digits(3),
    "image": lambda d: d.made(lambda: d._syllables(2) + d.any((".png", ".jpg"))), "scene": lambda d: f"a {d.pick(w.COLOURS)} {d.pick(w.ANIMALS)} in the {d.pick(w.PLACES)}",
    "foods": lambda d: d.several(w.FOODS, d.integer(2, 4)), "account": lambda d: d.digits(d.any((6, 7, 8))), "point": lambda d: {"x": d.integer(0, 99), "y": d.integer(0, 99)},
    "host": lambda d: d.word() + "-" + d.digits(2),
    "city": city, "person": person, "full_name": full_name, "email": email, "file_name": file_name, "folder": folder, "path": path, "url": url, "date": date,
    "time": time, "topic": topic, "sentence": sentence, "title": title, "code_line": code_line, "number": number, "words": words_list, "people": people_list,
    "numbers": numbers_list, "code": lambda d: d.code(), "word": lambda d: d.word(), "name": lambda d: d.made_name(), "letters": lambda d: d.letters(3),
    "order": lambda d: d.digits(d.any((4, 5, 6))), "small": integer(2, 20), "medium": integer(5, 200), "large": integer(100, 9999), "percent": integer(1, 100),
    "language": from_pool(LANGUAGES), "currency": from_pool(CURRENCIES), "command": from_pool(COMMANDS), "thing": from_pool(w.THINGS), "food": from_pool(w.FOODS),
    "place": from_pool(w.PLACES), "colour": from_pool(w.COLOURS), "animal": from_pool(w.ANIMALS), "noun": from_pool(w.COMMON_NOUNS), "day": lambda d: d.any(w.DAYS),
    "true": lambda d: True, "false": lambda d: False,
}  # fmt: skip
