//! A dataset: the tables below a directory, and an output for each at the same place below another one.
//!
//! ```text
//!   in/dt=2026-11-01/a.parquet   ─►  out/dt=2026-11-01/a.parquet
//!   in/b.parquet                 ─►  out/b.parquet
//!                                    out/_reembed/manifest.json   what was published, from what
//!                                    out/_reembed/dataset/        lock, journal, vector cache
//! ```
//!
//! ```text
//!   inputs     a table or a dataset?         listing    the tables there are
//!   pattern    wildcards                     partition  values in directory names
//!   stamp      has a file changed?           settings   what an output depends on, beside its input
//!   manifest   what was published            journal    the same, while a run goes on
//!   known      both together                 comparison the listing compared with them
//!   plan       what is to do (pure)          checks     what is checked before the first table
//!   run        a run over all tables         tables     publishes them, a few at once
//!   outputs    what is deleted or marked     failures   what a failed table means (pure)
//!   places     its own files                 lock       one run at a time
//!   estimate   a dry run                     status     what there is, without a run
//!   sweep      what killed runs left         directories  those of tables, if they stay
//!   merge      what shards have published    verify     outputs against manifest and inputs
//!   ranges     how a table is divided (pure) split      tables that shards embed together
//!   parts      files with a range each       embed_part makes them, and tables from them
//!   tally      what became of the tables     under_way  tables whose parts are not all there
//! ```

mod checks;
mod comparison;
mod directories;
mod embed_part;
mod estimate;
mod failures;
mod inputs;
mod journal;
mod known;
mod listing;
mod lock;
mod manifest;
mod merge;
mod outputs;
mod partition;
mod parts;
mod pattern;
mod places;
mod plan;
mod published;
mod ranges;
mod run;
mod settings;
mod split;
mod stamp;
mod status;
mod sweep;
mod tables;
mod tally;
mod under_way;
mod verify;
mod warnings;

pub use estimate::estimate;
pub use failures::{FailedTable, kind_of_run};
pub use inputs::{Dataset, Job};
pub use listing::{ListedTable, Listing};
pub use lock::DatasetLock;
pub use manifest::{FailedRecord, Manifest, SCHEMA, TableRecord};
pub use merge::{MergeOptions, MergeReport, merge};
pub use places::Places;
pub use plan::Reason;
pub use run::{DatasetReport, run};
pub use status::{Status, status};
pub use verify::Published;
