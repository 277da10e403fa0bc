"""Checks of the tokenizer, the renderer, the generators, the packer and the held-out cases.

    python3 -m pytest test_data.py

DEMO_ENCODING_CASES may name a folder with DeepSeek's encoder cases (official/, derived/); without it only the two cases below are compared.
"""

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest

import batches
import data
from data import arithmetic, docs
from data.draw import Draw, Pool, held_out
from data.render import Call, Message, assistant, join_prompt, render, system, text_of, tool, user
from data.segment import ASSISTANT, BOS, DSML, END_THINK, EOS, FULL, NONE, SPECIAL_STRINGS, THINK, USER, Segment

FOLDER = Path(__file__).parent
KINDS = [kind for kind in data.KINDS if kind != "docs" or docs.available()]
SPECIAL_ID = {text: i for i, text in enumerate(SPECIAL_STRINGS)}


@pytest.fixture(scope="module")
def tokenizer():
    return batches.DocumentTokenizer()


def some_documents(kind, count, split="train", context=1024, seed=0):
    rng = random.Random(f"{kind} {seed}")
    return [data.generate(kind, rng, split, context) for _ in range(count)]


# Tokenizer ---------------------------------------------------------------------------------------------------------------


def test_special_strings_have_their_ids(tokenizer):
    assert tokenizer.trusted.get_vocab_size() == 4096
    for text, i in SPECIAL_ID.items():
        assert tokenizer.trusted.encode(text).ids == [i]
        assert len(tokenizer.plain.encode(text).ids) > 1, "untrusted text must not give a control token"
    assert (SPECIAL_ID[BOS], SPECIAL_ID[EOS]) == (0, 1)


def test_text_survives_a_round_trip(tokenizer):
    rng = random.Random(1)
    texts = ["", " ", "\n\n  \n", "naïve — “quotes” 你好 🙂 ½", "\t tabs\r\nand 12345 numbers", "<think> ｜DSML｜ in plain text", bytes(range(128)).decode()]
    texts += ["".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(128, 0x2FFF)))) for _ in range(60)) for _ in range(200)]
    texts += [segment.text for kind in KINDS for document in some_documents(kind, 20) for segment in document if not segment.trusted]
    for text in texts:
        assert tokenizer.plain.decode(tokenizer.plain.encode(text).ids, skip_special_tokens=False) == text


def test_every_digit_is_a_token(tokenizer):
    vocabulary = tokenizer.trusted.get_vocab()
    assert not [text for text in vocabulary if len(text) > 1 and re.search(r"\d", text)]
    assert tokenizer.plain.encode("x12345").tokens == ["x", "1", "2", "3", "4", "5"]


def test_splitting_follows_the_official_rules(tokenizer):
    def pieces(text):
        return [piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, _ in tokenizer.plain.pre_tokenizer.pre_tokenize_str(text)]

    assert pieces("12345") == ["123", "45"]
    assert pieces("    int") == ["   ", " int"]
    assert pieces(">;\n") == [">;\n"]
    assert pieces("foo  \n  bar") == ["foo", "  \n", " ", " bar"]
    assert pieces("it's x10 (foo") == ["it", "'s", " x", "10", " (", "foo"]
    assert pieces("a  1") == ["a", "  ", "1"]


def test_words_are_spelled_alike_with_and_without_a_space(tokenizer):
    draw = Draw(random.Random(3), "train")
    for _ in range(300):
        word = draw.word()
        bare, spaced = tokenizer.plain.encode(word).tokens, tokenizer.plain.encode(" " + word).tokens
        assert spaced in (["Ġ" + bare[0]] + bare[1:], ["Ġ"] + bare)


# Rendering ---------------------------------------------------------------------------------------------------------------

