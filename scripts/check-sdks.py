"""Tries `ds4 serve` with the published Python packages `openai` and `anthropic`, on the demo model.

    python3 scripts/check-sdks.py target/release/ds4 [NAME ...]

Starts the server itself, on a free port and with a key. NAME picks test cases, as in `unittest`. Needs
`pip install -r scripts/requirements-sdks.txt`. Exit status: 0 all passed, 1 a test failed, 2 something is missing.
"""

import json
import re
import subprocess
import sys
import time
import unittest
import urllib.request
from enum import Enum

try:
    import anthropic
    import openai
    from pydantic import BaseModel, ConfigDict
except ImportError as error:
    print(f"missing: {error.name} (pip install -r scripts/requirements-sdks.txt)", file=sys.stderr)
    sys.exit(2)

KEY = "a-key-for-this-run"
MODEL = "deepseek-v4-flash"
SUM = "What is 57 + 85?"
IDLE_WAIT_S = 10
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER_QUESTION = "What is the weather in Paris?"


class Server:
    """A server that runs as long as this object is used as a context."""

    def __init__(self, program):
        self.command = [program, "serve", "--port", "0", "--ctx", "8192", "--api-key", KEY]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                self.url = found.group(1)
                return self
        raise SystemExit("the server ended before it listened")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.stderr.close()
        self.process.wait(timeout=60)

    def running(self):
        """Number of answers that the engine works on or that wait for it."""
        request = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request) as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(r"^ds4_(?:sequences_\w+|queue_length) (\S+)$", text, re.M))


SERVER = None


class Fruit(str, Enum):
    APPLE = "apple"
    PEAR = "pear"


