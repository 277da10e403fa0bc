//! The shape that every API has, so that one handler serves them all.

use crate::error::ApiError;
use crate::turn::Turn;
use crate::wire::{Encoder, Outcome, ServerFacts, Stamp};
use serde_json::Value;

/// A request of one API.
pub trait Api: Sized + Send + 'static {
    /// The member that holds the prompt, for messages about its length.
    const PROMPT: &'static str;
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(body: &[u8], facts: &ServerFacts) -> Result<Self, ApiError>;
    /// What it asks of the model.
    fn turn(&self) -> &Turn;
    /// The answer is to come as server-sent events.
    fn streams(&self) -> bool;
    /// Writes the answer's stream.
    fn encoder(&self, stamp: Stamp) -> Box<dyn Encoder>;
    /// The answer as one object.
    fn complete(&self, stamp: &Stamp, outcome: &Outcome) -> Value;
    /// A refusal.
    fn error(error: &ApiError) -> Value;
}
