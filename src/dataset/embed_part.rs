//! Embeds a range of a table, and publishes a table from its parts.
//!
//! A part is an output of its own: it is locked, read back and renamed into place as a table is. The table is then
//! published as one whose row groups are unchanged: their texts are compared, and the vectors are copied from the parts.
//! A part that is damaged is thus embedded again, and the bytes are those of one run over the table alone.

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::split::SplitTable;
use super::stamp::Stamp;
use super::tables::{Done, Run};
use crate::config::{ColumnChoice, Config, OutputPlace};
use crate::events::{Event, Report, Warning};
use crate::pipeline::{ExistingVectors, Role, Table, Turn, check_models, prepare};
use crate::publish::{LockHolder, OutputLock};

impl Run<'_> {
    /// Embeds a range of a table, unless it has a part by now.
    ///
    /// # Errors
    /// Those of a table.
    pub fn embed_part(&self, split: &SplitTable<'_>, range: u64, turn: Turn<'_>) -> Result<Done> {
        let whole = &self.dataset.config_of(split.table);
        let (reader, existing) = prepare(whole)?;
        if Stamp::from(reader.table().id()) != Stamp::from(&split.table.id) {
            return Err(Error::new(ErrorKind::Data, "the file changed after it was listed")
                .in_file(&whole.input.path)
                .advice("run again when no process writes to the file"));
        }
        let reader = reader.with_groups(split.groups(range)?);
        let forms = check_models(whole, &reader, &existing, self.models, self.stop)?;
        split.parts.create()?;
        let config = &config_of_part(whole, split.parts.place(&split.division.part(range)));
        let lock = OutputLock::acquire(config, LockHolder::ThisProcess, &reader)?;
        if !split.lacks(range) {
            return Ok(Done::Elsewhere);
        }
        let on_event = |event: Event| match event {
            // They are told of the whole table.
            Event::Warning(Warning::DuplicateIds { .. } | Warning::NoFilesColumn) => {}
            event => self.warnings.pass(&split.table.below, event, self.on_event),
        };
        let table = Table {
            config,
            reader: &reader,
            lock: &lock,
            forms: &forms,
            stop: self.stop,
            on_event: &on_event,
        };
        let others = split.parts.paths();
        let vectors = ExistingVectors::open(whole, existing.file(), &others, self.columns);
        let (encoders, clocks) = (self.encoders, self.clocks);
        let embedded = table.embed(encoders, vectors.as_ref(), None, clocks, Some(turn))?;
        let finished = table.finish(embedded, Role::Part, encoders, clocks)?;
        let (report, _) = table.publish(finished, self.models, clocks)?;
        // It is no output.
        let report = Report { repeated_ids: 0, output_bytes: 0, output_unchanged: true, ..report };
        Ok(Done::Part(split.table.below.clone(), Box::new(report)))
    }

    /// Publishes a table from its parts, unless another worker does.
    ///
    /// # Errors
    /// Those of a table.
    pub fn put_together(&self, split: &SplitTable<'_>, turn: Turn<'_>) -> Result<Done> {
        match self.publish(split.table, &|| split.is_complete(), turn) {
            // The worker that has the lock publishes it, or says why not.
            Err(error) if error.kind() == ErrorKind::Locked => Ok(Done::Elsewhere),
            done => done,
        }
    }
}

/// The configuration of a part: vectors alone, in a file of its own.
fn config_of_part(whole: &Config, place: OutputPlace) -> Config {
    let mut config = whole.clone();
    config.output.place = place;
    config.output.columns = ColumnChoice::Keep(Vec::new());
    // They are about carried columns, which the table gets when it is put together.
    config.output.preset = None;
    config.input.check_carried = false;
    config
}

/// What is left of the report of a table that was put together, without the parts that this run has embedded: their rows
/// are counted already.
pub fn without_parts(mut table: Report, parts: &Report) -> Report {
    table.rows = table.rows.saturating_sub(parts.rows);
    for (column, part) in table.columns.iter_mut().zip(&parts.columns) {
        let of_part = &part.origins;
        column.null_rows = column.null_rows.saturating_sub(part.null_rows);
        column.truncated_rows = column.truncated_rows.saturating_sub(part.truncated_rows);
        let rows = of_part.encoded + of_part.reused + of_part.duplicate;
        column.origins.reused = column.origins.reused.saturating_sub(rows);
        let tokens = part.work.tokens + of_part.tokens_saved;
        column.origins.tokens_saved = column.origins.tokens_saved.saturating_sub(tokens);
    }
    table
}