class Basket(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fruit: Fruit
    count: int
    ripe: bool


class Case(unittest.TestCase):
    def assert_idle(self):
        """The engine stops working for a client that is gone."""
        until = time.monotonic() + IDLE_WAIT_S
        while SERVER.running() > 0:
            self.assertLess(time.monotonic(), until, "the engine still works for a client that is gone")
            time.sleep(0.05)


class OpenAi(Case):
    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{SERVER.url}/v1", api_key=KEY, max_retries=0)

    def tearDown(self):
        self.client.close()


class OpenAiChat(OpenAi):
    def ask(self, **more):
        more.setdefault("messages", [{"role": "user", "content": SUM}])
        return self.client.chat.completions.create(model=MODEL, **{"temperature": 0, "max_tokens": 600, **more})

    def test_models(self):
        ids = [model.id for model in self.client.models.list()]
        self.assertEqual(ids, [MODEL, "deepseek-chat", "deepseek-reasoner"])
        self.assertEqual(self.client.models.retrieve(MODEL).owned_by, "ds4")

    def test_answer_and_stream_agree(self):
        whole = self.ask()
        message = whole.choices[0].message
        self.assertIn("142", message.content)
        self.assertTrue(message.reasoning_content)
        text = reasoning = ""
        usage = None
        for chunk in self.ask(stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasoning += getattr(choice.delta, "reasoning_content", None) or ""
        self.assertEqual((text, reasoning), (message.content, message.reasoning_content))
        self.assertEqual(usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreater(usage.prompt_tokens_details.cached_tokens, 0)
        self.assertGreater(usage.completion_tokens_details.reasoning_tokens, 0)

    def test_thinking_can_be_off(self):
        for more in [{"extra_body": {"thinking": {"type": "disabled"}}}, {"reasoning_effort": "none"}]:
            answer = self.ask(**more)
            self.assertFalse(getattr(answer.choices[0].message, "reasoning_content", None))
            self.assertEqual(answer.usage.completion_tokens_details.reasoning_tokens, 0)

    def test_a_tool_is_called_and_its_result_answered(self):
        tools = [{"type": "function", "function": {"name": "get_weather", "description": "Current weather",
                                                   "parameters": WEATHER}}]
        messages = [{"role": "user", "content": WEATHER_QUESTION}]
        first = self.ask(messages=messages, tools=tools, tool_choice="required")
        self.assertEqual(first.choices[0].finish_reason, "tool_calls")
        call = first.choices[0].message.tool_calls[0]
        self.assertEqual(call.function.name, "get_weather")
        self.assertIsInstance(json.loads(call.function.arguments)["city"], str)
        messages += [first.choices[0].message,
                     {"role": "tool", "tool_call_id": call.id, "content": "18 degrees and sunny"}]
        second = self.ask(messages=messages, tools=tools)
        message = second.choices[0].message
        self.assertTrue(message.content or message.tool_calls)
        known = first.usage.prompt_tokens + first.usage.completion_tokens
        # The last token of the first answer was sampled, not evaluated.
        self.assertGreaterEqual(second.usage.prompt_tokens_details.cached_tokens + 1, known)

    def test_a_streamed_call_is_the_whole_call(self):
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}]
        more = {"messages": [{"role": "user", "content": WEATHER_QUESTION}], "tools": tools,
                "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
        whole = self.ask(**more).choices[0].message.tool_calls
        calls = {}
        for chunk in self.ask(stream=True, **more):
            for part in chunk.choices[0].delta.tool_calls or []:
                call = calls.setdefault(part.index, ["", ""])
                call[0] += part.function.name or ""
                call[1] += part.function.arguments or ""
        self.assertEqual([tuple(call) for call in calls.values()],
                         [(call.function.name, call.function.arguments) for call in whole])

    def test_structured_output(self):
        for seed in range(3):
            answer = self.client.chat.completions.parse(
                model=MODEL, messages=[{"role": "user", "content": "Describe a basket."}], response_format=Basket,
                seed=seed, max_tokens=600, extra_body={"thinking": False})
            self.assertIsInstance(answer.choices[0].message.parsed, Basket)

    def test_log_probabilities(self):
        answer = self.ask(logprobs=True, top_logprobs=3, extra_body={"thinking": False})
        entries = answer.choices[0].logprobs.content
        self.assertEqual(len(entries), answer.usage.completion_tokens)
        self.assertEqual("".join(entry.token for entry in entries), answer.choices[0].message.content)
        for entry in entries:
            self.assertEqual(len(entry.top_logprobs), 3)
            self.assertEqual(entry.top_logprobs[0].token, entry.token)  # greedy

    def test_n_and_seed(self):
        texts = [[choice.message.content for choice in self.ask(
            n=2, seed=4, temperature=1, max_tokens=12, extra_body={"thinking": False}).choices] for _ in range(2)]
        self.assertEqual(len(texts[0]), 2)
        self.assertEqual(texts[0], texts[1])

    def test_completions(self):
        answer = self.client.completions.create(model=MODEL, prompt=SUM, temperature=0, max_tokens=200)
        self.assertIn("142", answer.choices[0].text)
        text = "".join(chunk.choices[0].text for chunk in self.client.completions.create(
            model=MODEL, prompt=SUM, temperature=0, max_tokens=200, stream=True) if chunk.choices)
        self.assertEqual(text, answer.choices[0].text)

    def test_errors_have_types(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(temperature="hot")
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(messages=[{"role": "user", "content": "word " * 20000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(messages=[{"role": "user", "content": image}])
        self.assertIn("image_url", str(caught.exception))
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="wrong").models.list()
        with self.assertRaises(openai.NotFoundError):
            self.client.post("/nothing", cast_to=object)

    def test_a_client_that_goes_stops_its_answer(self):
        stream = self.ask(stream=True, max_tokens=8000, temperature=1)
        next(iter(stream))
        stream.close()
        self.assert_idle()


class OpenAiResponses(OpenAi):
    def ask(self, **more):
        return self.client.responses.create(
            **{"model": MODEL, "input": SUM, "temperature": 0, "max_output_tokens": 600, **more})

    def test_answer_and_stream_agree(self):
        whole = self.ask(reasoning={"summary": "auto"})
        self.assertIn("142", whole.output_text)
        self.assertEqual([item.type for item in whole.output], ["reasoning", "message"])
        self.assertEqual((whole.status, whole.store), ("completed", False))
        types, text, last = [], "", None
        for event in self.ask(stream=True, reasoning={"summary": "auto"}):
            types.append(event.type)
            self.assertEqual(event.sequence_number, len(types) - 1)
            text += event.delta if event.type == "response.output_text.delta" else ""
            last = event
        self.assertEqual(types[:2] + types[-1:], ["response.created", "response.in_progress", "response.completed"])
        self.assertEqual((text, last.response.output_text), (whole.output_text, whole.output_text))
        self.assertGreater(last.response.usage.input_tokens_details.cached_tokens, 0)
        self.assertGreater(last.response.usage.output_tokens_details.reasoning_tokens, 0)

    def test_stream_helper(self):
        with self.client.responses.stream(model=MODEL, input=SUM, temperature=0, max_output_tokens=600) as stream:
            for _ in stream:
                pass
            self.assertIn("142", stream.get_final_response().output_text)

    def test_reasoning_is_only_shown_when_asked_for(self):
        self.assertEqual([item.type for item in self.ask().output], ["message"])

    def test_a_tool_is_called_and_its_result_answered(self):
        tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}]
        first = self.ask(input=WEATHER_QUESTION, tools=tools, tool_choice="required")
        call = first.output[-1]
        self.assertEqual((call.type, call.name), ("function_call", "get_weather"))
        self.assertIsInstance(json.loads(call.arguments)["city"], str)
        replayed = [{"role": "user", "content": WEATHER_QUESTION}, *first.output,
                    {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees and sunny"}]
        second = self.ask(input=replayed, tools=tools)
        self.assertIn(second.output[-1].type, ["message", "function_call"])
        cached = second.usage.input_tokens_details.cached_tokens
        self.assertGreaterEqual(cached + 1, first.usage.total_tokens)

    def test_structured_output(self):
        answer = self.client.responses.parse(model=MODEL, input="Describe a basket.", text_format=Basket,
                                             max_output_tokens=600, reasoning={"effort": "none"})
        self.assertIsInstance(answer.output_parsed, Basket)

    def test_limits_and_errors(self):
        cut = self.ask(max_output_tokens=3)
        self.assertEqual((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(previous_response_id="resp_1")
        self.assertIn("replay full input", str(caught.exception))

    def test_a_client_that_goes_stops_its_answer(self):
        stream = self.ask(stream=True, max_output_tokens=8000, temperature=1)
        next(iter(stream))
        stream.close()
        self.assert_idle()


class Anthropic(Case):
    def setUp(self):
        self.client = anthropic.Anthropic(base_url=SERVER.url, api_key=KEY, max_retries=0)

    def tearDown(self):
        self.client.close()

    def body(self, temperature=0, extra_body=None, **more):
        # The package has no parameter for the temperature any more.
        extra = {"temperature": temperature, **(extra_body or {})}
        return {"model": MODEL, "max_tokens": 600, "messages": [{"role": "user", "content": SUM}],
                "extra_body": extra, **more}

    def test_answer_and_stream_agree(self):
        whole = self.client.messages.create(**self.body())
        self.assertEqual([block.type for block in whole.content], ["thinking", "text"])
        self.assertIn("142", whole.content[1].text)
        self.assertEqual(whole.stop_reason, "end_turn")
        with self.client.messages.stream(**self.body()) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[1].text)
        self.assertEqual(final.content[0].thinking, whole.content[0].thinking)
        self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)
        self.assertGreater(final.usage.cache_read_input_tokens, 0)

    def test_tokens_are_counted(self):
        body = self.body(system="You are ds4.")
        counted = self.client.messages.count_tokens(
            **{key: body[key] for key in ("model", "messages", "system")}).input_tokens
        usage = self.client.messages.create(**body).usage
        total = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        self.assertEqual(counted, total)

    def test_thinking_can_be_off(self):
        answer = self.client.messages.create(**self.body(thinking={"type": "disabled"}))
        self.assertEqual([block.type for block in answer.content], ["text"])

    def test_a_tool_is_called_and_its_result_answered(self):
        tools = [{"name": "get_weather", "description": "Current weather", "input_schema": WEATHER}]
        messages = [{"role": "user", "content": WEATHER_QUESTION}]
        first = self.client.messages.create(**self.body(messages=messages, tools=tools, tool_choice={"type": "any"}))
        self.assertEqual(first.stop_reason, "tool_use")
        call = first.content[-1]
        self.assertEqual((call.type, call.name), ("tool_use", "get_weather"))
        self.assertIsInstance(call.input["city"], str)
        with self.client.messages.stream(
                **self.body(messages=messages, tools=tools, tool_choice={"type": "tool", "name": "get_weather"})
        ) as stream:
            self.assertEqual(stream.get_final_message().content[-1].input, call.input)
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees and sunny"}
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        second = self.client.messages.create(**self.body(messages=messages, tools=tools))
        self.assertIn(second.content[-1].type, ["text", "tool_use"])
        self.assertGreater(second.usage.cache_read_input_tokens, first.usage.output_tokens)
        third = self.client.messages.create(**self.body(messages=messages, tools=tools, tool_choice={"type": "none"}))
        self.assertEqual(third.content[-1].type, "text")

    def test_structured_output(self):
        schema = Basket.model_json_schema()
        answer = self.client.messages.create(**self.body(
            messages=[{"role": "user", "content": "Describe a basket."}], thinking={"type": "disabled"},
            extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}}))
        Basket.model_validate_json(answer.content[0].text)

    def test_stop_sequence(self):
        answer = self.client.messages.create(**self.body(stop_sequences=["142"]))
        self.assertEqual((answer.stop_reason, answer.stop_sequence), ("stop_sequence", "142"))

    def test_errors_have_types(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.client.messages.create(**self.body(temperature="hot"))
        self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
        with self.assertRaises(anthropic.BadRequestError):
            self.client.messages.create(**self.body(messages=[{"role": "user", "content": "word " * 20000}]))
        source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
        with self.assertRaises(anthropic.BadRequestError) as caught:
            content = [{"type": "image", "source": source}]
            self.client.messages.create(**self.body(messages=[{"role": "user", "content": content}]))
        self.assertIn("image", str(caught.exception))
        with self.assertRaises(anthropic.AuthenticationError) as caught:
            self.client.with_options(api_key="wrong").messages.create(**self.body())
        self.assertEqual(caught.exception.body["error"]["type"], "authentication_error")

    def test_a_client_that_goes_stops_its_answer(self):
        stream = self.client.messages.create(**self.body(stream=True, max_tokens=8000, temperature=1))
        next(iter(stream))
        stream.close()
        self.assert_idle()


def main():
    global SERVER
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    with Server(sys.argv[1]) as SERVER:
        result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False, verbosity=2).result
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
