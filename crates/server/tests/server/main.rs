//! The server from outside: a file a subject.
//!
//! One program: every further one compiles generic code of the libraries again, and is linked.

mod anthropic;
mod responses;
mod server;
mod wire;
