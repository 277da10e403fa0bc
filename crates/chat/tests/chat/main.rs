//! The chat format from outside: a file a subject.
//!
//! One program: every further one compiles generic code of the libraries again, and is linked.

mod common;
mod parse;
mod render;
mod stop;
mod stream;
