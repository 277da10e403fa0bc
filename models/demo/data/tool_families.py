"""The tools that conversations offer: about sixty families with several names, descriptions and parameter spellings each.

A request is one of `asks` with the clauses of the optional parameters it mentions put before its final mark. `need` is what the
thinking says the user wants. `result` makes the tool's answer; `answers` may use its members and the arguments.
"""

from typing import Callable, NamedTuple

from . import words as w
from .values import VALUES


class Parameter(NamedTuple):
    key: str
    names: list  # spellings of the name, the key among them
    value: Callable
    description: str
    type: str
    clause: str | None  # how a request mentions it; None: required, and the request has a slot for it
    enum: list | None


class Family(NamedTuple):
    key: str
    names: list
    descriptions: list
    parameters: list
    asks: list
    need: str
    result: Callable
    answers: list


def P(names: str, value, description: str, type: str = "string", clause: str | None = None) -> Parameter:
    names_list = names.split()
    enum = value if isinstance(value, list) else None
    make = (lambda d: d.any(value)) if enum else VALUES[value]
    return Parameter(names_list[0], names_list, make, description, type, clause, enum)


FAMILIES: dict[str, Family] = {}


def family(key, names, descriptions, parameters, asks, need, result, answers):
    FAMILIES[key] = Family(key, names.split(), descriptions.split("|"), parameters, asks.split("|"), need, result, answers.split("|"))


def config_with_port(d, v):
    """A tool result may be a text together with the facts in it that the answer uses."""
    port = d.made_port()
    lines = [f'host = "{d.word()}"', f"port = {port}", f"level = {d.integer(1, 9)}", f'name = "{d.word()}"']
    d.rng.shuffle(lines)
    return "\n".join(lines), {"port": port}


CONDITIONS = w.words("sunny cloudy rainy windy foggy snowy stormy clear dry humid")
LEVELS = ["low", "medium", "high"]

