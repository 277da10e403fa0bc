use crate::{Error, Message, Options, Prompt, Role, Style, Task, dsml, markers};

enum Block<'m> {
    Text(&'m str),
    Result { id: Option<&'m str>, content: &'m str },
}

/// Messages that make one turn.
struct Turn<'m> {
    /// Tool messages have become [`Role::User`].
    role: Role,
    /// Of a user turn.
    blocks: Vec<Block<'m>>,
    /// Position in the conversation and message; more than one only for user and assistant.
    messages: Vec<(usize, &'m Message)>,
    task: Option<Task>,
}

impl Turn<'_> {
    fn is_user_like(&self) -> bool {
        matches!(self.role, Role::User | Role::Developer)
    }
}

pub(crate) fn render(messages: &[Message], options: &Options) -> Result<Prompt, Error> {
    let mut turns = merge(messages);
    sort_results(&mut turns);
    let drops = options.thinks() && options.drop_reasoning && messages.iter().all(|message| message.tools.is_empty());
    if drops {
        let last_user = turns.iter().rposition(Turn::is_user_like).unwrap_or(0);
        let stays = |index: usize, turn: &Turn<'_>| turn.role != Role::Developer || index >= last_user;
        turns = turns.into_iter().enumerate().filter(|(i, turn)| stays(*i, turn)).map(|(_, turn)| turn).collect();
    }
    let last_user = turns.iter().rposition(Turn::is_user_like);
    let mut prompt = Prompt::default();
    prompt.protocol(markers::BOS);
    prompt.protocol(options.effort.prefix(options.thinking));
    let mut previous_task = None;
    for (index, turn) in turns.iter().enumerate() {
        let thinks = |after_user: bool| options.thinks() && (!drops || after_user);
        let reasons = previous_task.is_none() && thinks(last_user.is_none_or(|last| index > last));
        write_turn(turn, reasons, &mut prompt)?;
        let next = turns.get(index + 1).map(|next| next.role);
        if matches!(next, None | Some(Role::Assistant | Role::LatestReminder)) {
            let answer_thinks = match turn.task {
                Some(_) => options.thinks(),
                None => thinks(last_user.is_none_or(|last| index >= last)),
            };
            transition(turn, answer_thinks, &mut prompt);
        }
        previous_task = turn.task;
    }
    Ok(prompt)
}

fn merge(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let (role, block) = match message.role {
            Role::Tool => {
                (Role::User, Some(Block::Result { id: message.tool_call_id.as_deref(), content: &message.content }))
            }
            Role::User => (Role::User, Some(Block::Text(&message.content))),
            other => (other, None),
        };
        let joins = |last: &&mut Turn<'_>| {
            last.role == role
                && match message.role {
                    Role::Tool => true,
                    Role::User | Role::Assistant => last.task.is_none(),
                    _ => false,
                }
        };
        match turns.last_mut().filter(joins) {
            Some(last) => {
                last.blocks.extend(block);
                last.messages.push((index, message));
                last.task = message.task.or(last.task);
            }
            None => turns.push(Turn {
                role,
                blocks: block.into_iter().collect(),
                messages: vec![(index, message)],
                task: message.task,
            }),
        }
    }
    turns
}

/// Puts tool results into the order of their calls. Texts keep their places.
fn sort_results(turns: &mut [Turn<'_>]) {
    let mut order: Vec<&str> = Vec::new();
    for turn in turns {
        let calls = || turn.messages.iter().flat_map(|(_, message)| &message.tool_calls);
        if turn.role == Role::Assistant && calls().next().is_some() {
            order = calls().map(|call| call.id.as_deref().unwrap_or_default()).collect();
        }
        let mut results = Vec::new();
        let mut places = Vec::new();
        for block in &mut turn.blocks {
            if let Block::Result { id, content } = block {
                let position = order.iter().position(|call| Some(*call) == *id).unwrap_or(0);
                results.push((position, *id, *content));
                places.push(block);
            }
        }
        results.sort_by_key(|(position, ..)| *position);
        for (place, (_, id, content)) in places.into_iter().zip(results) {
            *place = Block::Result { id, content };
        }
    }
}

fn write_turn(turn: &Turn<'_>, reasons: bool, prompt: &mut Prompt) -> Result<(), Error> {
    match turn.role {
        Role::System => turn.messages.iter().for_each(|(_, message)| instructions(message, prompt)),
        Role::Developer => {
            for (index, message) in &turn.messages {
                if message.content.is_empty() {
                    return Err(Error::EmptyDeveloper { index: *index });
                }
                prompt.protocol(markers::USER);
                instructions(message, prompt);
            }
        }
        Role::User | Role::Tool => {
            prompt.protocol(markers::USER);
            for (index, block) in turn.blocks.iter().enumerate() {
                prompt.protocol(if index == 0 { "" } else { "\n\n" });
                match block {
                    Block::Text(text) => prompt.client(text),
                    Block::Result { content, .. } => dsml::result(content, prompt),
                }
            }
        }
        Role::LatestReminder => {
            prompt.protocol(markers::LATEST_REMINDER);
            turn.messages.iter().for_each(|(_, message)| prompt.client(&message.content));
        }
        Role::Assistant => {
            if reasons {
                turn.messages.iter().for_each(|(_, message)| prompt.client(&message.reasoning));
                prompt.protocol(markers::THINK_END);
            }
            turn.messages.iter().for_each(|(_, message)| prompt.client(&message.content));
            dsml::turn_calls(turn.messages.iter().map(|(_, message)| *message), Style::Official, prompt);
            if !turn.messages.last().is_some_and(|(_, message)| message.prefix) {
                prompt.protocol(markers::EOS);
            }
        }
    }
    Ok(())
}

fn instructions(message: &Message, prompt: &mut Prompt) {
    prompt.client(&message.content);
    if !message.tools.is_empty() {
        prompt.protocol("\n\n");
        dsml::tool_block(message.tools.iter(), Style::Official, prompt);
    }
    if let Some(schema) = &message.response_format {
        prompt.protocol("\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n");
        prompt.client(&dsml::json(schema, Style::Official));
    }
}

fn transition(turn: &Turn<'_>, thinks: bool, prompt: &mut Prompt) {
    let think = if thinks { markers::THINK } else { markers::THINK_END };
    match turn.task {
        Some(Task::Action) => {
            prompt.protocol(markers::ASSISTANT);
            prompt.protocol(think);
            prompt.protocol(Task::Action.token());
        }
        Some(task) => prompt.protocol(task.token()),
        None if turn.is_user_like() => {
            prompt.protocol(markers::ASSISTANT);
            prompt.protocol(think);
        }
        None => {}
    }
}
