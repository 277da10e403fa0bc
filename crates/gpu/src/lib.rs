//! The GPU backend on `wgpu`: Vulkan and Metal from one set of WGSL kernels (`KERNELS.md`).

mod device;
mod gpu;
pub mod ops;
mod parts;
mod repack;
mod rows;
mod upload;
pub mod weights;

pub use device::{BINDING_BYTES_MAX, Caps, DeviceInfo, devices};
pub use gpu::{Buffer, Gpu, Kernel, Timing, floats, source, to_floats, words};
pub use rows::{Rows, Vector};
