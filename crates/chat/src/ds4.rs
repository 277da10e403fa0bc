use crate::{Message, Options, Prompt, Role, Style, dsml, markers};

pub(crate) fn render(messages: &[Message], options: &Options) -> Prompt {
    let mut prompt = Prompt::default();
    prompt.protocol(markers::BOS);
    prompt.protocol(options.effort.prefix(options.thinking));
    prompt.append(system_text(messages));

    let is_user_like = |message: &Message| matches!(message.role, Role::User | Role::Tool);
    let last_user = messages.iter().rposition(is_user_like);
    let tool_context = messages.iter().any(|message| {
        let has_calls = !message.tool_calls.is_empty() || message.raw_block.is_some();
        has_calls || !message.tools.is_empty() || message.role == Role::Tool
    });
    let mut answer_pending = false;
    let mut result_open = false;
    for (index, message) in messages.iter().enumerate() {
        match message.role {
            Role::User => {
                prompt.protocol(markers::USER);
                prompt.client(&message.content);
                (answer_pending, result_open) = (true, false);
            }
            Role::Tool => {
                if !result_open {
                    prompt.protocol(markers::USER);
                }
                dsml::result(&message.content, &mut prompt);
                (answer_pending, result_open) = (true, true);
            }
            Role::Assistant => {
                if answer_pending {
                    prompt.protocol(markers::ASSISTANT);
                    if options.thinks() && (tool_context || last_user.is_none_or(|last| index > last)) {
                        prompt.protocol(markers::THINK);
                        prompt.client(&message.reasoning);
                    }
                    prompt.protocol(markers::THINK_END);
                }
                prompt.client(&message.content);
                dsml::turn_calls(std::iter::once(message), Style::Ds4, &mut prompt);
                if !(message.prefix && index + 1 == messages.len()) {
                    prompt.protocol(markers::EOS);
                }
                (answer_pending, result_open) = (false, false);
            }
            Role::System | Role::Developer | Role::LatestReminder => {}
        }
    }
    if answer_pending {
        prompt.protocol(markers::ASSISTANT);
        prompt.protocol(if options.thinks() { markers::THINK } else { markers::THINK_END });
    }
    prompt
}

/// The tool block, then every system message, wherever it stands.
fn system_text(messages: &[Message]) -> Prompt {
    let mut text = Prompt::default();
    let mut tools = messages.iter().flat_map(|message| &message.tools).peekable();
    if tools.peek().is_some() {
        dsml::tool_block(tools, Style::Ds4, &mut text);
    }
    for message in messages.iter().filter(|message| matches!(message.role, Role::System | Role::Developer)) {
        if !text.is_empty() {
            text.protocol("\n\n");
        }
        text.client(&message.content);
    }
    text
}
