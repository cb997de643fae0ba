//! One table: its rows are read, embedded and written, and the output is published.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files::DirectorySync;
use reembed_encoder::limit::BatchLimit;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use super::clock::StageClocks;
use super::keys::{PreviousOutput, Role, StagedKeys, TableKeys};
use super::lazy_inference::LazyInference;
use super::models::Models;
use super::prepare::{carried_columns, check_carried};
use super::reuse::{ChunkResolver, Sample, Totals};
use super::split::Splitter;
use super::stages::{
    CHANNEL_CHUNKS, ReadRows, ReadStage, add_input_file, in_stage, infer, join, spawn, tokenize,
};
use super::turns::Turn;
use super::unchanged::{ExistingVectors, NoFilter, UnchangedTexts};
use crate::cache::{CacheWriter, VectorCache};
use crate::chunk::{KeyedChunk, Rows, TokenChunk};
use crate::config::{Carry, Config};
use crate::events::{ColumnReport, Event, Report, Stage, Warning};
use crate::footer::{EarlierColumn, Footer, FooterColumn, FooterFrame, FooterText, Lineage};
use crate::publish::{OutputLock, readback};
use crate::published::{KeyFile, PublishedVectors};
use crate::reader::{GroupFilter, Reader, RepeatedIds};
use crate::vectors::VectorForm;
use crate::writer::{Contents, StagedFile, Writer};

/// What the tables of a run share: what embeds, and what is known.
pub struct Encoders<'a, 'i> {
    models: &'a Models<'a>,
    by_column: Vec<&'a LazyInference<'i>>,
    keys: Vec<ContentKeys>,
    cache: Option<&'a VectorCache<'a>>,
    /// What stands in published tables.
    published: Option<&'a PublishedVectors>,
    commit_rows: NonZeroUsize,
    /// As the result of [`Encoders::commit`], of vectors that publications displaced.
    displaced: Mutex<(u64, u64)>,
    /// New vectors until a commit. One table at a time has it, in its turn.
    new_vectors: Mutex<Option<CacheWriter<'a>>>,
}

impl<'a, 'i> Encoders<'a, 'i> {
    /// `inferences` has one for each of the different models.
    pub fn new(
        models: &'a Models<'a>,
        inferences: &'a [LazyInference<'i>],
        cache: Option<&'a VectorCache<'a>>,
        published: Option<&'a PublishedVectors>,
        commit_rows: NonZeroUsize,
    ) -> Encoders<'a, 'i> {
        let by_column = models.numbers().map(|number| &inferences[number]).collect();
        let key = |lineage: Lineage| ContentKeys::new(&lineage.fingerprint);
        let writer = cache.and_then(|cache| cache.writer(commit_rows.get()));
        let new_vectors = Mutex::new(writer);
        Encoders {
            models,
            by_column,
            keys: lineages(models).map(key).collect(),
            cache,
            published,
            commit_rows,
            displaced: Mutex::default(),
            new_vectors,
        }
    }

    /// What stands in published tables.
    pub fn published(&self) -> Option<&'a PublishedVectors> {
        self.published
    }

    /// As the result of [`Encoders::commit`], of vectors that publications displaced.
    pub fn displaced(&self) -> (u64, u64) {
        *self.displaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_displaced(&self, totals: (u64, u64)) {
        let mut sum = self.displaced.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = (sum.0 + totals.0, sum.1 + totals.1);
    }

    /// Commits the vectors that are not committed yet, so that the next run reuses them. Returns how many
    /// entries were evicted for new ones, and how many new vectors were not stored because the cache is full.
    ///
    /// # Errors
    /// `Cache` when the cache cannot be written.
    pub fn commit(&self) -> Result<(u64, u64)> {
        let mut writer = self.new_vectors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = &mut *writer else { return Ok((0, 0)) };
        writer.commit()?;
        Ok(writer.totals())
    }
}

/// The lineage of each vector column.
fn lineages(models: &Models<'_>) -> impl Iterator<Item = Lineage> {
    models.by_column().map(|model| Lineage::new(&model.facts().identity))
}

/// An open input, its locked output, and the form of each vector column.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    pub config: &'a Config,
    pub reader: &'a Reader,
    pub lock: &'a OutputLock,
    pub forms: &'a [VectorForm],
    pub stop: &'a Stop,
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

