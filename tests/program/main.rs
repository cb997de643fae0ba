//! Tests of the program as users and scheduled jobs run it: the command line, its reports, bad input, the
//! vector cache, and publishing under faults.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

#[path = "../common/command_line.rs"]
mod command_line;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;

mod answer;
mod bad_input;
mod browser;
mod cache;
mod cli;
mod convert;
mod dataset;
mod long_texts;
mod models;
mod outcome;
mod places;
mod publish;
mod report;
mod row_choice;
mod several_vectors;
mod surroundings;
mod vector_forms;
