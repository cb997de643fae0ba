//! The Parquet file format below its types: footers whose unknown fields stay, column chunks as
//! ranges of bytes.
//!
//! ```text
//!   thrift      the compact protocol           pages       page headers of a chunk
//!   metadata    a footer, field by field       projection  a footer for the decoder, with few columns
//!   schema      root columns and their leaves  output      the footer of an output
//!   chunk       a column chunk and its indexes entries     key-value entries that describe the schema
//!   foreign     files that are not Parquet
//! ```
//!
//! <https://github.com/apache/parquet-format>. docs/decisions/0021-carried-column-chunks.md says why
//! the Parquet library's own footer is not enough.

pub mod chunk;
pub mod entries;
pub mod foreign;
pub mod metadata;
pub mod output;
pub mod pages;
pub mod projection;
pub mod schema;
pub mod thrift;
