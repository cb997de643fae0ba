//! The library over models and tables: what models compute, what a run makes of its rows, whatever the sizes and
//! whatever runs out of memory.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

#[path = "../common/mod.rs"]
mod common;

mod models;
mod pipeline;
mod precision;
mod real_model;
