//! The tokenizer from outside: a file a subject.
//!
//! One program: every further one compiles generic code of the libraries again, and is linked.

mod common;
mod decode;
mod encode;
mod gguf;
mod vocabulary;
