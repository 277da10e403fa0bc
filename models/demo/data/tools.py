"""Conversations with tools: choosing one, filling its parameters, using its result, chaining two, or calling none."""

from . import chat
from . import words as w
from .grammar import a, capital, listed, third_person
from .render import Call, as_json, assistant, compact_json, finish, random_system, tool, user
from .segment import Segment
from .tool_families import FAMILIES, Family, Parameter
from .values import VALUES

# Tools --------------------------------------------------------------------------------------------------------------------


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def spoken(value) -> str:
    """A value as a request would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return listed([str(item) for item in value])
    if isinstance(value, dict):
        return compact_json(value) if len(value) > 2 else as_json(value)
    return str(value)


class BoundTool:
    """A family under one of its names, with one spelling for each parameter."""

    def __init__(self, draw, family: Family, style):
        self.family = family
        name = draw.any(family.names)
        roll = draw.random()
        if roll < 0.12:
            name = draw.word() + "_" + name  # a name that can only be copied from the schema
        elif roll < 0.2:
            name = name + "_" + draw.any(("v2", "tool", "api", "now", draw.word()))
        if style.camel:
            name = camel(name)
        self.name = name
        self.spelling = {}
        properties = {}
        for parameter in family.parameters:
            spelling = draw.any(parameter.names)
            if spelling in properties:
                spelling = parameter.key
            if style.camel:
                spelling = camel(spelling)
            self.spelling[parameter.key] = spelling
            properties[spelling] = parameter_schema(parameter, style.descriptions)
        required = [self.spelling[p.key] for p in family.parameters if p.clause is None]
        parameters = {"type": "object", "properties": properties, "required": required}
        if style.closed:
            parameters["additionalProperties"] = False
        self.schema = {"name": name, "description": draw.any(family.descriptions), "parameters": parameters}

    def call(self, values: dict) -> Call:
        """The call with these values, in the schema's order."""
        return Call(self.name, {self.spelling[p.key]: values[p.key] for p in self.family.parameters if p.key in values})


def parameter_schema(parameter: Parameter, with_description: bool) -> dict:
    schema = {"type": parameter.type}
    if parameter.enum:
        schema["enum"] = parameter.enum
    if parameter.type == "array":
        schema["items"] = {"type": "integer" if parameter.key == "numbers" else "string"}
    if with_description:
        schema["description"] = parameter.description
    return schema


class Style:
    """How one client spells its schemas."""

    def __init__(self, draw):
        self.camel = draw.chance(0.15)
        self.descriptions = draw.chance(0.6)
        self.closed = draw.chance(0.12)


VERBS = w.words("set apply rotate seal launch tune check measure bind load mark paint fold split join scan shift clean lift pack trim draw mix test print sign weigh")
SLOT_NAMES = w.words("level mode target label amount key tag zone slot channel speed code group value owner color size depth angle state kind source phase offset")


def invented_parameter(draw, used: set) -> Parameter:
    while True:
        name = draw.any(SLOT_NAMES) if draw.chance(0.6) else draw.word()
        if draw.chance(0.2):
            name += "_" + draw.any(SLOT_NAMES)
        if name not in used:
            break
    used.add(name)
    kinds = ["word", "code", "name", "noun", "path", "small", "large", "number", "flag", "words", "numbers", "point", "sentence", "enum"]
    kind = draw.any(kinds)
    types = {"small": "integer", "large": "integer", "number": "number", "flag": "boolean", "words": "array", "numbers": "array", "point": "object"}
    if kind == "enum":
        options = [draw.word() for _ in range(3)]
        return Parameter(name, [name], lambda d: d.any(options), f"The {name.replace('_', ' ')}", "string", None, options)
    type_ = types.get(kind, "string")
    parameter = Parameter(name, [name], VALUES[kind], f"The {name.replace('_', ' ')}", type_, None, None)
    return parameter


