//! The program that the tests start.

/// The file that `TEST_PROGRAM` names, such as the command of the Python package; else the one that Cargo built.
pub fn program() -> String {
    std::env::var("TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_reembed").to_owned())
}
