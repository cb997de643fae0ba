//! The library over models and tables: what models compute, what a run makes of its rows, whatever the sizes and
//! whatever runs out of memory.

#[path = "../common/mod.rs"]
mod common;

mod models;
mod pipeline;
mod precision;
mod real_model;