WEATHER = {"name": "get_weather", "description": "Get the weather for a specific location", "parameters": {"type": "object", "properties": {"location": {"type": "string", "description": "The city name"}}, "required": ["location"]}}
TOOL_PROMPT = (
    "<｜begin▁of▁sentence｜>You are a helpful assistant.\n\n## Tools\n\nYou have access to a set of tools to help answer the user's question. You can invoke tools by "
    'writing a "<｜DSML｜tool_calls>" block like the following:\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="$TOOL_NAME">\n<｜DSML｜parameter name="$PARAMETER_NAME" '
    'string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>\n...\n</｜DSML｜invoke>\n<｜DSML｜invoke name="$TOOL_NAME2">\n...\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>\n\n'
    'String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and '
    'set `string="false"`.\n\nIf thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls '
    "or final response.\n\nOtherwise, output directly after </think> with tool calls or final response.\n\n### Available Tool Schemas\n\n"
    '{"name": "get_weather", "description": "Get the weather for a specific location", "parameters": {"type": "object", "properties": {"location": {"type": "string", '
    '"description": "The city name"}}, "required": ["location"]}}\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n'
    '<｜User｜>Weather in Beijing?<｜Assistant｜><think>I use the tool.</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="location" '
    'string="true">Beijing</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>{"temperature": 22}</tool_result>'
    "<｜Assistant｜><think>Got it.</think>22 degrees.<｜end▁of▁sentence｜>"
)  # fmt: skip


def test_tool_conversation_renders_officially():
    messages = [system("You are a helpful assistant."), user("Weather in Beijing?"), assistant("", "I use the tool.", [Call("get_weather", {"location": "Beijing"})]), tool('{"temperature": 22}'), assistant("22 degrees.", "Got it.")]
    segments = render(messages, thinking=True, schemas=[WEATHER])
    assert text_of(segments) == TOOL_PROMPT == text_of(join_prompt(segments))


def test_earlier_reasoning_is_dropped():
    messages = [user("Hello"), assistant("Hi there!", "A greeting."), user("And now?"), assistant("Now this.", "Thinking.")]
    expected = f"{BOS}{USER}Hello{ASSISTANT}{END_THINK}Hi there!{EOS}{USER}And now?{ASSISTANT}{THINK}Thinking.{END_THINK}Now this.{EOS}"
    assert text_of(render(messages, thinking=True)) == expected
    assert text_of(render(messages[:3], thinking=False)).endswith(f"{USER}And now?{ASSISTANT}{END_THINK}")


def our_messages(given: list) -> tuple:
    """Messages of a JSON case in our types, and its tool schemas; None where it uses what we do not render."""
    messages, schemas = [], []
    for i, message in enumerate(given):
        unknown = set(message) - {"role", "content", "reasoning_content", "tool_calls", "tool_call_id", "tools", "name"}
        if unknown or message["role"] not in ("system", "user", "assistant", "tool") or (message["role"] == "assistant" and i and given[i - 1]["role"] == "assistant"):
            return None, None
        if isinstance(message.get("content"), list):
            return None, None
        schemas += [entry["function"] for entry in message.get("tools", [])]
        calls = []
        for call in message.get("tool_calls") or []:
            try:
                calls.append(Call(call["function"]["name"], json.loads(call["function"]["arguments"])))
            except ValueError:
                return None, None
        messages.append(Message(message["role"], message.get("content") or "", message.get("reasoning_content") or "", tuple(calls)))
    return messages, schemas


def test_encoder_cases():
    if "DEMO_ENCODING_CASES" not in os.environ:
        pytest.skip("DEMO_ENCODING_CASES is not set")
    folder = Path(os.environ["DEMO_ENCODING_CASES"])
    cases = json.loads((folder / "derived/derived_cases.json").read_text())
    for number in (1, 2):
        given = json.loads((folder / f"official/test_input_{number}.json").read_text())
        if isinstance(given, dict):
            given["messages"][0]["tools"] = given["tools"]
            given = given["messages"]
        cases.append({"name": f"official {number}", "thinking_mode": "thinking", "reasoning_effort": None, "messages": given, "expected": (folder / f"official/test_output_{number}.txt").read_text()})
    compared = 0
    for entry in cases:
        messages, schemas = our_messages(entry["messages"])
        if messages is None or entry["reasoning_effort"] == "max" or entry["name"] == "two-tool-results-reordered":
            continue
        compared += 1
        assert text_of(render(messages, entry["thinking_mode"] == "thinking", schemas)) == entry["expected"], entry["name"]
    assert compared >= 12