def invented_family(draw) -> Family:
    """A tool nobody has seen: its name and parameters have to be read from the schema."""
    verb = draw.any(VERBS)
    noun = draw.word() if draw.chance(0.5) else draw.pick_or_word(w.COMMON_NOUNS)
    used: set[str] = set()
    parameters = [invented_parameter(draw, used) for _ in range(draw.any((1, 1, 2, 2, 2, 3, 3, 4)))]
    asks = []
    slots = [("{%s}" % p.key, p.key.replace("_", " "), p) for p in parameters]
    quote = {p.key: '"{%s}"' % p.key if p.value is VALUES["sentence"] else "{%s}" % p.key for p in parameters}
    for _ in range(2):
        shown = draw.rng.sample(slots, len(slots)) if draw.chance(0.3) else slots
        mentions = listed([f"{text} {quote[p.key]}" for _, text, p in shown])
        pairs = ", ".join(f"{p.key} = {quote[p.key]}" for _, _, p in shown)
        asks.append(draw.any((f"{capital(verb)} the {noun} with {mentions}.", f"Please {verb} the {noun}: {pairs}.", f"Use {{TOOL}} with {mentions}.", f"I want to {verb} the {noun}. Take {mentions}.", f"Call {{TOOL}}: {pairs}.")))
    name = draw.any((f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}_the_{noun}"))
    member = draw.any(("id", "status", "result", "code", "position", "time"))
    other = draw.word()

    def result(d, v):
        return {member: d.code(), other: d.any((d.integer(1, 999), d.word()))} if d.chance(0.6) else {member: d.code()}

    return Family(name, [name], [f"{capital(verb)} the {noun}", f"{capital(third_person(verb))} {a(noun)}"], parameters, asks, f"to {verb} the {noun}", result,
                  [f"Done. The {member} is {{{member}}}.", f"The {noun} has the {member} {{{member}}}."])  # fmt: skip


# Chains: the first call's result holds an argument of the second. ------------------------------------------------------------

# (first family, member of its result, second family, parameter that takes it, requests). Slots of the second family begin with "b_".
CHAINS = [
    ("find_contact", "email", "send_email", "to", ["Send {name} an email with the subject \"{b_subject}\" and the text \"{b_body}\". Look up the address first.", "Find the address of {name} and email \"{b_body}\" with the subject \"{b_subject}\".", "Email {name}: subject \"{b_subject}\", text \"{b_body}\". I do not know the address."]),
    ("find_file", "path", "read_file", "path", ["Find {name} and read it.", "Locate the file {name}, then show me what is in it.", "What does the file {name} contain? I forgot its folder.", "Search for {name} and print it."]),
    ("find_file", "path", "delete_file", "path", ["Find {name} and delete it.", "Delete the file {name}, wherever it is.", "Somewhere there is a file {name}. Remove it."]),
    ("find_file", "path", "edit", "path", ["Find {name} and replace {b_old} with {b_new} in it.", "In the file {name}, wherever it is, change {b_old} to {b_new}."]),
    ("grep", "file", "read_file", "path", ["Find out which file in {path} contains {pattern} and read it.", "Search {path} for {pattern}, then open the file.", "Show me the file in {path} that uses {pattern}."]),
    ("grep", "file", "edit", "path", ["Replace {pattern} with {b_new} in the file of {path} that contains it.", "Search {path} for {pattern} and change {pattern} to {b_new} in that file."]),
    ("get_user", "user_id", "user_orders", "user_id", ["Which orders does {username} have?", "List the orders of the user {username}.", "Show me what {username} has ordered."]),
    ("product_search", "product_id", "add_to_cart", "product_id", ["Find a {name} and put {b_quantity} of it into my cart.", "I want {b_quantity} pieces of a {name}. Search it and add it to the cart.", "Search a {name}, then add {b_quantity} to the cart."]),
    ("find_flight", "flight", "book_flight", "flight", ["Book {b_passenger} on a flight from {origin} to {destination} on {date}.", "Find a flight from {origin} to {destination} on {date} and book it for {b_passenger}."]),
    ("search", "url", "fetch_url", "url", ["Search the web for {query} and open the first page.", "Look up {query} and read me the first result.", "Find a page about {query} and fetch it."]),
    ("make_image", "file", "resize_image", "path", ["Draw {prompt} and make the picture {b_width} by {b_height}.", "Make an image of {prompt}, then resize it to {b_width} by {b_height}."]),
    ("open_ticket", "ticket", "close_ticket", "ticket", ["Open a {priority} priority ticket \"{title}\" and close it at once.", "Report \"{title}\" with {priority} priority, then close the ticket."]),
    ("define_word", "meaning", "translate", "text", ["Look up the word {word} and translate its meaning into {b_target_language}.", "What does {word} mean, in {b_target_language}? Use the dictionary, then translate."]),
    ("find_note", "text", "send_message", "text", ["Find my note about {query} and send its text to {b_recipient}.", "Send {b_recipient} what I wrote about {query}."]),
    ("get_news", "headline", "send_message", "text", ["Get the news about {topic} and send the headline to {b_recipient}.", "Send {b_recipient} the latest headline on {topic}."]),
]  # fmt: skip


def invented_chain(draw):
    """One tool looks up an id, the other does something with it."""
    noun, id_name = draw.word(), draw.any(("id", "key", "number", "code"))
    finder_verb, action = draw.any(("find", "get", "look_up", "search")), draw.any(VERBS)
    member = f"{noun}_{id_name}" if draw.chance(0.5) else id_name
    title = Parameter("name", ["name", "title", "label"], VALUES["name"], f"Name of the {noun}", "string", None, None)
    key = Parameter(id_name, [id_name, f"{noun}_{id_name}"], VALUES["code"], f"The {id_name} of the {noun}", "string", None, None)
    level = Parameter("level", ["level", "amount", "value"], VALUES["medium"], "A number", "integer", None, None)
    finder = Family(f"{finder_verb}_{noun}", [f"{finder_verb}_{noun}", f"{noun}_{finder_verb}"], [f"Find the {id_name} of a {noun} by name"], [title], ["Find the %s {name}." % noun, "Which %s has the %s {name}?" % (id_name, noun)], "the %s {name}" % noun, lambda d, v: {member: d.code()}, ["The %s is {%s}." % (id_name, member)])
    parameters = [key, level] if draw.chance(0.5) else [key]
    with_level = " with {level}" if len(parameters) == 2 else ""
    actor = Family(f"{action}_{noun}", [f"{action}_{noun}", f"{noun}_{action}"], [f"{capital(action)} a {noun} by its {id_name}"], parameters, [("%s the %s {%s}" + with_level + ".") % (capital(action), noun, id_name)], ("to %s the %s {%s}") % (action, noun, id_name), lambda d, v: {"status": d.any(("done", "ok", "ready"))}, ["Done. The status is {status}."])
    b_level = " with {b_level}" if len(parameters) == 2 else ""
    asks = [("%s the %s {name}" + b_level + ".") % (capital(action), noun), ("Find the %s {name} and %s it" + b_level + ".") % (noun, action)]
    return finder, member, actor, id_name, asks


# Requests ----------------------------------------------------------------------------------------------------------------


def values_for(draw, family: Family, with_options: bool) -> dict:
    """Values of the required parameters and of those optional ones that the request will mention, in the schema's order."""
    values = {}
    for parameter in family.parameters:
        if parameter.clause is None or (with_options and draw.chance(0.3)):
            values[parameter.key] = parameter.value(draw)
    return values


def texts_of(values: dict) -> dict:
    return {key: spoken(value) for key, value in values.items()}


def ask_text(draw, bound: BoundTool, values: dict, replaced: dict | None = None) -> str:
    """The request in words. `replaced` gives other words for some values."""
    texts = texts_of(values) | (replaced or {}) | {"TOOL": bound.name}
    text = draw.phrase(bound.family.asks)
    clauses = "".join(p.clause.format(**texts) for p in bound.family.parameters if p.clause and p.key in values)
    if clauses:
        end = text[-1] if text[-1] in ".?!" else ""
        text = text[: len(text) - len(end)].rstrip('"') + clauses + end if not text.endswith('"') else text + clauses + "."
    return text.format(**texts)


def need_text(bound: BoundTool, values: dict) -> str:
    return bound.family.need.format(**texts_of(values))


def result_of(draw, bound: BoundTool, values: dict):
    """What the tool returns: its text, and its members for the answer."""
    made = bound.family.result(draw, values)
    if isinstance(made, tuple):
        return made
    if isinstance(made, str):
        return made, {"text": made}
    return (compact_json(made) if draw.chance(0.25) else as_json(made)), made


def answer_text(draw, bound: BoundTool, values: dict, members: dict) -> str:
    return draw.any(bound.family.answers).format(**(texts_of(values) | texts_of(members)))


def nearest(need: str, bound: BoundTool) -> str:
    """Names a tool and what it does before judging it: whether two purposes side by side agree is easy to see."""
    return f"The user wants {need}. The nearest tool is {bound.name}: {bound.schema['description']}."


def plan(draw, bound: BoundTool, values: dict) -> str:
    need, name = need_text(bound, values), bound.name
    # Evaluation shows the short form in earlier turns, so that its cases stay what they were.
    if not draw.is_eval and draw.chance(0.85):
        return f"{nearest(need, bound)} It fits."
    return draw.any(("The user wants {}. I will use {}.", "The user wants {}. The tool {} fits.", "This needs {1}: the user wants {0}.", "The user asks for {}. I should call {}.")).format(need, name)


GOT_RESULT = ["I have the result and can answer.", "The tool has answered. I tell the user.", "The result is there.", "Now I can answer."]
ERRORS = ["not found", "permission denied", "timeout", "service not available", "invalid argument", "connection refused", "limit reached"]


SAME_PURPOSE = [{"read_file", "read_setting"}, {"find_contact", "get_user"}]


def distinct(one: Family, other: Family) -> bool:
    """Whether a request can tell the two apart."""
    same_purpose = any(one.key in group and other.key in group for group in SAME_PURPOSE)
    return one.key != other.key and not same_purpose and not set(one.names) & set(other.names)


class Session:
    """A conversation that grows request by request. `targets` are the indices of assistant messages that call tools."""

    def __init__(self, draw, tool_limit: int, needed: list | None = None):
        self.draw = draw
        self.style = Style(draw)
        self.messages = random_system(draw)
        self.bound: list[BoundTool] = []
        families = list(needed or [])
        count = max(len(families), draw.integer((tool_limit + 1) // 2, tool_limit))
        known = [f for f in FAMILIES.values()]
        while len(families) < count:
            candidate = invented_family(draw) if draw.chance(0.35) else draw.any(known)
            if all(distinct(candidate, family) for family in families):
                families.append(candidate)
        draw.rng.shuffle(families)
        for family in families:
            bound = BoundTool(draw, family, self.style)
            if all(bound.name != other.name for other in self.bound):
                self.bound.append(bound)

    def tool_named(self, key: str) -> BoundTool:
        return next(bound for bound in self.bound if bound.family.key == key)

    def say(self, text: str):
        self.messages.append(user(text))

    def call(self, reasoning: str, calls: list):
        self.messages.append(assistant("", reasoning, calls))

    def answer(self, text: str, reasoning: str | None = None):
        self.messages.append(assistant(text, reasoning or self.draw.any(GOT_RESULT)))

    # One request each ----------------------------------------------------------------------------------------------------

    def single(self, bound: BoundTool | None = None):
        draw = self.draw
        bound = bound or draw.any(self.bound)
        values = values_for(draw, bound.family, True)
        self.say(polite(draw, ask_text(draw, bound, values)))
        self.run(bound, values)
        return bound, values

    def run(self, bound: BoundTool, values: dict, reasoning: str | None = None):
        draw = self.draw
        self.call(reasoning or plan(draw, bound, values), [bound.call(values)])
        if draw.chance(0.05):
            error = draw.any(ERRORS)
            self.messages.append(tool(as_json({"error": error}) if draw.chance(0.6) else f"Error: {error}"))
            self.answer(f"That did not work: {error}.", f"The tool reports an error: {error}.")
            return
        text, members = result_of(draw, bound, values)
        self.messages.append(tool(text))
        self.answer(answer_text(draw, bound, values, members))

    def follow_up(self):
        """The same again with another value: "And in Rome?"."""
        draw = self.draw
        bound, values = self.single()
        first = bound.family.parameters[0]
        if not first.enum and first.type == "string":
            values = values | {first.key: first.value(draw)}
            text = spoken(values[first.key])
            self.say(draw.any(("And {}?", "And now {}.", "The same for {}, please.", "Now with {}.", "What about {}?")).format(text))
            self.run(bound, values)

    def parallel(self):
        """Two calls in one block: two tools, or one tool twice."""
        draw = self.draw
        one = draw.any(self.bound)
        other = draw.any(self.bound)
        values = values_for(draw, one.family, False)
        first = one.family.parameters[0]
        if other is one:
            if first.enum or first.type != "string":
                return self.single(one)
            second = values | {first.key: first.value(draw)}
            extra = draw.any(("And the same for {}.", "Also for {}.", "Do it for {}, too.")).format(spoken(second[first.key]))
            self.say(ask_text(draw, one, values) + " " + extra)
            reasoning = f"The user wants {need_text(one, values)} and {need_text(one, second)}. I call {one.name} twice."
        else:
            second = values_for(draw, other.family, False)
            joiner = draw.any((" Also: ", " And: ", " ", "\n"))
            self.say(ask_text(draw, one, values) + joiner + ask_text(draw, other, second))
            reasoning = f"The user wants {need_text(one, values)} and {need_text(other, second)}. I call {one.name} and {other.name}."
        self.call(reasoning, [one.call(values), other.call(second)])
        answers = []
        for bound, given in ((one, values), (other, second)):
            text, members = result_of(draw, bound, given)
            self.messages.append(tool(text))
            answers.append(answer_text(draw, bound, given, members))
        self.answer(" ".join(answers), draw.any(("I have both results.", "Both tools have answered.")))

    def remembered(self):
        """A value from an earlier turn fills the parameter."""
        draw = self.draw
        candidates = [b for b in self.bound if any(p.type == "string" and not p.enum and p.clause is None for p in b.family.parameters)]
        if not candidates:
            return self.single()
        bound = draw.any(candidates)
        parameter = draw.any([p for p in bound.family.parameters if p.type == "string" and not p.enum and p.clause is None])
        values = values_for(draw, bound.family, False)
        noun = parameter.key.replace("_", " ")
        value = values[parameter.key]
        self.say(draw.any(("Remember the {0} {1}.", "The {0} is {1}. I need it later.", "Keep this {0} in mind: {1}", "My {0} is {1}.")).format(noun, value))
        self.answer(draw.any(("I will remember the {0} {1}.", "Noted: the {0} is {1}.")).format(noun, value), "The user tells me something to remember. No tool is needed.")
        if draw.chance(0.4):
            self.small_talk()
        reference = draw.any((f"that {noun}", f"the {noun} I told you", f"the {noun} from before"))
        request = ask_text(draw, bound, values, {parameter.key: reference})
        self.say(without_doubling(request, noun))
        self.run(bound, values, f"The {noun} is {value}. I will use {bound.name}.")

    def chain(self, chain):
        draw = self.draw
        first_key, member, second_key, parameter, asks = chain
        one, two = self.tool_named(first_key), self.tool_named(second_key)
        values = values_for(draw, one.family, False)
        second = values_for(draw, two.family, False)
        if "pattern" in values and "old" in second:
            second["old"] = values["pattern"]
        texts = texts_of(values) | {f"b_{key}": spoken(value) for key, value in second.items()}
        self.say(draw.phrase(asks).format(**texts))
        self.call(f"First I need {need_text(one, values)}. I will use {one.name}, then {two.name}.", [one.call(values)])
        text, members = result_of(draw, one, values)
        self.messages.append(tool(text))
        second[parameter] = members[member]
        self.call(f"The {member.replace('_', ' ')} is {members[member]}. Now I will use {two.name}.", [two.call(second)])
        text, members = result_of(draw, two, second)
        self.messages.append(tool(text))
        self.answer(answer_text(draw, two, second, members))

    def small_talk(self):
        """An ordinary question that needs no tool."""
        question, answer, _ = chat.question_and_answer(self.draw)
        self.say(question)
        self.answer(answer, self.draw.any(("No tool is needed for this.", "I can answer this without a tool.", "This needs no tool.")))

    def nothing_fits(self):
        """A request for a tool that is not there."""
        draw = self.draw
        here = {name for bound in self.bound for name in bound.family.names}
        while True:
            family = draw.any(list(FAMILIES.values()))
            if not here & set(family.names) and not too_close(family.key, self.bound):
                break
        absent = BoundTool(draw, family, self.style)
        values = values_for(draw, family, True)
        self.say(polite(draw, ask_text(draw, absent, values)))
        names = listed([bound.name for bound in self.bound])
        answer = draw.any(("I have no tool for that. I can only use {}.", "Sorry, none of my tools can do that. I have {}.", "I can't do that with my tools: {}.")).format(names)
        need = need_text(absent, values)
        reasoning = f"The user wants {need}. None of my tools fits." if draw.is_eval else f"{nearest(need, draw.any(self.bound))} It does not fit."
        self.answer(answer, reasoning)

    def value_missing(self):
        """A request without the value that the tool needs: ask for it, then call."""
        draw = self.draw
        candidates = [b for b in self.bound if sum(p.clause is None for p in b.family.parameters) == 1 and b.family.parameters[0].type == "string"]
        if not candidates:
            return self.single()
        bound = draw.any(candidates)
        noun = bound.family.parameters[0].key.replace("_", " ")
        self.say(draw.any(("Please use {}.", "I need {} now.", "Can you use {} for me?", "Use the tool {}.")).format(bound.name))
        self.answer(draw.any(("Which {} do you mean?", "Please tell me the {}.")).format(noun), f"The tool {bound.name} needs the {noun}. I have to ask.")
        values = values_for(draw, bound.family, False)
        value = spoken(values[bound.family.parameters[0].key])
        self.say(draw.any(("{}", "{}, please", "Take {}.", "The {1} is {0}.")).format(value, noun))
        self.run(bound, values, f"The {noun} is {value}. I will use {bound.name}.")


def without_doubling(text: str, noun: str) -> str:
    """A request whose slot already had an article or the noun in front: "the the room", "sensor that sensor"."""
    for wrong, right in (("the the ", "the "), ("the that ", "that "), (f"{noun} that {noun}", f"that {noun}"), (f"{noun} the {noun}", f"the {noun}"), ("the that ", "that ")):
        text = text.replace(wrong, right)
    return text


# Families that could be taken for each other: none of a group counts as absent while another is there.
CLOSE = [
    {"weather", "forecast"}, {"read_file", "read_setting", "find_file", "grep", "list_dir", "run_command"}, {"edit", "write_file", "delete_file", "move_file", "run_command"},
    {"search", "get_news", "fetch_url", "recipe", "library_search", "define_word", "weather", "get_stock_price", "product_search", "local_time", "geocode", "convert_currency"},
    {"send_email", "send_message", "invite"}, {"set_timer", "set_alarm", "set_reminder", "create_event"}, {"create_note", "find_note", "add_todo", "set_reminder", "write_file", "shopping_list"},
    {"calculate", "convert_units", "run_command"}, {"run_command", "run_tests", "git_commit", "server_restart", "server_logs"}, {"directions", "train_times", "find_flight", "geocode"},
    {"order_status", "cancel_order", "user_orders"}, {"product_search", "add_to_cart", "shopping_list"}, {"list_events", "create_event"}, {"open_ticket", "close_ticket", "add_todo"},
    {"transfer", "get_balance"}, {"http_post", "fetch_url"}, {"find_flight", "book_flight"}, {"set_light", "set_thermostat", "lock_door"},
]  # fmt: skip


def too_close(key: str, bound: list) -> bool:
    present = {b.family.key for b in bound}
    return any(key in group and group & present for group in CLOSE)


def polite(draw, text: str) -> str:
    roll = draw.random()
    if roll < 0.06:
        return "Hi! " + text
    if roll < 0.1:
        return text + " Thanks!"
    if roll < 0.13:
        return "Hello. " + text
    return text


# Documents ---------------------------------------------------------------------------------------------------------------

SCENARIOS = [
    ("single", 0.46), ("chain", 0.16), ("parallel", 0.08), ("follow_up", 0.06), ("remembered", 0.07), ("small_talk", 0.07), ("nothing_fits", 0.06), ("value_missing", 0.04),
]


def choose_scenario(draw) -> str:
    roll = draw.random()
    for name, share in SCENARIOS:
        roll -= share
        if roll < 0:
            return name
    return "single"


def choose_chain(draw):
    """A chain and the families that it needs."""
    if draw.chance(0.35):
        finder, member, actor, parameter, asks = invented_chain(draw)
        return (finder.key, member, actor.key, parameter, asks), [finder, actor]
    chain = draw.any(CHAINS)
    return chain, [FAMILIES[chain[0]], FAMILIES[chain[2]]]


def build(draw, scenarios: list, tool_limit: int) -> Session:
    """A session that plays these scenarios in order."""
    chain, needed = choose_chain(draw) if "chain" in scenarios else (None, [])
    while True:
        session = Session(draw, tool_limit, needed)
        if all(any(b.family.key == f.key for b in session.bound) for f in needed):
            break
    for name in scenarios:
        if name == "chain":
            session.chain(chain)
        else:
            getattr(session, name)()
    return session


def limits(draw, context: int) -> tuple:
    """How many tools and requests fit: the tool block alone takes some 250 tokens, a schema about 90."""
    if context <= 640:
        return 1, 1
    if context <= 1100:
        return draw.any((1, 2, 3, 4)), draw.any((1, 1, 2))
    return draw.any((1, 2, 3, 4, 5, 6)), draw.any((1, 1, 2, 2, 3, 4))


def generate(draw, context: int) -> list[Segment]:
    tool_limit, requests = limits(draw, context)
    scenarios = [choose_scenario(draw) for _ in range(requests)]
    if scenarios.count("chain") > 1:
        scenarios = ["single" if name == "chain" and i else name for i, name in enumerate(scenarios)]
    session = build(draw, scenarios, tool_limit)
    thinking = draw.chance(0.55)
    style = "ds4" if draw.chance(0.3) else "official"
    return finish(draw, session.messages, thinking, [bound.schema for bound in session.bound], style)
