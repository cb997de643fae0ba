//! The vectors that stand in published tables, found by content key, so that they are not kept a second time.
//!
//! ```text
//!   _reembed/keys/<table>.keys     the key of each row of a table, in order: 16 bytes a row
//!   _reembed/dataset/index/*.index key → table, column and row, sorted by key: 24 bytes a row
//!
//!   key_file  keys of a table           segment  a sorted file of the index
//!   short_key the kept part of a key    joined   the entries of several segments in one order
//!   table     the vectors of a table    index    all segments, and the newest keys in memory
//!   trailer   the end of both files     vectors  looks texts up
//! ```
//!
//! A table and its keys are the truth; the index is made from key files and may be deleted. Nothing that an
//! index says is believed: the table's footer must be the one that the keys belong to, the row must have the key,
//! and the row group must have the bytes that were written. An output that was moved, edited or deleted therefore
//! costs a computation and never gives a wrong vector. docs/decisions/0024-published-vectors.md.

mod index;
mod joined;
mod key_file;
mod segment;
mod short_key;
mod table;
mod trailer;
mod vectors;

pub use index::sweep_index;
pub use key_file::{KeyFile, KeyFileWriter, KeyedColumn, RowKey};
pub use short_key::ShortKey;
pub use table::footer_digest;
pub use vectors::{PublishedTable, PublishedVector, PublishedVectors};