/// A table whose rows are all embedded and written to a temporary file.
pub struct EmbeddedTable<'a> {
    writer: Writer<'a>,
    keys: TableKeys,
    read: ReadRows,
    totals: Totals,
    /// Whether each vector column replaces a column of the input.
    replaced: Vec<bool>,
    limits: Vec<Option<BatchLimit>>,
    /// The commit of the cache that has all of its new vectors.
    committed_with: u64,
}

/// A table whose output is complete under its temporary name.
pub struct FinishedTable {
    staged: StagedFile,
    keys: Option<StagedKeys>,
    footer: Footer,
    repeated_ids: u64,
    totals: Totals,
    replaced: Vec<bool>,
    limits: Vec<Option<BatchLimit>>,
}

impl EmbeddedTable<'_> {
    /// The commit of the cache that has all of its new vectors, as [`VectorCache::commits`] counts them.
    pub fn committed_with(&self) -> u64 {
        self.committed_with
    }
}

impl<'a> Table<'a> {
    /// The vectors of the existing output and of these parts, if they can be copied.
    pub fn existing_vectors(
        &self,
        models: &Models<'_>,
        parts: &[PathBuf],
    ) -> Option<ExistingVectors> {
        let of_columns: Vec<(Lineage, VectorForm)> =
            lineages(models).zip(self.forms.iter().cloned()).collect();
        let existing = self.lock.existing().file();
        match self.reader.carry() {
            Carry::Copy => ExistingVectors::open(self.config, existing, parts, &of_columns),
            Carry::Reencode => None,
        }
    }

    /// Embeds every row and writes the output to a temporary file. `turn` is awaited before the model
    /// or the writer works on the first row, and ends after the last one.
    ///
    /// # Errors
    /// The first error of a stage, naming its place.
    pub fn embed(
        &self,
        encoders: &Encoders<'_, '_>,
        existing: Option<&'a ExistingVectors>,
        previous: Option<PreviousOutput>,
        clocks: &StageClocks,
        turn: Option<Turn<'_>>,
    ) -> Result<EmbeddedTable<'a>> {
        let Table { config, reader, lock, forms, stop, on_event } = *self;
        let Encoders { models, by_column, keys, cache, published, new_vectors, .. } = encoders;
        if reader.columns().texts().iter().any(|text| !text.absent().is_empty()) {
            on_event(Event::Warning(Warning::NoFilesColumn));
        }
        if config.input.check_carried {
            check_carried(config, reader, stop)?;
        }
        let columns = carried_columns(config, reader)?;
        if existing.is_none() {
            // Without vectors of these models, only a model that can be loaded may begin.
            by_column.iter().try_for_each(|inference| inference.get().map(drop))?;
        }
        let copied = existing.map(ExistingVectors::files).unwrap_or_default();
        let replaced: Vec<bool> = columns.vectors.iter().map(|vectors| vectors.replaces).collect();
        let mut writer =
            Writer::create(&config.output, lock, reader, columns, forms, copied, stop)?;
        let mut table_keys = TableKeys::create(config, lock, reader, forms, previous, existing)?;
        let (rows, columns) = (reader.rows(), forms.len() as u64);
        on_event(Event::Started { rows, columns });

