//! Joins the caches of the shards of a dataset.

use std::path::Path;

use reembed_encoder::error::Result;

use super::database::{self, Db, DbError, FileKind, MetaKey, catch_damage, not_a_cache};
use super::entries::{InsertStep, insert_step};
use super::eviction::Quota;
use super::record::EntryBuffer;
use super::vector_cache::{EVICTIONS_PER_COMMIT, replace_damaged};
use crate::events::Event;

/// Entries that are copied in one commit.
const ENTRIES_PER_COMMIT: usize = 4096;

/// Copies the whole entries of the caches `parts` into the cache `into`, which is created if there is none.
/// Those that it has already are replaced. Parts that do not exist are empty. The parts stay. A cache `into` that is
/// damaged is set aside with a warning.
///
/// Returns the number of copied entries.
///
/// # Errors
/// `Cache` when a file is no cache, is damaged, or cannot be read or written; `CacheBusy` when another process has
/// one open.
pub fn merge(
    into: &Path,
    parts: &[&Path],
    max_size: u64,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<u64> {
    let mut copied = 0;
    let target = open_target(into, on_event)?;
    let run = target.meta(MetaKey::Run).map_err(|error| error.into_error(into))?;
    let run = u32::try_from(run).unwrap_or(u32::MAX).saturating_add(1);
    for part in parts {
        match database::file_kind(part)? {
            FileKind::Missing | FileKind::Zeros => continue,
            FileKind::Other => return Err(not_a_cache(part)),
            FileKind::Database => {}
        }
        // Not read-only, since one that a killed run left needs a repair, and its shard may have nothing more to do.
        let source = Db::open(part).map_err(|error| error.into_error(part))?;
        copied += copy(&target, into, &source, part, run, max_size)?;
        for (fingerprint, model) in source.models().map_err(|error| error.into_error(part))? {
            let insert = target.write(|tables| tables.set_model(&fingerprint, &model));
            insert.map_err(|error| error.into_error(into))?;
        }
    }
    let finished = target.write(|tables| tables.finish_run(run));
    finished.and_then(|()| target.close()).map_err(|error| error.into_error(into))?;
    Ok(copied)
}

/// Opens the cache to copy into. One that is damaged, such as that of a merge that was killed, is moved aside.
fn open_target(path: &Path, on_event: &(dyn Fn(Event) + Sync)) -> Result<Db> {
    let opened = match database::file_kind(path)? {
        FileKind::Other => return Err(not_a_cache(path)),
        FileKind::Zeros => Err(DbError::Damaged(database::ZEROS.to_owned())),
        FileKind::Missing | FileKind::Database => Db::open(path),
    };
    match opened {
        Err(DbError::Damaged(reason)) => replace_damaged(path, &reason, on_event),
        opened => opened.map_err(|error| error.into_error(path)),
    }
}

fn copy(
    target: &Db,
    into: &Path,
    source: &Db,
    part: &Path,
    run: u32,
    max_size: u64,
) -> Result<u64> {
    let snapshot = source.snapshot().map_err(|error| error.into_error(part))?;
    let (mut copied, mut next) = (0, 0);
    let mut entries = EntryBuffer::default();
    loop {
        entries.clear();
        let read = catch_damage(part, || {
            for entry in snapshot.slots.range(next..)? {
                let (slot, bytes) = entry?;
                next = slot.value() + 1;
                // A damaged entry is embedded again.
                entries.push_copy(bytes.value(), run);
                if entries.len() == ENTRIES_PER_COMMIT {
                    break;
                }
            }
            Ok(())
        });
        read.map_err(|error: DbError| error.into_error(part))?;
        if entries.is_empty() {
            return Ok(copied);
        }
        let quota = Quota { max_size, keep_from: run, evictions_per_commit: EVICTIONS_PER_COMMIT };
        let stored = loop {
            let step = target.write(|tables| insert_step(tables, &entries, run, quota));
            let InsertStep { stored, .. } = step.map_err(|error| error.into_error(into))?;
            if let Some(stored) = stored {
                break stored;
            }
        };
        copied += stored as u64;
    }
}
