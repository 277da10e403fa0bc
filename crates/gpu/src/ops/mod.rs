//! The operations: each records the dispatches of one step of the model.

pub mod experts;
pub mod linear;
mod source;