        let (row_sender, row_receiver) = bounded::<Rows<KeyedChunk>>(CHANNEL_CHUNKS);
        let (token_sender, token_receiver) = bounded::<Rows<TokenChunk>>(CHANNEL_CHUNKS);
        let splitter = Splitter::of_config(config, models, stop)?;
        let stage = ReadStage { config, reader, keys, splitter, on_event };
        let outcome = thread::scope(|scope| {
            let reading = spawn(scope, "reader", || {
                let mut texts = existing
                    .map(|existing| UnchangedTexts::new(existing, keys, config, *cache, stop))
                    .transpose()?;
                let mut none = NoFilter;
                let filter: &mut dyn GroupFilter = match &mut texts {
                    Some(texts) => texts,
                    None => &mut none,
                };
                let found = |number| existing.map(|existing| existing.group(number));
                stage.read((filter, &found), stop, clocks, row_sender)
            });
            let tokenizing = spawn(scope, "tokenizer", || {
                let sample = Sample::new(reader.rows(), config.cache.verify_sample);
                let ends = (row_receiver, token_sender);
                tokenize(config, by_column, (*cache, *published), sample, clocks, ends)
            });
            let inferred = in_stage("inference", || {
                if let Some(turn) = &turn {
                    turn.wait();
                }
                let mut new = new_vectors.lock().unwrap_or_else(PoisonError::into_inner);
                let known = (*cache, *published);
                let resolver = ChunkResolver::new(by_column.clone(), known, new.as_mut(), on_event);
                let to = (&mut writer, &mut table_keys);
                let inferred = infer(resolver, clocks, token_receiver, to);
                let committed_with = new.as_ref().map_or(0, CacheWriter::committed_with);
                // The next table may begin.
                drop((new, turn));
                Ok((inferred?, committed_with))
            });
            // Upstream first, because the error of a stage ends the stages after it.
            let read = join(reading);
            let tokenized = join(tokenizing);
            let read = read?;
            tokenized?;
            Ok::<_, Error>((inferred?, read))
        })
        .map_err(|error| add_input_file(error, &config.input.path));
        let ((totals, committed_with), read) =
            outcome.inspect_err(|_| on_event(Event::Stages(clocks.times())))?;
        if let RepeatedIds { count, first: Some(first) } = &read.repeated {
            let (count, first) = (*count, first.clone());
            on_event(Event::Warning(Warning::DuplicateIds { count, first }));
        }
        let damaged: u64 = totals.columns.iter().map(|column| column.damaged).sum();
        if let (Some(cache), true) = (cache, damaged > 0) {
            let (path, count) = (cache.path().to_owned(), damaged);
            on_event(Event::Warning(Warning::DamagedEntries { path, count }));
        }
        let limits = by_column.iter().map(|inference| inference.memory_limit()).collect();
        let keys = table_keys;
        Ok(EmbeddedTable { writer, keys, read, totals, replaced, limits, committed_with })
    }

    /// Writes the footer, and keeps the vectors that the output will displace.
    ///
    /// # Errors
    /// `Output` when the file cannot be written; `Target` when it has too few rows; `Cache` when the cache cannot be written.
    pub fn finish(
        &self,
        embedded: EmbeddedTable<'_>,
        role: Role,
        encoders: &Encoders<'_, '_>,
        clocks: &StageClocks,
    ) -> Result<FinishedTable> {
        let Table { config, reader, lock, forms, stop, on_event } = *self;
        let EmbeddedTable { writer, keys, read, totals, replaced, limits, .. } = embedded;
        stop.check()?;
        let repeated_ids = read.repeated.count;
        let of_columns: Vec<(Lineage, VectorForm)> =
            lineages(encoders.models).zip(forms.iter().cloned()).collect();
        reader.check_unchanged()?;
        let earlier = earlier_columns(config, reader, on_event)?;
        let finished = clocks.busy(Stage::Writer, || {
            let (staged, footer) = writer.finish(|contents| {
                footer_of(config, reader, &of_columns, contents, read, earlier).ok_or_else(|| {
                    Error::new(ErrorKind::Internal, "the output has no vector column (bug)")
                })
            })?;
            // How many rows have no text was not known before.
            let (max_shrink, replace) = (config.publish.max_shrink, config.run.replace);
            let existing = lock.existing().file();
            existing
                .check_replaceable(footer.input_rows.unwrap_or(footer.rows), max_shrink, replace)
                .map_err(|error| error.in_file(lock.path()))?;
            let Encoders { cache, published, commit_rows, .. } = *encoders;
            let known = (cache, published);
            let keys = keys.stage(staged.path(), lock.place(), role, known, commit_rows)?;
            if let Some(StagedKeys { evicted, not_stored, .. }) = &keys {
                encoders.add_displaced((*evicted, *not_stored));
            }
            Ok((staged, keys, footer))
        });
        let (staged, keys, footer) =
            finished.inspect_err(|_| on_event(Event::Stages(clocks.times())))?;
        Ok(FinishedTable { staged, keys, footer, repeated_ids, totals, replaced, limits })
    }

    /// Reads the file back and publishes it. What the report says of the whole run is left to the caller. Returns the
    /// keys of the table as well, if it has any.
    ///
    /// # Errors
    /// Those of [`StagedFile::publish`].
    pub fn publish(
        &self,
        finished: FinishedTable,
        models: &Models<'_>,
        clocks: &StageClocks,
    ) -> Result<(Report, Option<KeyFile>)> {
        let Table { config, reader, lock, forms, stop, on_event } = *self;
        let FinishedTable { staged, keys, footer, repeated_ids, totals, replaced, limits } =
            finished;
        let of_columns: Vec<(Lineage, VectorForm)> =
            lineages(models).zip(forms.iter().cloned()).collect();
        let on_rows = |rows| on_event(Event::ReadBack { rows });
        let published = clocks.busy(Stage::Writer, || {
            let mut kept = None;
            let published = staged.publish(lock, |path| {
                let input = (reader.table(), reader.groups());
                readback::check(path, lock.path(), input, &footer, stop, &on_rows)?;
                // Before the table: a table without keys costs time, and a run must not fail after it has published.
                kept = keys.map(|keys| keys.put(lock.place())).transpose()?.flatten();
                Ok(())
            })?;
            Ok::<_, Error>((published, kept))
        });
        on_event(Event::Stages(clocks.times()));
        let (published, keys) = published?;
        if published.sync == DirectorySync::NotOffered {
            on_event(Event::Warning(Warning::NoDirectorySync { path: published.path.clone() }));
        }
        let of_columns = config.embeddings.iter().zip(of_columns).zip(limits).zip(totals.columns);
        let written = models.by_column().zip(footer.embeddings()).zip(replaced);
        let columns = of_columns.zip(written).map(|(run, ((model, written), replaced_column))| {
            let (((embedding, (lineage, form)), limit), totals) = run;
            ColumnReport {
                column: embedding.column.clone(),
                form: form.to_footer(),
                lineage,
                runs_on: model.facts().runs_on.clone(),
                replaced_column,
                null_rows: written.null_rows,
                truncated_rows: totals.truncated,
                origins: totals.origins,
                work: totals.work,
                limit,
            }
        });
        let report = Report {
            rows: footer.rows,
            input_rows: footer.input_rows,
            dropped_rows: footer.dropped_rows,
            limit_rows: reader.limit(),
            repeated_ids,
            columns: columns.collect(),
            cache: None,
            elapsed: Duration::ZERO,
            model_load: None,
            limit_changes: 0,
            warnings: Vec::new(),
            output: published.path,
            output_bytes: published.bytes,
            output_unchanged: published.unchanged,
            peak_resident: None,
            tables: None,
        };
        Ok((report, keys))
    }
}

