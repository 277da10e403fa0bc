use crate::{Message, Prompt, Style, ToolCall, markers};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter};
use std::io;

const PARAMETER_END: &str = "</\u{ff5c}DSML\u{ff5c}parameter>";

/// Python's default spacing: `", "` and `": "`.
struct PythonSpacing;

impl Formatter for PythonSpacing {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn write_json(value: &Value, formatter: impl Formatter) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // A `Value` has string keys and a vector takes all bytes: nothing here can fail.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    String::from_utf8(bytes).unwrap_or_default()
}

/// `value` as JSON text, spaced as `style` does.
pub(crate) fn json(value: &Value, style: Style) -> String {
    match style {
        Style::Official => write_json(value, PythonSpacing),
        Style::Ds4 => write_json(value, CompactFormatter),
    }
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One tool result with its tags.
pub(crate) fn result(content: &str, prompt: &mut Prompt) {
    prompt.protocol(markers::RESULT);
    prompt.client(&content.replace(markers::RESULT_END, "&lt;/tool_result>"));
    prompt.protocol(markers::RESULT_END);
}

/// Text that the model wrote: only the markers in it are control tokens.
fn raw_block(text: &str, prompt: &mut Prompt) {
    for (index, plain) in text.split(markers::DSML).enumerate() {
        if index > 0 {
            prompt.protocol(markers::DSML);
        }
        prompt.client(plain);
    }
}

/// The calls of the messages of one turn in one block, unless there are blocks that the model wrote.
pub(crate) fn turn_calls<'m>(messages: impl Iterator<Item = &'m Message> + Clone, style: Style, prompt: &mut Prompt) {
    if messages.clone().all(|message| message.raw_block.is_none()) {
        return calls(messages.flat_map(|message| &message.tool_calls), style, prompt);
    }
    for message in messages {
        match &message.raw_block {
            Some(block) => raw_block(block, prompt),
            None => calls(message.tool_calls.iter(), style, prompt),
        }
    }
}

/// The block of tool calls, nothing if there are none.
fn calls<'c>(calls: impl Iterator<Item = &'c ToolCall>, style: Style, prompt: &mut Prompt) {
    let mut calls = calls.peekable();
    if calls.peek().is_none() {
        return;
    }
    prompt.protocol("\n\n<\u{ff5c}DSML\u{ff5c}tool_calls>\n");
    for call in calls {
        prompt.protocol("<\u{ff5c}DSML\u{ff5c}invoke name=\"");
        prompt.client(&attribute(&call.name));
        prompt.protocol("\">\n");
        match serde_json::from_str(&call.arguments) {
            Ok(Value::Object(arguments)) => {
                if arguments.is_empty() && style == Style::Official {
                    prompt.protocol("\n");
                }
                for (name, value) in &arguments {
                    parameter(name, value, style, prompt);
                }
            }
            _ => parameter("arguments", &Value::String(call.arguments.clone()), style, prompt),
        }
        prompt.protocol("</\u{ff5c}DSML\u{ff5c}invoke>\n");
    }
    prompt.protocol("</\u{ff5c}DSML\u{ff5c}tool_calls>");
}

fn parameter(name: &str, value: &Value, style: Style, prompt: &mut Prompt) {
    prompt.protocol("<\u{ff5c}DSML\u{ff5c}parameter name=\"");
    prompt.client(&attribute(name));
    match value {
        Value::String(text) => {
            prompt.protocol("\" string=\"true\">");
            prompt.client(&text.replace(PARAMETER_END, "&lt;/\u{ff5c}DSML\u{ff5c}parameter>"));
        }
        other => {
            prompt.protocol("\" string=\"false\">");
            prompt.client(&json(other, style).replace(PARAMETER_END, "\\u003c/\u{ff5c}DSML\u{ff5c}parameter>"));
        }
    }
    prompt.protocol(PARAMETER_END);
    prompt.protocol("\n");
}

/// The text that offers `tools`, without anything before it.
pub(crate) fn tool_block<'v>(tools: impl Iterator<Item = &'v Value>, style: Style, prompt: &mut Prompt) {
    let [question, strings, end] = match style {
        Style::Official => ["user's question", OFFICIAL_STRINGS, "\n"],
        Style::Ds4 => ["user question", DS4_STRINGS, " Use the exact parameter names from the schemas."],
    };
    prompt.protocol("## Tools\n\nYou have access to a set of tools to help answer the ");
    prompt.protocol(question);
    prompt.protocol(SYNTAX);
    prompt.protocol(strings);
    prompt.protocol(REASONING_FIRST);
    for (index, tool) in tools.enumerate() {
        prompt.protocol(if index == 0 { "" } else { "\n" });
        prompt.client(&json(tool, style));
    }
    prompt.protocol(
        "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.",
    );
    prompt.protocol(end);
}

const SYNTAX: &str = ". You can invoke tools by writing a \"<\u{ff5c}DSML\u{ff5c}tool_calls>\" block like the following:

<\u{ff5c}DSML\u{ff5c}tool_calls>
<\u{ff5c}DSML\u{ff5c}invoke name=\"$TOOL_NAME\">
<\u{ff5c}DSML\u{ff5c}parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</\u{ff5c}DSML\u{ff5c}parameter>
...
</\u{ff5c}DSML\u{ff5c}invoke>
<\u{ff5c}DSML\u{ff5c}invoke name=\"$TOOL_NAME2\">
...
</\u{ff5c}DSML\u{ff5c}invoke>
</\u{ff5c}DSML\u{ff5c}tool_calls>

";

const OFFICIAL_STRINGS: &str = "String parameters should be specified as is and set `string=\"true\"`.";

const DS4_STRINGS: &str = "String parameters should be specified as raw text and set `string=\"true\"`. Preserve characters such as `>`, `&`, and `&&` exactly; never replace normal string characters with XML or HTML entity escapes. Only if a string value itself contains the exact closing parameter tag `</\u{ff5c}DSML\u{ff5c}parameter>`, write that tag as `&lt;/\u{ff5c}DSML\u{ff5c}parameter>` inside the value.";

const REASONING_FIRST: &str = " For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string=\"false\"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

";
