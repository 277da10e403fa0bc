//! The built program, from its arguments to what it prints, on models that it makes itself.

mod bench;
mod chat;
#[cfg(unix)]
mod download;
mod errors;
mod eval;
#[allow(dead_code, reason = "the tests of the hub use the rest")]
#[path = "../../../hub/tests/server/mod.rs"]
#[cfg(unix)]
mod hub;
mod imatrix;
mod inspect;
#[cfg(target_os = "linux")]
mod interrupt;
#[cfg(unix)]
mod kv;
mod quantize;
mod run;
mod selftest;
#[cfg(unix)]
mod setup;
mod steering;
mod support;
mod tiny_model;
mod tokenize;