/// The footer entry of an output.
fn footer_of(
    config: &Config,
    reader: &Reader,
    columns: &[(Lineage, VectorForm)],
    contents: Contents,
    read: ReadRows,
    earlier: Vec<EarlierColumn>,
) -> Option<Footer> {
    let Contents { rows, dropped_rows, copied, columns: written } = contents;
    let id = config.input.id.name().filter(|_| reader.columns().has_ids()).map(str::to_owned);
    let of_columns = config.embeddings.iter().zip(columns).zip(written);
    let of_columns = of_columns.zip(reader.columns().texts());
    let mut of_columns =
        of_columns.map(|(((embedding, (lineage, form)), written), text)| FooterColumn {
            column: embedding.column.clone(),
            lineage: lineage.clone(),
            text: FooterText::new(text.recipe(), text.names(), id.clone()),
            form: form.to_footer(),
            null_rows: written.null_rows,
            vectors: written.vectors,
            groups: written.groups,
        });
    let frame = FooterFrame {
        carry: reader.carry(),
        rows,
        dropped_rows,
        limit: reader.limit(),
        input_rows: config.embeddings.first.text.chunk().map(|_| read.rows),
        carried: copied.unwrap_or(read.carried),
        on_empty: config.output.on_empty,
        earlier,
    };
    let first = of_columns.next()?;
    Some(Footer::new(frame, first, of_columns.collect()))
}

/// The vector columns of the input's own footer that the output carries.
fn earlier_columns(
    config: &Config,
    reader: &Reader,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Vec<EarlierColumn>> {
    let Some(entry) = reader.table().footer_entry()? else { return Ok(Vec::new()) };
    let footer = match Footer::parse(&entry) {
        Ok(footer) => footer,
        Err(error) => {
            let reason = error.to_string();
            on_event(Event::Warning(Warning::UnreadLineage { reason }));
            return Ok(Vec::new());
        }
    };
    let columns = carried_columns(config, reader)?;
    let metadata = reader.table().metadata()?;
    let roots = metadata.schema.roots.iter().zip(&columns.carried);
    let carried: Vec<&str> =
        roots.filter(|(_, carried)| **carried).map(|(root, _)| root.name.as_str()).collect();
    Ok(footer.carried_on(|column| carried.contains(&column)))
}
