"""Conversations as DeepSeek V4's prompt format, piece by piece.

The official order and wording is the default; `style="ds4"` puts the tool block first, in the wording of the ds4 server.
What the assistant writes has full loss weight; what the prompt supplies (markers, tool block, tool results) has none.
"""

import json
from typing import NamedTuple

from .segment import ASSISTANT, BOS, DSML, END_THINK, EOS, FULL, LIGHT, NONE, THINK, USER, Segment
from .words import DAYS, THINGS

TOOLS_HEAD = f"""## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<{DSML}tool_calls>" block like the following:

<{DSML}tool_calls>
<{DSML}invoke name="$TOOL_NAME">
<{DSML}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{DSML}parameter>
...
</{DSML}invoke>
<{DSML}invoke name="$TOOL_NAME2">
...
</{DSML}invoke>
</{DSML}tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

"""
TOOLS_TAIL = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n"

DS4_STRING_RULE = (
    'String parameters should be specified as raw text and set `string="true"`. Preserve characters such as `>`, `&`, and `&&` '
    "exactly; never replace normal string characters with XML or HTML entity escapes. Only if a string value itself contains the "
    f"exact closing parameter tag `</{DSML}parameter>`, write that tag as `&lt;/{DSML}parameter>` inside the value."
)
DS4_HEAD = TOOLS_HEAD.replace("the user's question", "the user question").replace(
    'String parameters should be specified as is and set `string="true"`.', DS4_STRING_RULE
)
DS4_TAIL = TOOLS_TAIL[:-1] + " Use the exact parameter names from the schemas."

MAX_EFFORT = """Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.

"""


class Call(NamedTuple):
    name: str
    arguments: dict


class Message(NamedTuple):
    role: str  # system, user, assistant, tool
    content: str = ""
    reasoning: str = ""
    calls: tuple = ()
    weight: int = -1  # -1: the role's own


def system(text):
    return Message("system", text)


def user(text, weight=-1):
    return Message("user", text, weight=weight)


def assistant(text="", reasoning="", calls=(), weight=-1):
    return Message("assistant", text, reasoning, tuple(calls), weight)


def tool(text):
    return Message("tool", text)


def as_json(value) -> str:
    """JSON with the spacing of the official encoder."""
    return json.dumps(value, ensure_ascii=False)


