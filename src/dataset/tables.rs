//! Publishes tables, a few at once, of which one uses the model.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::stop::Stop;

use super::directories::TableDirectories;
use super::failures::ends_the_run;
use super::inputs::Dataset;
use super::journal::Journal;
use super::listing::ListedTable;
use super::manifest::TableRecord;
use super::parts::TableParts;
use super::published::Releases;
use super::split::SplitTable;
use super::stamp::Stamp;
use super::warnings::TableWarnings;
use crate::events::{Event, Report};
use crate::footer::Lineage;
use crate::pipeline::{
    Encoders, Models, Role, StageClocks, Table, Turn, Turns, check_models, prepare, previous_output,
};
use crate::publish::{LockHolder, OutputLock};
use crate::published::{PublishedTable, footer_digest};
use crate::reader::TableFile;
use crate::vectors::VectorForm;

/// Tables in flight: one reads ahead, one is embedded, one is published.
const IN_FLIGHT: usize = 3;

/// What the tables of a run share.
pub struct Run<'a> {
    pub dataset: &'a Dataset,
    pub run_id: &'a str,
    pub settings: &'a str,
    /// Those of the vector columns.
    pub columns: &'a [(Lineage, VectorForm)],
    pub models: &'a Models<'a>,
    pub encoders: &'a Encoders<'a, 'a>,
    pub journal: &'a Journal,
    pub directories: TableDirectories<'a>,
    /// The vectors that leave the cache, if any do.
    pub releases: Option<Releases<'a>>,
    pub clocks: &'a StageClocks,
    pub warnings: TableWarnings,
    pub stop: &'a Stop,
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

/// What is done with a table in its turn.
pub enum Work<'a> {
    /// It is embedded and published.
    Publish(&'a ListedTable),
    /// A range of it is embedded.
    EmbedPart(&'a SplitTable<'a>, u64),
    /// It is published from its parts.
    PutTogether(&'a SplitTable<'a>),
}

/// What was done.
pub enum Done {
    /// The table was published.
    Table(Box<(Report, TableRecord)>),
    /// A range of the table with this path was embedded.
    Part(PathBuf, Box<Report>),
    /// Another worker has done it, or is doing it.
    Elsewhere,
}

/// What became of a table; its path if it failed.
pub type Outcome = std::result::Result<Done, (PathBuf, Error)>;

impl<'a> Work<'a> {
    /// The ranges of a table that this shard has to embed.
    pub fn ranges(split: &'a SplitTable<'a>) -> impl Iterator<Item = Work<'a>> {
        split.to_embed().into_iter().map(move |range| Work::EmbedPart(split, range))
    }

    fn table(&self) -> &ListedTable {
        match self {
            Work::Publish(table) => table,
            Work::EmbedPart(split, _) | Work::PutTogether(split) => split.table,
        }
    }
}

impl Run<'_> {
    /// Works on tables, a few at once. After an error that concerns all, no further one is begun.
    pub fn tables(&self, tables: &[Work<'_>]) -> Vec<Outcome> {
        let (next, turns) = (AtomicUsize::new(0), Turns::default());
        let is_over = AtomicBool::new(false);
        let told = Mutex::new(BTreeSet::new());
        let outcomes = Mutex::new(Vec::with_capacity(tables.len()));
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(work) = tables.get(number) else { break };
                let table = work.table();
                let turn = turns.of(number);
                let outcome = catch_panic(ErrorKind::Internal, "a table", || {
                    self.stop.check()?;
                    match work {
                        Work::Publish(table) => self.publish(table, &|| true, turn),
                        Work::EmbedPart(split, range) => self.embed_part(split, *range, turn),
                        Work::PutTogether(split) => self.put_together(split, turn),
                    }
                });
                let outcome = outcome.map_err(|error| match error.place().file() {
                    Some(_) => error,
                    None => error.in_file(table.path(&self.dataset.listing.root)),
                });
                let name = table.below.display().to_string();
                match &outcome {
                    Ok(Done::Table(done)) => {
                        (self.on_event)(Event::TableDone { table: name, rows: done.0.rows });
                    }
                    Ok(Done::Part(_, report)) => {
                        (self.on_event)(Event::RangeDone { table: name, rows: report.rows });
                    }
                    Ok(Done::Elsewhere) => {}
                    Err(error) => {
                        if ends_the_run(error) || self.dataset.config.dataset.fail_fast {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                        // Several ranges of a table may fail.
                        if !ends_the_run(error) && told.insert(table.below.clone()) {
                            let message = error.to_string();
                            let advice = error.advice_text().map(str::to_owned);
                            let code = error.kind().code();
                            (self.on_event)(Event::TableFailed {
                                table: name,
                                code,
                                message,
                                advice,
                            });
                        }
                    }
                }
                let outcome = outcome.map_err(|error| (table.below.clone(), error));
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
            }
        };
        thread::scope(|scope| {
            let others = 1..IN_FLIGHT.min(tables.len());
            for _ in others {
                let spawned =
                    thread::Builder::new().name("table".to_owned()).spawn_scoped(scope, work);
                if spawned.is_err() {
                    // This thread does their work.
                    break;
                }
            }
            work();
        });
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, embeds and publishes a table, if it is wanted once it is locked.
    pub(super) fn publish(
        &self,
        listed: &ListedTable,
        is_wanted: &dyn Fn() -> bool,
        turn: Turn<'_>,
    ) -> Result<Done> {
        let config = &self.dataset.config_of(listed);
        let on_event = |event| self.warnings.pass(&listed.below, event, self.on_event);
        let (reader, _) = prepare(config)?;
        let lock = OutputLock::acquire(config, LockHolder::ThisProcess, &reader)?;
        if !is_wanted() {
            return Ok(Done::Elsewhere);
        }
        let forms = check_models(config, &reader, lock.existing(), self.models, self.stop)?;
        let table = Table {
            config,
            reader: &reader,
            lock: &lock,
            forms: &forms,
            stop: self.stop,
            on_event: &on_event,
        };
        let parts = TableParts::new(&self.dataset.places, &listed.below);
        let existing = table.existing_vectors(self.models, &parts.paths());
        let previous = previous_output(config, &lock, self.stop)?;
        if let (Some(published), Some(previous)) = (self.encoders.published(), &previous) {
            published.offer(previous.table().clone());
        }
        let (encoders, clocks) = (self.encoders, self.clocks);
        let embedded = table.embed(encoders, existing.as_ref(), previous, clocks, Some(turn))?;
        let committed_with = embedded.committed_with();
        let finished = table.finish(embedded, Role::Table, encoders, clocks)?;
        // As late as possible, so that a table that fails leaves none.
        self.directories.create(&listed.below)?;
        let (report, keys) = table.publish(finished, self.models, clocks)?;
        let output = TableFile::open(config.output.path())?;
        let footer = footer_digest(&output);
        let stamps = (Stamp::from(reader.table().id()), Stamp::from(output.id()));
        let facts = (self.settings, self.run_id, footer.clone());
        if let Some(published) = encoders.published() {
            let below = listed.below.clone();
            published.settle(&PublishedTable { below, footer: footer.clone() });
        }
        let record = TableRecord::new(&listed.below, stamps, facts, &report);
        if parts.exist() {
            parts.write_published(&record)?;
        }
        self.journal.add(&record)?;
        if let (Some(releases), true) = (&self.releases, keys.is_some()) {
            let footer = record.footer.clone();
            releases.add(committed_with, config.output.place.clone(), footer);
            releases.take_due()?;
        }
        parts.delete_parts();
        Ok(Done::Table(Box::new((report, record))))
    }
}
