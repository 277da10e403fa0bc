//! The GGUF container: mapping, parsing, checking and writing files, with no knowledge of any model.
//!
//! A file is a directory (metadata and a tensor table) followed by tensor payloads. [`File::open`]
//! reads the whole directory and checks every bound in it once; after that [`File::data`] hands out
//! plain slices of the map and cannot fail.
//!
//! | to … | use |
//! |---|---|
//! | open a file, embedded bytes or a buffer | [`File::open`], [`File::from_static`], [`File::from_vec`] |
//! | read keys with their type checked | [`Metadata`] |
//! | find a tensor and its bytes | [`File::tensor`], [`File::data`] |
//! | notice that the file changed on disk | [`File::check_intact`], [`install_truncation_handler`] |
//! | write a file | [`Writer`] |
//!
//! What is accepted is GGUF version 3, little-endian. Narrower than the format on purpose: arrays of
//! arrays are refused, strings must be UTF-8, tensors have one to four dimensions, and every count has
//! a named maximum in [`limits`]. Wider than some readers: payloads may overlap, so that several
//! tensors can share bytes.
//!
//! `unsafe` occurs in two places only: the memory map (`file.rs`) and the handler for a file that
//! shrinks underneath it (`truncation.rs`).
#![deny(unsafe_code, missing_docs)]

mod error;
mod file;
pub mod limits;
mod metadata;
mod parse;
mod tensor;
mod truncation;
mod value;
mod write;

pub use error::{Error, Place};
pub use file::{Access, File};
pub use metadata::Metadata;
pub use tensor::{TensorInfo, TensorType};
pub use truncation::install_truncation_handler;
pub use value::{Array, StringArray, Value, ValueType};
pub use write::Writer;