def compact_json(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def render_calls(calls) -> str:
    """The block that invokes tools, with the two newlines in front of it."""
    lines = [f"\n\n<{DSML}tool_calls>"]
    for call in calls:
        lines.append(f'<{DSML}invoke name="{call.name}">')
        parameters = [
            f'<{DSML}parameter name="{key}" string="true">{value}</{DSML}parameter>'
            if isinstance(value, str)
            else f'<{DSML}parameter name="{key}" string="false">{as_json(value)}</{DSML}parameter>'
            for key, value in call.arguments.items()
        ]
        lines.append("\n".join(parameters))  # no parameter: an empty line
        lines.append(f"</{DSML}invoke>")
    lines.append(f"</{DSML}tool_calls>")
    return "\n".join(lines)


def tool_block(schemas: list, style: str) -> list[Segment]:
    if style == "ds4":
        lines = "\n".join(compact_json(schema) for schema in schemas)
        return [Segment(DS4_HEAD, True, NONE), Segment(lines, False, NONE), Segment(DS4_TAIL, True, NONE)]
    lines = "\n".join(as_json(schema) for schema in schemas)
    return [Segment(TOOLS_HEAD, True, NONE), Segment(lines, False, NONE), Segment(TOOLS_TAIL, True, NONE)]


def opening(messages: list, schemas: list, style: str, prefix: str) -> list[Segment]:
    """BOS, effort text, system text and tool block."""
    segments = [Segment(BOS, True, NONE)]
    if prefix:
        segments.append(Segment(prefix, True, NONE))
    text = "".join(message.content for message in messages if message.role == "system")
    text_segments = [Segment(text, False, NONE)] if text else []
    if not schemas:
        return segments + text_segments
    if style == "ds4":
        gap = [Segment("\n\n", True, NONE)] if text else []
        return segments + tool_block(schemas, style) + gap + text_segments
    return segments + text_segments + [Segment("\n\n", True, NONE)] + tool_block(schemas, style)


def render(messages: list, thinking: bool, schemas=(), style="official", prefix="", keep_reasoning=False) -> list[Segment]:
    """The whole conversation; an open user turn at the end gets the assistant's opening marker.

    Reasoning before the last user turn is dropped as the official encoder does, unless there are tools or `keep_reasoning`.
    """
    segments = opening(messages, list(schemas), style, prefix)
    turns = [message for message in messages if message.role != "system"]
    last_user = max((i for i, m in enumerate(turns) if m.role in ("user", "tool")), default=-1)
    keep = keep_reasoning or bool(schemas)
    for i, message in enumerate(turns):
        shows_reasoning = thinking and (keep or i > last_user)
        if message.role == "assistant":
            weight = FULL if message.weight < 0 else message.weight
            reasoning = message.reasoning + END_THINK if shows_reasoning else ""
            calls = render_calls(message.calls) if message.calls else ""
            segments.append(Segment(reasoning + message.content + calls + EOS, True, weight))
            continue
        # Tool results and user texts that follow each other share one user turn.
        starts_turn = i == 0 or turns[i - 1].role == "assistant"
        segments.append(Segment(USER if starts_turn else "\n\n", True, NONE))
        if message.role == "tool":
            segments.append(Segment("<tool_result>", True, NONE))
            segments.append(Segment(message.content, False, NONE))
            segments.append(Segment("</tool_result>", True, NONE))
        else:
            segments.append(Segment(message.content, False, LIGHT if message.weight < 0 else message.weight))
        if i + 1 == len(turns) or turns[i + 1].role == "assistant":
            opens_reasoning = thinking and (keep or i >= last_user)
            segments.append(Segment(ASSISTANT + (THINK if opens_reasoning else END_THINK), True, NONE))
    return segments


def join_prompt(segments: list) -> list[Segment]:
    """The same document with neighbouring prompt pieces glued together.

    A program may tokenise a prompt piece by piece or as one string; where two pieces meet the tokens can differ (`.` + newline).
    Training on both forms makes the model indifferent. Only for texts that contain no special string of their own.
    """
    joined = [segments[0]]
    for segment in segments[1:]:
        last = joined[-1]
        if segment.weight == last.weight:
            joined[-1] = Segment(last.text + segment.text, True, segment.weight)
        else:
            joined.append(segment)
    return joined


def text_of(segments: list) -> str:
    return "".join(segment.text for segment in segments)


SYSTEM_TEXTS = [
    "You are a helpful assistant", "You are a helpful assistant", "You are a helpful assistant", "You are a helpful assistant.",
    "You are a helpful assistant.", "", "", "Answer briefly.", "You are a friendly assistant.", "You are a helpful coding assistant.",
    "Be short and clear.", "You are ds4, a small assistant that runs on this machine.", "You help the user with small tasks.",
    "Answer in plain English.", "You are an assistant in a terminal.", "You are a careful assistant. Never invent facts.",
]


# Put together at random, so that an unknown system text does not throw the model off.
SYSTEM_SENTENCES = [
    "You are a {0} assistant.", "You are the assistant of {1}.", "You work for {1}.", "Your name is {1}.", "Answer in one sentence.", "Be {0}.", "The user is called {1}.", "Today is {2}.", "Use tools when they help.",
    "Say so when you do not know something.", "Do not talk about {3}.", "The user likes {3}.", "You run on a small machine.", "Keep answers short.", "Think first, then answer.", "Follow the user's instructions.",
]  # fmt: skip
MANNERS = ["helpful", "friendly", "polite", "careful", "brief", "precise", "patient", "honest", "clever", "calm"]
UNUSUAL_SYSTEM_SHARE = 0.15


def random_system(draw) -> list:
    if draw.chance(UNUSUAL_SYSTEM_SHARE):
        sentences = draw.rng.sample(SYSTEM_SENTENCES, draw.any((1, 2, 3)))
        values = draw.any(MANNERS), draw.made_name(), draw.any(DAYS), draw.pick(THINGS)
        return [system(" ".join(sentences).format(*values))]
    text = draw.any(SYSTEM_TEXTS)
    return [system(text)] if text else []


def finish(draw, messages, thinking, schemas=(), style="official") -> list[Segment]:
    """Render with the variations that a real prompt may have: effort text, kept reasoning, glued pieces."""
    prefix = MAX_EFFORT if thinking and draw.chance(0.015) else ""
    segments = render(messages, thinking, schemas, style, prefix, keep_reasoning=draw.chance(0.3))
    return join_prompt(segments) if draw.chance(0.5) else segments