family(
    "weather", "get_weather weather current_weather weather_lookup fetch_weather", "Get the weather for a specific location|Current weather in a city|Look up the weather of a place",
    [P("location city place town", "city", "The city name"), P("unit units", ["celsius", "fahrenheit"], "Temperature unit", clause=" in {unit}")],
    "What's the weather in {location}?|How is the weather in {location}?|Tell me the weather in {location}.|Is it cold in {location} now?|Weather for {location}, please.|I am going to {location}. What is the weather there?",
    "the weather in {location}", lambda d, v: {"temperature": d.integer(-15, 39), "condition": d.any(CONDITIONS)},
    "It is {condition} in {location}, {temperature} degrees.|The weather in {location} is {condition} with {temperature} degrees.",
)  # fmt: skip
family(
    "forecast", "get_forecast weather_forecast forecast", "Weather forecast for the next days|Get a forecast for a city",
    [P("city location", "city", "City"), P("days num_days", "small", "Number of days", "integer")],
    "Give me a forecast of {days} days for {city}.|How will the weather be in {city} over the next {days} days?|Forecast for {city}, {days} days.|I need the {days} day forecast for {city}.",
    "a forecast of {days} days for {city}", lambda d, v: {"summary": d.any(CONDITIONS), "max": d.integer(10, 35), "min": d.integer(-5, 9)},
    "The next {days} days in {city} will be {summary}, between {min} and {max} degrees.",
)  # fmt: skip
family(
    "search", "search web_search search_web internet_search", "Search the web for information|Web search|Find pages on the internet",
    [P("query q search_query", "topic", "Search query"), P("num_results limit max_results count", "small", "Number of results to return", "integer", " and give me {num_results} results")],
    "Search the web for {query}.|Look up {query} on the internet.|Find pages about {query}.|Please search for {query}.|Can you search the web for {query}?|What does the internet say about {query}?",
    "a web search for {query}", lambda d, v: {"title": d.pick(w.COMMON_NOUNS).capitalize() + " " + d.any(("guide", "basics", "facts", "handbook")), "url": VALUES["url"](d)},
    "I found \"{title}\" at {url}.|The first result is \"{title}\" ({url}).",
)  # fmt: skip
family(
    "read_file", "read_file open_file read view_file cat_file", "Read a file from disk|Return the content of a file|Read a text file",
    [P("path file_path file filename", "path", "Path of the file"), P("limit max_lines lines", "medium", "Maximum number of lines", "integer", " and show at most {limit} lines")],
    "Read {path}.|Show me the file {path}.|What is in {path}?|Open {path}, please.|Can you read {path} for me?|Print the content of {path}.",
    "to read {path}", lambda d, v: VALUES["code_line"](d), "The file {path} contains:\n\n{text}|{path} contains this:\n\n{text}",
)  # fmt: skip
family(
    "read_setting", "read_config get_file load_file read_text", "Read a configuration file|Load a text file|Return a file as text",
    [P("path file config_path", "path", "Path of the file")],
    "Which port is set in {path}?|What is the port in {path}?|Look into {path} and tell me the port.|I need the port number from {path}.",
    "the port in {path}", config_with_port, "The port in {path} is {port}.",
)  # fmt: skip
family(
    "write_file", "write_file write save_file create_file", "Write text to a file|Create or overwrite a file|Save content to disk",
    [P("path file_path file", "path", "Where to write"), P("content text data", "code_line", "The text to write")],
    "Write `{content}` to {path}.|Create {path} with the content `{content}`.|Save `{content}` in the file {path}.|Put this line into {path}: `{content}`.",
    "to write a line to {path}", lambda d, v: {"bytes": len(v["content"])}, "I wrote {bytes} bytes to {path}.|Done: {path} now has {bytes} bytes.",
)  # fmt: skip
family(
    "run_command", "run_command bash shell execute run_shell terminal exec", "Run a shell command|Execute a command in the terminal|Run a command and return its output",
    [P("command cmd", "command", "The command to run"), P("timeout timeout_sec", "medium", "Timeout in seconds", "integer", " with a timeout of {timeout} seconds")],
    "Run `{command}`.|Execute `{command}`.|Please run `{command}` in the terminal.|Can you run `{command}`?|Start `{command}` and tell me what it says.|What does `{command}` print?",
    "to run `{command}`", lambda d, v: d.any((f"ok: {d.word()}", f"{d.integer(1, 99)} passed, 0 failed", f"error: {d.word()} not found", f"{d.code()}")),
    "`{command}` printed: {text}|The output of `{command}` is: {text}",
)  # fmt: skip
family(
    "list_dir", "list_dir list_directory ls list_files list_folder", "List the files of a folder|List a directory|Show what is in a folder",
    [P("path directory dir folder", "folder", "The folder"), P("recursive include_subfolders", "true", "Also list subfolders", "boolean", " with all subfolders")],
    "List the files in {path}.|What files are in {path}?|Show the folder {path}.|Which files does {path} contain?|List {path}.",
    "the files in {path}", lambda d, v: {"files": [VALUES["file_name"](d) for _ in range(d.integer(2, 3))]}, "{path} contains {files}.|The files in {path} are {files}.",
)  # fmt: skip
family(
    "grep", "grep search_files search_code find_in_files ripgrep", "Search text in files|Find a pattern in the code|Search the files of a folder for a text",
    [P("pattern query text", "word", "Text to find"), P("path directory dir", "folder", "Where to search"), P("ignore_case case_insensitive", "true", "Ignore upper and lower case", "boolean", ", ignoring case")],
    "Search for {pattern} in {path}.|Where in {path} is {pattern} used?|Find {pattern} in the files of {path}.|Grep for {pattern} in {path}.",
    "to find {pattern} in {path}", lambda d, v: {"file": VALUES["path"](d), "line": d.integer(1, 400)}, "{pattern} is in {file}, line {line}.|I found {pattern} in {file} at line {line}.",
)  # fmt: skip
family(
    "edit", "edit edit_file replace_in_file str_replace", "Replace text in a file|Edit a file by replacing one text with another|Change a part of a file",
    [P("path file_path file", "path", "The file to edit"), P("old old_text old_string search", "word", "Text to replace"), P("new new_text new_string replacement", "word", "New text")],
    "Replace {old} with {new} in {path}.|In {path}, change {old} to {new}.|Edit {path}: {old} should become {new}.|Rename {old} to {new} in the file {path}.",
    "to replace {old} with {new} in {path}", lambda d, v: {"replacements": d.integer(1, 9)}, "I replaced {old} with {new} in {path} ({replacements} places).",
)  # fmt: skip
family(
    "delete_file", "delete_file remove_file rm trash", "Delete a file|Remove a file from disk",
    [P("path file", "path", "The file to delete")], "Delete {path}.|Remove the file {path}.|Please delete {path}.|I no longer need {path}, delete it.",
    "to delete {path}", lambda d, v: {"deleted": True}, "{path} is deleted.|I deleted {path}.",
)  # fmt: skip
family(
    "move_file", "move_file rename_file mv move", "Move or rename a file|Rename a file",
    [P("source from src old_path", "path", "Current path"), P("destination to dest new_path", "path", "New path")],
    "Move {source} to {destination}.|Rename {source} to {destination}.|Please move the file {source} to {destination}.",
    "to move {source} to {destination}", lambda d, v: {"ok": True}, "{source} is now {destination}.|I moved {source} to {destination}.",
)  # fmt: skip
family(
    "find_file", "find_file locate_file find_path glob", "Find the path of a file by its name|Locate a file",
    [P("name file_name filename", "file_name", "Name of the file")], "Where is {name}?|Find the file {name}.|Locate {name}.|In which folder is {name}?",
    "the path of {name}", lambda d, v: {"path": VALUES["folder"](d) + "/" + v["name"]}, "{name} is at {path}.|The path is {path}.",
)  # fmt: skip
family(
    "run_tests", "run_tests test run_test_suite", "Run the tests of a project|Run a test suite",
    [P("target module suite", "word", "What to test"), P("verbose", "true", "Print every test", "boolean", " and print every test")],
    "Run the tests of {target}.|Test {target}.|Do the tests of {target} pass?|Please run the {target} tests.",
    "to run the tests of {target}", lambda d, v: {"passed": d.integer(3, 120), "failed": d.integer(0, 5)}, "{passed} tests of {target} passed and {failed} failed.",
)  # fmt: skip
family(
    "git_commit", "git_commit commit make_commit", "Commit the changes with a message|Create a git commit",
    [P("message msg commit_message", "sentence", "Commit message"), P("amend", "true", "Change the last commit", "boolean", ", amending the last commit")],
    "Commit the changes with the message \"{message}\".|Make a commit: \"{message}\".|Please commit this as \"{message}\".",
    "a commit", lambda d, v: {"hash": d.made(lambda: "".join(d.rng.choices("0123456789abcdef", k=7)))}, "The commit is {hash}.|Committed as {hash}.",
)  # fmt: skip
family(
    "send_email", "send_email send_mail email compose_email", "Send an email|Send a mail to an address|Write an email",
    [P("to recipient address", "email", "Address of the recipient"), P("subject title", "title", "Subject line"), P("body text message content", "sentence", "Text of the mail")],
    "Send an email to {to} with the subject \"{subject}\" and the text \"{body}\".|Write to {to}: subject \"{subject}\", text \"{body}\".|Email {to}. Subject: {subject}. Text: \"{body}\".",
    "to send an email to {to}", lambda d, v: {"status": "sent", "id": d.code()}, "The email to {to} is sent (id {id}).|I sent the email to {to}.",
)  # fmt: skip
family(
    "send_message", "send_message send_sms message text_message send_text", "Send a short message to a person|Send a text message",
    [P("recipient to person contact", "person", "Who gets the message"), P("text message body", "sentence", "The message")],
    "Tell {recipient}: \"{text}\".|Send {recipient} the message \"{text}\".|Text {recipient} \"{text}\".|Please write \"{text}\" to {recipient}.",
    "to send {recipient} a message", lambda d, v: {"delivered": True}, "{recipient} got your message.|I sent your message to {recipient}.",
)  # fmt: skip
family(
    "find_contact", "find_contact get_contact lookup_contact contact_search", "Look up a person in the address book|Find the email address of a contact",
    [P("name person contact_name", "person", "Name of the person")], "What is the email address of {name}?|Find the contact {name}.|Look up {name} in my contacts.|I need the email of {name}.",
    "the contact of {name}", lambda d, v: {"email": VALUES["email"](d), "phone": d.digits(6)}, "The email address of {name} is {email}.|{name} has the address {email} and the phone number {phone}.",
)  # fmt: skip
family(
    "create_event", "create_event add_event schedule_event add_to_calendar new_event", "Add an event to the calendar|Create a calendar event",
    [P("title name summary", "title", "Title of the event"), P("date day", "date", "Date, YYYY-MM-DD"), P("time start_time start", "time", "Time, HH:MM"), P("attendees guests", "people", "Who takes part", "array", " together with {attendees}")],
    "Put \"{title}\" into my calendar on {date} at {time}.|Create an event \"{title}\" on {date} at {time}.|Schedule \"{title}\" for {date}, {time}.",
    "an event on {date}", lambda d, v: {"event_id": d.code()}, "\"{title}\" is in your calendar on {date} at {time}.|I created \"{title}\" with the id {event_id}.",
)  # fmt: skip
family(
    "list_events", "list_events get_calendar calendar events_on", "List the events of a day|Show the calendar of a date",
    [P("date day", "date", "Date, YYYY-MM-DD")], "What is in my calendar on {date}?|Show my events on {date}.|Do I have anything on {date}?",
    "the events on {date}", lambda d, v: {"events": [VALUES["title"](d) for _ in range(d.integer(1, 2))]}, "On {date} you have: {events}.",
)  # fmt: skip
family(
    "set_reminder", "set_reminder remind add_reminder create_reminder", "Set a reminder|Remind the user at a time",
    [P("text message what", "sentence", "What to remember"), P("time at when", "time", "Time, HH:MM")],
    "Remind me at {time}: \"{text}\".|Set a reminder for {time} with the text \"{text}\".|At {time}, remind me \"{text}\".",
    "a reminder at {time}", lambda d, v: {"id": d.code()}, "I will remind you at {time}.|The reminder for {time} is set.",
)  # fmt: skip
family(
    "set_timer", "set_timer start_timer timer countdown", "Start a timer|Start a countdown in minutes",
    [P("minutes duration", "medium", "Length in minutes", "integer"), P("label name", "food", "Name of the timer", clause=" for the {label}")],
    "Set a timer of {minutes} minutes.|Start a timer for {minutes} minutes.|Wake me in {minutes} minutes.|{minutes} minutes on the timer, please.",
    "a timer of {minutes} minutes", lambda d, v: {"ends_at": VALUES["time"](d)}, "The timer of {minutes} minutes is running and ends at {ends_at}.",
)  # fmt: skip
family(
    "set_alarm", "set_alarm alarm create_alarm", "Set an alarm clock|Set an alarm",
    [P("time at", "time", "Time, HH:MM")], "Set an alarm for {time}.|Wake me at {time}.|Alarm at {time}, please.|I have to get up at {time}, set an alarm.",
    "an alarm at {time}", lambda d, v: {"status": "set"}, "The alarm is set for {time}.|I will wake you at {time}.",
)  # fmt: skip
family(
    "convert_currency", "convert_currency exchange currency_converter convert_money", "Convert an amount from one currency to another|Currency conversion",
    [P("amount value", "large", "Amount of money", "number"), P("from_currency from source", "currency", "Currency code"), P("to_currency to target", "currency", "Currency code")],
    "Convert {amount} {from_currency} to {to_currency}.|How much is {amount} {from_currency} in {to_currency}?|What are {amount} {from_currency} worth in {to_currency}?",
    "to convert {amount} {from_currency} to {to_currency}", lambda d, v: {"result": d.integer(100, 99999) / 100}, "{amount} {from_currency} are {result} {to_currency}.",
)  # fmt: skip
family(
    "convert_units", "convert_units unit_converter convert", "Convert a value between units|Unit conversion",
    [P("value amount", "medium", "Number to convert", "number"), P("from_unit from", w.words("metres miles feet inches grams pounds litres"), "Unit of the value"), P("to_unit to", w.words("kilometres yards centimetres kilograms ounces gallons"), "Wanted unit")],
    "Convert {value} {from_unit} to {to_unit}.|How many {to_unit} are {value} {from_unit}?|What are {value} {from_unit} in {to_unit}?",
    "to convert {value} {from_unit}", lambda d, v: {"result": d.integer(10, 9999) / 100}, "{value} {from_unit} are {result} {to_unit}.",
)  # fmt: skip
family(
    "calculate", "calculate calculator compute eval_expression", "Evaluate an arithmetic expression|Calculate the value of an expression",
    [P("expression formula expr", "expression", "The expression")], "Calculate {expression}.|What is {expression}? Use the calculator.|Compute {expression} for me.|How much is {expression}? Please calculate it.",
    "the value of {expression}", lambda d, v: {"result": d.integer(10, 99999)}, "{expression} = {result}|The result of {expression} is {result}.",
)  # fmt: skip
family(
    "translate", "translate translate_text translator", "Translate a text into another language|Translate text",
    [P("text input source_text", "sentence", "Text to translate"), P("target_language language to target", "language", "Wanted language")],
    "Translate \"{text}\" into {target_language}.|What is \"{text}\" in {target_language}?|How do you say \"{text}\" in {target_language}?|Please translate to {target_language}: \"{text}\".",
    "a translation into {target_language}", lambda d, v: {"translation": " ".join(d._syllables(2) for _ in range(d.integer(2, 4)))}, "In {target_language} this is \"{translation}\".|The translation is \"{translation}\".",
)  # fmt: skip
family(
    "get_stock_price", "get_stock_price stock_price quote get_quote", "Get the price of a share|Current share price by ticker symbol",
    [P("symbol ticker", "letters", "Ticker symbol")], "What is the price of {symbol}?|How much is a share of {symbol}?|Give me the quote of {symbol}.|Share price of {symbol}, please.",
    "the share price of {symbol}", lambda d, v: {"price": d.integer(100, 99999) / 100, "currency": d.any(("USD", "EUR"))}, "{symbol} costs {price} {currency}.|One share of {symbol} is {price} {currency}.",
)  # fmt: skip
family(
    "play_music", "play_music play_song play music_play", "Play a song|Play music",
    [P("song title track", "song", "Title of the song"), P("artist by band", "name", "Who plays it", clause=" by {artist}"), P("volume", "percent", "Volume in percent", "integer", " at volume {volume}")],
    "Play {song}.|Please play the song {song}.|I want to hear {song}.|Put on {song}.", "to hear {song}", lambda d, v: {"status": "playing"}, "Now playing {song}.|{song} is playing.",
)  # fmt: skip
family(
    "set_light", "set_light control_light light turn_light lights", "Change a light in the house|Switch and dim lights",
    [P("room place", "place", "The room"), P("brightness level percent", "percent", "Brightness in percent", "integer"), P("color colour", "colour", "Colour of the light", clause=" in {color}")],
    "Set the light in the {room} to {brightness} percent.|Dim the {room} light to {brightness} percent.|I want the light in the {room} at {brightness} percent.",
    "the light in the {room} at {brightness} percent", lambda d, v: {"ok": True}, "The light in the {room} is at {brightness} percent.",
)  # fmt: skip
family(
    "set_thermostat", "set_thermostat set_temperature heat thermostat", "Set the temperature of a room|Control the heating",
    [P("room zone", "place", "The room"), P("temperature degrees", "heat", "Degrees Celsius", "number")],
    "Heat the {room} to {temperature} degrees.|Set the {room} to {temperature} degrees.|Make it {temperature} degrees in the {room}.",
    "the {room} at {temperature} degrees", lambda d, v: {"current": d.integer(12, 18)}, "The {room} is being heated to {temperature} degrees; now it has {current}.",
)  # fmt: skip
family(
    "lock_door", "lock_door door_lock set_lock", "Lock or unlock a door|Control a door lock",
    [P("door name", "place", "Which door"), P("locked lock", "flag", "true to lock, false to unlock", "boolean")],
    "Set the lock of the {door} door to {locked}.|Lock of the {door}: {locked}.|Change the {door} lock to {locked}.",
    "the {door} lock at {locked}", lambda d, v: {"done": True}, "Done: the lock of the {door} is set to {locked}.",
)  # fmt: skip
family(
    "create_note", "create_note add_note save_note note take_note", "Save a note|Create a note with a title",
    [P("title name", "noun", "Title of the note"), P("text content body", "sentence", "Text of the note"), P("tags labels", "words", "Tags of the note", "array", ", with the tags {tags}")],
    "Save a note called {title}: \"{text}\"|Make a note with the title {title} and the text \"{text}\".|Note under {title}: \"{text}\".",
    "a note called {title}", lambda d, v: {"note_id": d.code()}, "The note {title} is saved with the id {note_id}.|Saved: {title} (id {note_id}).",
)  # fmt: skip
family(
    "find_note", "find_note search_notes get_note", "Find a note by a word|Search the notes",
    [P("query keyword term", "noun", "Word to look for")], "What did I write about {query}?|Find my note about {query}.|Search my notes for {query}.",
    "a note about {query}", lambda d, v: {"text": VALUES["sentence"](d)}, "Your note says: \"{text}\".|I found this note: \"{text}\".",
)  # fmt: skip
family(
    "add_todo", "add_todo add_task create_task new_task", "Add a task to the list|Create a task",
    [P("task title text", "sentence", "The task"), P("priority", LEVELS, "Priority", clause=" with {priority} priority"), P("due due_date", "date", "Due date", clause=", due on {due}")],
    "Add \"{task}\" to my tasks.|New task: \"{task}\".|Put \"{task}\" on my list.|I have a task for my list: \"{task}\".", "a new task", lambda d, v: {"id": d.integer(1, 999)}, "\"{task}\" is on your list as number {id}.",
)  # fmt: skip
family(
    "complete_task", "complete_task finish_task close_task mark_done", "Mark a task as done|Close a task by its number",
    [P("task_id id number", "large", "Number of the task", "integer")], "Task {task_id} is done.|Mark task {task_id} as done.|Close task number {task_id}.|I finished task {task_id}.",
    "to close task {task_id}", lambda d, v: {"open": d.integer(0, 40)}, "Task {task_id} is closed; {open} are still open.",
)  # fmt: skip
family(
    "order_status", "order_status get_order track_order check_order", "Status of an order|Look up an order by its number",
    [P("order_id order id order_number", "order", "Number of the order")], "Where is my order {order_id}?|What is the status of order {order_id}?|Check order {order_id}.|Has order {order_id} been sent?",
    "the status of order {order_id}", lambda d, v: {"status": d.any(("packed", "sent", "delivered", "waiting")), "date": VALUES["date"](d)}, "Order {order_id} is {status} since {date}.|Your order {order_id} is {status} ({date}).",
)  # fmt: skip
family(
    "cancel_order", "cancel_order order_cancel stop_order", "Cancel an order|Stop an order that is not sent yet",
    [P("order_id id order", "order", "Number of the order"), P("reason why", "reason", "Why it is cancelled", clause=" because {reason}")],
    "Cancel order {order_id}.|I want to cancel my order {order_id}.|Stop order {order_id}, please.",
    "to cancel order {order_id}", lambda d, v: {"refund": d.integer(500, 20000) / 100}, "Order {order_id} is cancelled; you get {refund} back.",
)  # fmt: skip
family(
    "product_search", "product_search find_product search_products shop_search", "Search for products in the shop|Find a product by name",
    [P("name query product", "object", "What to look for"), P("max_price price_limit", "medium", "Highest price", "number", " for at most {max_price}")],
    "Find a {name} in the shop.|I am looking for a {name}.|Do you sell a {name}?|Search the shop for a {name}.", "a {name} in the shop",
    lambda d, v: {"product_id": d.code(), "price": d.integer(100, 9999) / 100}, "The {name} has the number {product_id} and costs {price}.",
)  # fmt: skip
family(
    "add_to_cart", "add_to_cart cart_add put_in_cart", "Put a product into the cart|Add a product to the shopping cart",
    [P("product_id product id", "code", "Number of the product"), P("quantity amount count", "small", "How many", "integer")],
    "Put {quantity} of {product_id} into my cart.|Add product {product_id} to the cart, {quantity} pieces.|I want {quantity} pieces of {product_id}.",
    "{quantity} of {product_id} in the cart", lambda d, v: {"total": d.integer(100, 99999) / 100}, "{quantity} of {product_id} are in your cart. The total is {total}.",
)  # fmt: skip
family(
    "book_table", "book_table reserve_table restaurant_booking", "Reserve a table in a restaurant|Book a table",
    [P("restaurant name", "name", "Name of the restaurant"), P("guests people party_size", "small", "Number of guests", "integer"), P("date", "date", "Date"), P("time", "time", "Time", clause=" at {time}")],
    "Book a table for {guests} at {restaurant} on {date}.|Reserve a table at {restaurant} for {guests} people on {date}.|We are {guests} people and want to eat at {restaurant} on {date}.",
    "a table for {guests} at {restaurant}", lambda d, v: {"confirmation": d.code()}, "Your table at {restaurant} is booked, confirmation {confirmation}.",
)  # fmt: skip
family(
    "find_flight", "find_flight search_flights flight_search flights", "Search flights between two cities|Find a flight",
    [P("origin from departure", "city", "City of departure"), P("destination to arrival", "city", "City of arrival"), P("date day", "date", "Date of the flight")],
    "Find a flight from {origin} to {destination} on {date}.|I want to fly from {origin} to {destination} on {date}.|Which flights go from {origin} to {destination} on {date}?",
    "a flight from {origin} to {destination}", lambda d, v: {"flight": d.letters(2) + d.digits(3), "price": d.integer(50, 900)}, "Flight {flight} from {origin} to {destination} costs {price}.",
)  # fmt: skip
family(
    "book_flight", "book_flight reserve_flight buy_ticket", "Book a flight by its number|Reserve a seat on a flight",
    [P("flight flight_number flight_id", "flight", "Number of the flight"), P("passenger name", "full_name", "Name of the passenger")],
    "Book flight {flight} for {passenger}.|Reserve a seat on {flight} for {passenger}.|{passenger} takes flight {flight}, book it.",
    "to book {flight} for {passenger}", lambda d, v: {"seat": str(d.integer(1, 40)) + d.any("ABCDEF")}, "{passenger} has seat {seat} on {flight}.",
)  # fmt: skip
family(
    "train_times", "train_times get_trains next_train train_schedule", "Next train between two stations|Train times",
    [P("from_station from origin", "city", "Station of departure"), P("to_station to destination", "city", "Station of arrival"), P("after earliest", "time", "Not before this time", clause=" after {after}")],
    "When is the next train from {from_station} to {to_station}?|I need a train from {from_station} to {to_station}.|Train from {from_station} to {to_station}, please.",
    "a train from {from_station} to {to_station}", lambda d, v: {"departure": VALUES["time"](d), "platform": d.integer(1, 20)}, "The next train to {to_station} leaves at {departure} from platform {platform}.",
)  # fmt: skip
family(
    "directions", "directions get_directions route navigate", "Directions from one place to another|Find a route",
    [P("start from origin", "city", "Start"), P("end to destination", "city", "End"), P("mode by", ["car", "train", "bicycle", "foot"], "Means of transport", clause=" by {mode}")],
    "How do I get from {start} to {end}?|Show me the way from {start} to {end}.|Route from {start} to {end}, please.", "the way from {start} to {end}",
    lambda d, v: {"distance_km": d.integer(5, 2000), "duration": f"{d.integer(1, 20)} h"}, "From {start} to {end} it is {distance_km} km and takes {duration}.",
)  # fmt: skip
family(
    "geocode", "geocode get_coordinates locate coordinates", "Coordinates of a place|Find latitude and longitude of a city",
    [P("place name city address", "city", "Name of the place")], "Where exactly is {place}?|What are the coordinates of {place}?|Give me latitude and longitude of {place}.", "the coordinates of {place}",
    lambda d, v: {"lat": d.integer(-800, 800) / 10, "lon": d.integer(-1700, 1700) / 10}, "{place} is at latitude {lat} and longitude {lon}.",
)  # fmt: skip
family(
    "local_time", "local_time get_time time_in current_time", "Current time in a city|What time it is somewhere",
    [P("city location place", "city", "The city")], "What time is it in {city}?|Tell me the time in {city}.|How late is it in {city} now?", "the time in {city}", lambda d, v: {"time": VALUES["time"](d)}, "It is {time} in {city}.|In {city} it is {time} now.",
)  # fmt: skip
family(
    "get_news", "get_news news headlines latest_news", "Latest news about a topic|Get headlines",
    [P("topic subject about", "topic", "Topic of the news"), P("language lang", "language", "Language of the news", clause=" in {language}")],
    "What is new about {topic}?|Show me news about {topic}.|Get the latest headlines on {topic}.", "news about {topic}", lambda d, v: {"headline": f"{VALUES['topic'](d).capitalize()} in {d.made_name()}"}, "The latest headline is \"{headline}\".",
)  # fmt: skip
family(
    "define_word", "define_word dictionary define lookup_word", "Look up a word in the dictionary|Meaning of a word",
    [P("word term", "word", "The word")], "What does {word} mean? Look it up.|Look up the word {word}.|Define {word}, please.|Find {word} in the dictionary.", "the meaning of {word}",
    lambda d, v: {"meaning": f"a {d.any(w.ADJECTIVES)} {d.pick(w.THINGS)}"}, "{word} means {meaning}.|The dictionary says: {word} is {meaning}.",
)  # fmt: skip
family(
    "fetch_url", "fetch_url fetch get_page http_get open_url browse", "Fetch a web page|Get the text of a URL",
    [P("url link address", "url", "The address")], "Fetch {url}.|Open {url}.|What is on the page {url}?|Read {url} for me.", "the page {url}", lambda d, v: VALUES["sentence"](d) + ".", "The page says: {text}",
)  # fmt: skip
family(
    "http_post", "http_post post_request send_request api_call", "Send data to a URL|POST JSON to an address",
    [P("url endpoint", "url", "The address"), P("data payload body", "record", "JSON data", "object")], "Post {data} to {url}.|Send {data} to {url}.|Please POST {data} to the address {url}.", "to post data to {url}",
    lambda d, v: {"code": d.any((200, 201, 202))}, "{url} answered with code {code}.",
)  # fmt: skip
family(
    "sql_query", "sql_query query_database run_sql db_query", "Run a database query|Execute SQL",
    [P("sql query statement", "sql", "SQL text")], "Run the query `{sql}`.|Ask the database `{sql}`.|Execute this SQL: `{sql}`.", "to run a query", lambda d, v: {"rows": d.integer(0, 5000)}, "The query returned {rows} rows.|There are {rows} rows.",
)  # fmt: skip
family(
    "get_user", "get_user find_user lookup_user user_info", "Get a user by name|Look up a user account",
    [P("username user login name", "word", "Login name")], "Who is the user {username}?|Look up the user {username}.|Show me the account of {username}.", "the account of {username}",
    lambda d, v: {"user_id": d.digits(4), "name": VALUES["full_name"](d)}, "{username} is {name} with the id {user_id}.",
)  # fmt: skip
family(
    "user_orders", "user_orders list_orders orders_of", "List the orders of a user id|Orders of a user",
    [P("user_id id customer_id", "order", "Id of the user")], "Which orders does user {user_id} have?|List the orders of user {user_id}.|Show all orders of customer {user_id}.", "the orders of user {user_id}",
    lambda d, v: {"orders": [d.code(), d.code()]}, "User {user_id} has the orders {orders}.",
)  # fmt: skip
family(
    "resize_image", "resize_image scale_image image_resize", "Change the size of an image|Resize a picture",
    [P("path image file", "image", "The image"), P("width", "large", "New width", "integer"), P("height", "large", "New height", "integer")],
    "Resize {path} to {width} by {height}.|Make {path} {width} pixels wide and {height} high.|Scale the image {path} to {width} x {height}.", "to resize {path}", lambda d, v: {"saved": True}, "{path} is now {width} by {height} pixels.",
)  # fmt: skip
family(
    "make_image", "make_image generate_image draw_picture create_image", "Draw a picture from a description|Generate an image",
    [P("prompt description text", "scene", "What to draw"), P("style", ["sketch", "photo", "cartoon", "oil"], "Style", clause=" as a {style}")], "Draw {prompt}.|Make a picture of {prompt}.|I want an image of {prompt}.", "a picture of {prompt}",
    lambda d, v: {"file": VALUES["image"](d)}, "The picture is in {file}.|I drew {prompt}: {file}.",
)  # fmt: skip
family(
    "random_number", "random_number roll pick_number random_int", "A random number between two limits|Pick a random integer",
    [P("min low minimum", "small", "Smallest number", "integer"), P("max high maximum", "large", "Largest number", "integer")], "Pick a number between {min} and {max}.|Give me a random number from {min} to {max}.|Random number, at least {min} and at most {max}.",
    "a number between {min} and {max}", lambda d, v: {"number": d.integer(v["min"], v["max"])}, "The number is {number}.|I got {number}.",
)  # fmt: skip
family(
    "sort_list", "sort_list sort_numbers order_list", "Sort a list of numbers|Put numbers in order",
    [P("numbers values items", "numbers", "The numbers", "array"), P("descending reverse", "true", "Largest first", "boolean", ", largest first")], "Sort {numbers}.|Put the numbers {numbers} in order.|Please sort these numbers: {numbers}.", "to sort numbers",
    lambda d, v: {"sorted": sorted(v["numbers"], reverse=v.get("descending", False))}, "The sorted numbers are {sorted}.|In order: {sorted}.",
)  # fmt: skip
family(
    "shopping_list", "shopping_list add_to_list add_items buy_list", "Add items to the shopping list|Put things on the list",
    [P("items things products", "foods", "Items to add", "array")], "Put {items} on the shopping list.|We need {items}.|Add {items} to my shopping list.|Please write down that we need {items}.", "{items} on the shopping list",
    lambda d, v: {"count": d.integer(3, 30)}, "{items} are on the list; it has {count} items now.",
)  # fmt: skip
family(
    "invite", "invite invite_people send_invites add_guests", "Invite people to an event|Send invitations",
    [P("people names guests", "people", "Names", "array"), P("event occasion", "noun", "The event")], "Invite {people} to the {event} party.|Send invitations for the {event} party to {people}.|{people} should come to the {event} party, invite them.", "to invite {people}",
    lambda d, v: {"sent": len(v["people"])}, "I sent {sent} invitations for the {event} party.",
)  # fmt: skip
family(
    "open_ticket", "open_ticket create_ticket report_issue create_issue", "Open a support ticket|Report a problem",
    [P("title subject summary", "sentence", "Short title"), P("priority severity", LEVELS, "Priority"), P("component area", "word", "Part of the system", clause=" for {component}")],
    "Open a ticket with {priority} priority: \"{title}\".|Report \"{title}\" as a {priority} issue.|Create a {priority} priority ticket called \"{title}\".", "a ticket", lambda d, v: {"ticket": d.code()}, "The ticket is {ticket}.|I opened ticket {ticket}.",
)  # fmt: skip
family(
    "close_ticket", "close_ticket resolve_ticket finish_ticket", "Close a support ticket|Resolve a ticket",
    [P("ticket ticket_id id", "code", "Id of the ticket"), P("comment note", "sentence", "Comment", clause=" with the comment \"{comment}\"")], "Close ticket {ticket}.|Ticket {ticket} is solved.|Resolve {ticket}, please.", "to close ticket {ticket}",
    lambda d, v: {"closed": True}, "Ticket {ticket} is closed.",
)  # fmt: skip
family(
    "transfer", "transfer transfer_money send_money pay bank_transfer", "Transfer money to an account|Pay an amount to somebody",
    [P("account to_account iban", "account", "Account number"), P("amount sum", "medium", "Amount", "number"), P("purpose reference", "noun", "Purpose", clause=" for {purpose}")],
    "Transfer {amount} to account {account}.|Pay {amount} to {account}.|Send {amount} to the account {account}.", "to pay {amount} to {account}", lambda d, v: {"balance": d.integer(10, 9999)}, "I paid {amount} to {account}. Your balance is {balance}.",
)  # fmt: skip
family(
    "get_balance", "get_balance account_balance balance check_balance", "Balance of an account|Look up how much money is on an account",
    [P("account account_id number", "account", "Account number")], "How much money is on account {account}?|What is the balance of {account}?|Check account {account}.", "the balance of {account}", lambda d, v: {"balance": d.integer(100, 999999) / 100}, "Account {account} has {balance}.",
)  # fmt: skip
family(
    "recipe", "recipe find_recipe get_recipe", "Find a recipe with an ingredient|Recipe search",
    [P("ingredient with main", "food", "Main ingredient"), P("max_minutes time_limit", "medium", "Longest time in minutes", "integer", " that takes at most {max_minutes} minutes")], "What can I cook with {ingredient}?|Find a recipe with {ingredient}.|I have {ingredient}. Find a recipe.",
    "a recipe with {ingredient}", lambda d, v: {"name": d.made_name() + " " + v["ingredient"], "minutes": d.integer(5, 90)}, "Try {name}; it takes {minutes} minutes.",
)  # fmt: skip
family(
    "library_search", "library_search find_book search_books book_search", "Search the library for a book|Find books by title",
    [P("title book", "book", "Title of the book"), P("author writer", "full_name", "Author", clause=" by {author}")], "Is the book \"{title}\" in the library?|Find the book \"{title}\".|Search the library for \"{title}\".", "the book \"{title}\"",
    lambda d, v: {"shelf": d.code(), "available": True}, "\"{title}\" is on shelf {shelf}.",
)  # fmt: skip
family(
    "sensor", "read_sensor get_sensor sensor_value measure", "Read a sensor|Get the value of a sensor",
    [P("sensor sensor_id id name", "code", "Id of the sensor")], "What does sensor {sensor} show?|Read sensor {sensor}.|Give me the value of sensor {sensor}.", "the value of sensor {sensor}", lambda d, v: {"value": d.integer(1, 9999) / 10, "unit": d.any(("C", "V", "bar", "lux"))}, "Sensor {sensor} shows {value} {unit}.",
)  # fmt: skip
family(
    "robot", "move_robot robot_move goto drive_to", "Move the robot to a position|Drive to a point",
    [P("position target point", "point", "Target with x and y", "object"), P("speed", LEVELS, "Speed", clause=" at {speed} speed")], "Move the robot to {position}.|Drive to {position}.|The robot should go to {position}.", "the robot at {position}", lambda d, v: {"arrived": True}, "The robot is at {position}.",
)  # fmt: skip
family(
    "server_restart", "restart_service service_restart restart", "Restart a service on a server|Restart a program",
    [P("service name", "word", "Name of the service"), P("host server", "host", "Name of the server")], "Restart {service} on {host}.|The service {service} on {host} must be restarted.|Please restart {service} on the server {host}.", "to restart {service} on {host}",
    lambda d, v: {"pid": d.integer(100, 32000)}, "{service} runs again on {host} with pid {pid}.",
)  # fmt: skip
family(
    "server_logs", "get_logs server_logs fetch_logs tail_log", "Get the last log lines of a service|Read a log",
    [P("service name", "word", "Name of the service"), P("lines count n", "medium", "Number of lines", "integer")], "Show the last {lines} log lines of {service}.|Get {lines} lines of the {service} log.|What are the last {lines} lines in the log of {service}?", "the log of {service}",
    lambda d, v: f"error: {VALUES['sentence'](d)}", "The log of {service} says: {text}",
)  # fmt: skip
