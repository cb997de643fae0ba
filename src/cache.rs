//! The vector cache: a file beside each output that keeps the vector of every text that was embedded.
//!
//! Its key is the [content key](reembed_encoder::task::ContentKey). A run looks every text up and
//! commits new vectors as it goes. A run therefore resumes after a crash, embeds changed rows only,
//! and embeds equal texts once.
//!
//! ```text
//!   vector_cache  open, commit, finish          lookup       a view of what is committed
//!   writer        new vectors until a commit    maintenance  stats, prune, verify
//!   entries       insert and evict              eviction     what entries cost and which ones go
//!   record        the bytes of an entry         database     the file: redb, six tables
//!   merge         the caches of shards
//!   models        which models wrote            outputs      which outputs use it
//! ```
//!
//! The vectors of published tables are not in the cache of a dataset: see [`crate::published`].
//!
//! An entry with a wrong checksum counts as absent, and a damaged file is set aside: see
//! docs/decisions/0019-trust-in-the-cache.md. The least recently used entries are evicted at
//! `cache.max_size`. The database is redb: see docs/decisions/0001-vector-cache-database.md.

mod database;
mod entries;
mod eviction;
mod lookup;
mod maintenance;
mod merge;
mod models;
mod outputs;
mod patience;
mod record;
mod vector_cache;
mod writer;

pub use database::FORMAT;
pub use lookup::{CacheView, Lookup};
pub use maintenance::{CacheCheck, CacheStats, Keep, PruneResult, prune, stats, verify};
pub use merge::merge;
pub use models::models;
pub use outputs::CacheOutput;
pub use patience::Patience;
pub use vector_cache::{CacheReadyToPublish, Coverage, VectorCache, max_growth, path_for};
pub use writer::CacheWriter;
