//! The container from outside: a file a subject.
//!
//! One program: every further one compiles generic code of the libraries again, and is linked.

mod changing_file;
mod common;
mod malformed;
mod properties;
mod roundtrip;
