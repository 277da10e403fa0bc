//! The operations: each file dispatches the kernels of its name.

pub mod hyper;
pub mod route;
