//! The engine from outside: a file a subject, `suite.rs` what every backend must show.
//!
//! One program: every further one compiles generic code of the libraries again, and is linked.

mod common;
mod conformance;
mod demo;
mod disk;
mod importance;
mod memory;
mod scheduler;
mod speculation;
mod steering;
mod suite;
