//! The built program, from its arguments to what it prints, on models that it makes itself.

mod chat;
mod errors;
mod inspect;
#[cfg(target_os = "linux")]
mod interrupt;
#[cfg(unix)]
mod kv;
mod quantize;
mod run;
mod steering;
mod support;
mod tiny_model;
mod tokenize;
