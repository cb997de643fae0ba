//! Fixtures that the tests of more than one crate use. It knows no crate of the workspace, so that each may use it in
//! its unit tests.

#![allow(missing_docs, reason = "a fixture says what it is by its name")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a fixture ends where it cannot go on")]

pub mod golden_models;
pub mod model_directory;
mod numpy_random;
pub mod tools;

use std::path::Path;

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
