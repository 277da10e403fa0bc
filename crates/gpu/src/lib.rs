//! The GPU backend on `wgpu`: Vulkan and Metal from one set of WGSL kernels (`KERNELS.md`).

mod backend;
mod cache;
mod device;
mod gpu;
mod inline;
pub mod measure;
pub mod ops;
mod parts;
mod repack;
mod rows;
pub mod selftest;
mod shape;
mod snapshot;
mod spirv;
mod step;
pub mod tune;
mod unroll;
mod upload;
pub mod weights;

pub use backend::{GpuBackend, GpuOptions, draft_weight_bytes, weight_bytes};
pub use cache::{Cache, Page, Pool};
pub use device::{BINDING_BYTES_MAX, Caps, Details, DeviceInfo, details, devices};
pub use gpu::{Buffer, Gpu, Kernel, Timing, floats, source, to_floats, words};
pub use rows::{Rows, Vector};
pub use shape::Shape;
pub use step::StepData;