# Documents ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "eval"])
def test_documents_begin_with_bos_and_close_their_turns(kind, split, tokenizer):
    for document in some_documents(kind, 150, split):
        assert document[0].text.startswith(BOS) and document[0].trusted
        ids, weights = tokenizer.encode([document])[0]
        assert ids[0] == SPECIAL_ID[BOS] and (ids == SPECIAL_ID[BOS]).sum() == 1
        assert weights[0] == NONE and weights.max() == FULL
        assert (ids == SPECIAL_ID[ASSISTANT]).sum() <= (ids == SPECIAL_ID[EOS]).sum()
        if kind in ("story", "chat", "arithmetic", "about"):
            assert not re.search(r"\{[a-z_0-9]+\}|\bNone\b", text_of(document)), "a slot was left open"


@pytest.mark.parametrize("kind", ["chat", "arithmetic", "about", "tools", "recall"])
def test_full_weight_is_what_the_assistant_writes(kind, tokenizer):
    for document in some_documents(kind, 120):
        ids, weights = tokenizer.encode([document])[0]
        if SPECIAL_ID[ASSISTANT] not in ids:
            continue  # bare copying
        writing, previous = False, None
        for token, weight in zip(ids.tolist(), weights.tolist()):
            if previous == SPECIAL_ID[ASSISTANT]:
                assert token in (SPECIAL_ID[THINK], SPECIAL_ID[END_THINK]) and weight == NONE, "the opening belongs to the prompt"
                writing = True
            else:
                assert (weight == FULL) == writing
                if token == SPECIAL_ID[EOS]:
                    writing = False
            previous = token
        assert not writing


def test_calls_stay_within_their_schemas():
    block = re.compile(rf'<{DSML}invoke name="([^"]+)">\n(.*?)</{DSML}invoke>', re.S)
    parameter = re.compile(rf'<{DSML}parameter name="([^"]+)" string="(true|false)">(.*?)</{DSML}parameter>', re.S)
    python_types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    calls = 0
    for document in some_documents("tools", 400, context=4096):
        text = text_of(document)
        schemas = {}
        for line in text.split("### Available Tool Schemas\n\n")[1].split("\n\nYou MUST strictly")[0].split("\n"):
            schema = json.loads(line)
            schemas[schema["name"]] = schema["parameters"]
        for name, body in block.findall(text.split(USER, 1)[1]):
            calls += 1
            given = parameter.findall(body)
            properties = schemas[name]["properties"]
            assert [key for key in properties if key in dict((k, 1) for k, _, _ in given)] == [key for key, _, _ in given]
            assert set(schemas[name]["required"]) <= {key for key, _, _ in given}
            for key, is_string, value in given:
                assert (properties[key]["type"] == "string") == (is_string == "true")
                if is_string == "false":
                    assert isinstance(json.loads(value), python_types[properties[key]["type"]])
                if "enum" in properties[key]:
                    assert value in properties[key]["enum"]
    assert calls > 400


