//! The HTTP server: OpenAI's chat, completion and responses APIs, Anthropic's messages, metrics and the chat page, in front of one engine.
//!
//! Data's way: body → an API ([`api::Api`]) → [`turn::Turn`] → [`service::Service`] → engine → [`turn::Event`]s →
//! the same API's [`wire::Encoder`] or complete answer. The APIs know no engine and no HTTP: each is a pure mapping
//! between JSON and the types of [`turn`].
//!
//! | file | content |
//! |---|---|
//! | `serve.rs`, `patience.rs`, `http.rs` | listener, slow clients, routes, keys, Host check, limits |
//! | `service.rs`, `answer.rs` | prompts to the engine, tokens to events |
//! | `memory.rs` | what is remembered of answers, so that conversations continue from their KV state |
//! | `turn.rs`, `wire.rs`, `api.rs` | what APIs and engine say to each other, and what APIs have in common |
//! | `anthropic/` | messages |
//! | `responses/` | OpenAI's responses |
//! | `openai/` | chat completions, completions, models, tokenisation |
//! | `fields.rs`, `params.rs`, `messages.rs`, `effort.rs` | what the bodies of all APIs have in common |
//! | `error.rs`, `limits.rs` | refusals, bounds |
//! | `metrics.rs`, `trace.rs`, `page.rs` | Prometheus, what `--trace` writes, the chat page |

mod answer;
pub mod anthropic;
pub mod api;
pub mod effort;
pub mod error;
mod fields;
pub mod http;
pub mod limits;
mod memory;
mod messages;
mod metrics;
pub mod openai;
mod page;
mod params;
mod patience;
pub mod responses;
mod serve;
pub mod service;
mod trace;
pub mod turn;
pub mod wire;

pub use serve::{ServeOptions, serve};
