//! f32 products over panels of packed weights: linear layers and attention.

pub(crate) mod attention;
pub(crate) mod linear;
mod micro_kernel;