def test_arithmetic_is_right():
    equation = re.compile(r"(?<!\+ )(?<!\d)(-?\d+) ([+\-×/]) (\d+) = (-?\d+)")  # not the end of a sum of three
    for document in some_documents("arithmetic", 800):
        for a, sign, b, result in equation.findall(text_of(document)):
            expected = {"+": int(a) + int(b), "-": int(a) - int(b), "×": int(a) * int(b), "/": int(a) // max(int(b), 1)}[sign]
            assert expected == int(result), f"{a} {sign} {b} = {result}"


# Held-out values ---------------------------------------------------------------------------------------------------------


def test_pools_are_divided():
    pool = Pool([f"value {i}" for i in range(200)])
    assert pool.train and pool.eval and not set(pool.train) & set(pool.eval)


def test_random_values_keep_to_their_side():
    for split in ("train", "eval"):
        draw = Draw(random.Random(5), split)
        for make in (draw.word, draw.code, draw.made_name, lambda: draw.digits(5), lambda: draw.letters(3)):
            assert all(held_out(make()) == (split == "eval") for _ in range(100))


def test_training_never_asks_a_held_out_problem():
    signs = {"+": "+", "-": "-", "×": "*", "/": "/"}
    for document in some_documents("arithmetic", 1500):
        for a, sign, b, _ in re.findall(r"So (\d+) ([+\-×/]) (\d+) = (-?\d+)", text_of(document)):
            a, sign, b = int(a), signs[sign], int(b)
            if arithmetic.is_elementary(a, sign, b):
                continue
            swapped = sign == "-" and a > b and not arithmetic.is_held_out(b, sign, a)  # the step of a negative difference
            assert swapped or not arithmetic.is_held_out(a, sign, b)


def cases_of(kind):
    with open(FOLDER / "eval" / f"{kind}.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("kind,count", [("tools", 200), ("arithmetic", 100), ("recall", 50), ("chat", 200), ("about", 40)])
def test_held_out_cases_are_whole(kind, count, tokenizer):
    cases = cases_of(kind)
    assert len(cases) == count and len({entry["id"] for entry in cases}) == count
    for entry in cases:
        assert entry["tokens"][0] == SPECIAL_ID[BOS] and entry["tokens"][-1] in (SPECIAL_ID[THINK], SPECIAL_ID[END_THINK])
        if "prompt" in entry:
            assert tokenizer.trusted.decode(entry["tokens"], skip_special_tokens=False) == entry["prompt"]
        if entry["check"] == "tool_call" and entry["answer"]:
            assert entry["answer"].startswith(f"\n\n<{DSML}tool_calls>\n") and entry["answer"].endswith(f"</{DSML}tool_calls>")
    if kind == "tools":
        assert sum(not entry["answer"] for entry in cases) == 20
    if kind == "recall":
        assert all(2800 <= entry["distance"] <= 3200 for entry in cases)


def test_held_out_problems_are_held_out():
    for document in some_documents("arithmetic", 50, "eval"):
        assert text_of(document)
    for entry in cases_of("arithmetic"):
        numbers = [int(n) for n in re.findall(r"\d+", entry["prompt"].split(USER)[1])]
        if len(numbers) == 2:
            a, b = numbers
            assert any(arithmetic.is_held_out(x, sign, y) for x, y in ((a, b), (b, a)) for sign in "+-*")


# Batches -----------------------------------------------------------------------------------------------------------------


def test_documents_are_never_cut_and_rows_are_filled():
    packer = batches.Packer(batches.Documents({"chat": 0.5, "tools": 0.5}, 1024, "pack"))
    ids, weights = packer.batch(24)
    assert ids.shape == weights.shape == (24, 1025) and ids.dtype == np.uint16 and weights.dtype == np.uint8
    padding = 0
    for row, row_weights in zip(ids, weights):
        assert row[0] == SPECIAL_ID[BOS]
        end = len(row)
        while end and row[end - 1] == SPECIAL_ID[EOS] and row_weights[end - 1] == NONE:
            end -= 1
        padding += len(row) - end
        assert row[end - 1] == SPECIAL_ID[EOS], "the last document is whole"
    assert padding < 0.03 * ids.size


def test_mixture_is_a_share_of_tokens():
    documents = batches.Documents({"chat": 1, "tools": 3}, 1024, "mixture")
    for _ in range(12):
        documents.some()
    assert 0.7 < documents.made["tools"] / sum(documents.made.values()) < 0.8


def test_batches_are_the_same_every_time():
    def first(count, workers=2):
        stream = batches.Batches({kind: 1.0 for kind in KINDS}, context=512, rows=8, seed=7, workers=workers)
        found = [next(stream) for _ in range(count)]
        stream.close()
        return found

    one, two = first(4), first(4)
    for (ids, weights), (other_ids, other_weights) in zip(one, two):
        assert (ids == other_ids).all() and (weights == other_weights).all()
    assert (one[0][0] != one[1][0]).any()


def test_segments_are_tokenised_apart(tokenizer):
    ids, weights = tokenizer.encode([[Segment(BOS, True, 0), Segment("a <think>", False, 1), Segment("<think>", True, 8)]])[0]
    assert ids[-1] == SPECIAL_ID[THINK] and (ids == SPECIAL_ID[THINK]).sum() == 1 and list(weights) == [0] + [1] * (len(ids) - 2) + [8]
