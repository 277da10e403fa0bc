//! The kernels and the backend from outside: a file a subject. Needs a Vulkan device, which may be software.
//!
//! One program: every further one compiles generic code of the libraries again, and is linked.

mod attention;
mod bench;
mod cache;
mod device;
mod engine;
mod experts;
mod hyper;
mod linear;
mod rounding;
mod speculation;
mod steering;
mod support;
mod tiles_on_units;
mod translation;
mod tune;

// What the tests of the engine share.
#[path = "../../../engine/tests/engine/common.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest")]
mod common;
#[path = "../../../engine/tests/engine/suite.rs"]
mod suite;
