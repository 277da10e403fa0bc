//! Whether and how hard the model thinks, from what a request says (`spec/http-api.md` §3).

use crate::wire::ServerFacts;
use ds4_chat::ThinkingMode;

/// Model id that turns thinking off unless the request says otherwise.
pub const ALIAS_CHAT: &str = "deepseek-chat";
/// Model id that turns thinking on unless the request says otherwise.
pub const ALIAS_REASONER: &str = "deepseek-reasoner";

/// What a request says about thinking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// `thinking` or `think`, if it was sent: `Some(None)` is a kind that changes nothing, such as `adaptive`.
    pub switch: Option<Option<bool>>,
    /// Name of the effort, if one was sent.
    pub effort: Option<&'a str>,
}

/// The mode for a request that names `model`.
pub fn thinking(facts: &ServerFacts, model: &str, wish: Wish<'_>) -> ThinkingMode {
    let by_alias = match model {
        ALIAS_CHAT => Some(false),
        ALIAS_REASONER => Some(true),
        _ => None,
    };
    // A switch of a kind that changes nothing still keeps the alias from acting.
    let on = wish.switch.unwrap_or(by_alias).unwrap_or(true);
    let mode = wish.effort.map_or(ThinkingMode::High, ThinkingMode::from_effort);
    if on { mode.within(facts.context) } else { ThinkingMode::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ThinkingMode::{High, Max, None as Off};

    #[test]
    fn requests_decide_and_aliases_fill_in() {
        let facts = |context| ServerFacts {
            context,
            effort: ds4_chat::EffortTable::Preview,
            default_max_tokens: None,
            strict_thinking_sampling: false,
        };
        let (small, large) = (facts(32768), facts(ds4_chat::MAX_EFFORT_CONTEXT));
        let says = |switch, effort| Wish { switch, effort };
        for (model, wish, expected) in [
            ("any", says(None, None), High),
            (ALIAS_CHAT, says(None, None), Off),
            (ALIAS_CHAT, says(None, Some("high")), Off),
            (ALIAS_CHAT, says(Some(Some(true)), None), High),
            (ALIAS_CHAT, says(Some(None), None), High),
            (ALIAS_REASONER, says(Some(Some(false)), None), Off),
            ("any", says(Some(Some(true)), Some("none")), Off),
            ("any", says(None, Some("whatever")), High),
            ("any", says(None, Some("max")), Max),
        ] {
            assert_eq!(thinking(&large, model, wish), expected, "{model} {wish:?}");
        }
        assert_eq!(thinking(&small, "any", says(None, Some("ultra"))), High);
    }
}
