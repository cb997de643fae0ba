//! Estimates what a run would do and cost: which rows it would compute, which it would reuse, how long that
//! takes and how many bytes it makes. Nothing is written.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use arrow::array::{Array, LargeStringArray};
use reembed_encoder::batch::{RowNames, strings};
use reembed_encoder::error::Result;
use reembed_encoder::inference::{Inference, Work};
use reembed_encoder::limit::{BatchLimit, BatchShape, TokenCount};
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::{ContentKey, ContentKeys};

use crate::cache::{self, CacheView, Lookup, VectorCache};
use crate::chunk::needs_vector;
use crate::config::{CacheConfig, CacheMode, Carry, Config};
use crate::footer::Lineage;
use crate::pipeline::{
    BatchWishes, ExistingVectors, LazyModel, Models, NoFilter, PreviousOutput, Splitter,
    UnchangedTexts, add_input_file,
};
use crate::publish::{self, ExistingTarget};
use crate::published::{PublishedVectors, ShortKey};
use crate::reader::{GroupFilter, Reader};
use crate::vectors::VectorForm;

/// Tokens that are embedded to measure the speed of this machine.
const TRIAL_TOKENS: usize = 4096;

/// Texts that an estimate with `run.limit` shows.
pub const PREVIEW_TEXTS: usize = 3;

/// The estimate of a run.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// Rows of the input that are read.
    pub rows: u64,
    /// The chunks of their texts, if each is a row of the output.
    pub chunks: Option<u64>,
    /// The vector columns, one or more.
    pub columns: Vec<ColumnEstimate>,
    /// Bytes that the output may have: its vectors, which hardly compress, and the carried columns.
    pub output_bytes: u64,
    /// Bytes by which the vector cache may grow.
    pub cache_growth: u64,
}

/// The estimate of one vector column.
#[derive(Debug, Clone)]
pub struct ColumnEstimate {
    /// Its name.
    pub column: String,
    /// Rows without text.
    pub empty_rows: u64,
    /// Rows whose vector is in the vector cache or in the existing output.
    pub reused_rows: u64,
    /// Rows with the text of an earlier row.
    pub duplicate_rows: u64,
    /// Rows whose text is cut at the model's maximum length.
    pub truncated_rows: u64,
    /// What the model would compute. Some reused vectors are computed again, to compare them; they are
    /// not counted.
    pub work: Work,
    /// The shape of the largest batch.
    pub largest: BatchShape,
    /// Bytes that the largest batch takes beside the weights; `None` if unknown.
    pub largest_bytes: Option<u64>,
    /// Bytes that a batch may take; `None` if there is no budget.
    pub budget: Option<u64>,
    /// The batch limit of the plan.
    pub limit: BatchLimit,
    /// The time to embed its texts, extrapolated from a short trial.
    pub duration: Duration,
    /// Bytes of the vectors before compression.
    pub vector_bytes: u64,
    /// The model that would make the vectors.
    pub lineage: Lineage,
    /// With `run.limit`, the first texts, at most [`PREVIEW_TEXTS`]: the row's number or id, and the text.
    pub preview: Vec<(String, String)>,
}

impl Estimate {
    /// The duration of the run, extrapolated from short trials.
    pub fn duration(&self) -> Duration {
        self.columns.iter().map(|column| column.duration).sum()
    }
}

/// Reads the whole input, looks its texts up as a run does, tokenizes the others, plans every batch, and
/// embeds a few batches to measure the speed. `forms` are those of the vector columns.
///
/// # Errors
/// Those of a run up to the inference stage.
pub fn estimate(
    config: &Config,
    reader: &Reader,
    existing: &ExistingTarget,
    models: &Models<'_>,
    forms: &[VectorForm],
) -> Result<Estimate> {
    let previous = PreviousOutput::open(&config.output.place, existing.file());
    let previous = previous.filter(|_| config.cache.mode != CacheMode::Off);
    let published = previous.map(|previous| previous.published(&config.output.place, &Stop::new()));
    estimate_tables(config, models, forms, published.as_ref(), |tables| {
        tables.add(config, reader, existing)
    })
}

/// As [`estimate`], for the tables that `add` adds. `published` has the vectors of those that are in place.
///
/// # Errors
/// As [`estimate`], and those of `add`.
pub fn estimate_tables(
    config: &Config,
    models: &Models<'_>,
    forms: &[VectorForm],
    published: Option<&PublishedVectors>,
    add: impl FnOnce(&mut TableCounter<'_, '_>) -> Result<()>,
) -> Result<Estimate> {
    let lineages = models.by_column().map(|model| Lineage::new(&model.facts().identity));
    let of_columns: Vec<(Lineage, VectorForm)> = lineages.zip(forms.iter().cloned()).collect();
    let keys: Vec<ContentKeys> =
        of_columns.iter().map(|(lineage, _)| ContentKeys::new(&lineage.fingerprint)).collect();
    let (output, stop) = (&config.output.place, Stop::new());
    let read_only = match config.cache.mode {
        mode @ (CacheMode::Off | CacheMode::Output) => mode,
        CacheMode::ReadOnly | CacheMode::ReadWrite => CacheMode::ReadOnly,
    };
    let cache = CacheConfig { mode: read_only, ..config.cache.clone() };
    let cache = VectorCache::open(&cache, output, config.run.rebuild, &stop, &|_| ())?;
    models.load(&stop)?;
    let wishes = BatchWishes::new(config, None, models);
    let loaded: Vec<&Model> = models.distinct().iter().filter_map(LazyModel::loaded).collect();
    let inferences: Vec<Inference<'_>> = loaded
        .iter()
        .map(|model| {
            let settings = wishes.settings(model);
            Inference::new(model.encoder.as_ref(), settings.limit, settings.budget, &|_| ())
        })
        .collect();
    let columns = models
        .numbers()
        .zip(&keys)
        .map(|(number, keys)| ColumnCounter::new(loaded[number], &inferences[number], keys));
    let splitter = Splitter::of_config(config, models, &stop)?;
    let mut tables = TableCounter {
        of_columns: &of_columns,
        keys: &keys,
        cache: cache.as_ref(),
        published: published.filter(|_| !config.run.rebuild),
        columns: columns.collect(),
        seen: HashMap::new(),
        splitter,
        rows: 0,
        chunks: 0,
        input_bytes: 0,
        stop: &stop,
    };
    add(&mut tables)?;
    let TableCounter { columns, splitter, rows, chunks, input_bytes, .. } = tables;
    let counted = config.embeddings.iter().zip(columns).zip(forms);
    let counted =
        counted.map(|((embedding, column), form)| column.finish(embedding.column.clone(), form));
    let chunks = splitter.map(|_| chunks);
    let columns: Vec<ColumnEstimate> = counted.collect();
    let bytes_per_row = forms.iter().map(VectorForm::bytes_per_row).sum();
    let of_output = chunks.unwrap_or(rows);
    let new = of_columns.iter().zip(&columns);
    let growth = new.map(|((lineage, _), column)| {
        cache::max_growth(&config.cache, output, column.work.rows, lineage.model.dimension)
    });
    Ok(Estimate {
        rows,
        chunks,
        output_bytes: publish::estimate_output_bytes(of_output, bytes_per_row, input_bytes),
        cache_growth: growth.sum(),
        columns,
    })
}

/// Counts what a run would do for tables.
pub struct TableCounter<'a, 'c> {
    of_columns: &'a [(Lineage, VectorForm)],
    keys: &'a [ContentKeys],
    cache: Option<&'a VectorCache<'c>>,
    published: Option<&'a PublishedVectors>,
    columns: Vec<ColumnCounter<'a>>,
    /// The texts so far that are computed, and whether they are truncated. A text is computed once,
    /// whatever column or table has it.
    seen: HashMap<u64, bool>,
    splitter: Option<Splitter<'a>>,
    rows: u64,
    chunks: u64,
    input_bytes: u64,
    stop: &'a Stop,
}

impl TableCounter<'_, '_> {
    /// Adds a table that the run would read, with its configuration.
    ///
    /// # Errors
    /// Those of a run up to the inference stage, naming the input.
    pub fn add(
        &mut self,
        config: &Config,
        reader: &Reader,
        existing: &ExistingTarget,
    ) -> Result<()> {
        self.count(config, reader, existing)
            .map_err(|error| add_input_file(error, &config.input.path))
    }

    /// Adds a table that the run would not open: its rows, and for each vector column how many have no
    /// vector and how many a truncated text.
    pub fn add_unchanged(&mut self, rows: u64, columns: impl Iterator<Item = (u64, u64)>) {
        self.rows += rows;
        for (column, (empty, truncated)) in self.columns.iter_mut().zip(columns) {
            column.empty_rows += empty;
            column.reused_rows += rows.saturating_sub(empty);
            column.truncated_rows += truncated;
        }
    }

    fn count(&mut self, config: &Config, reader: &Reader, existing: &ExistingTarget) -> Result<()> {
        self.input_bytes += reader.bytes();
        let copied = match reader.carry() {
            Carry::Copy => ExistingVectors::open(config, existing.file(), &[], self.of_columns),
            Carry::Reencode => None,
        };
        let mut unchanged = copied
            .as_ref()
            .map(|copied| UnchangedTexts::new(copied, self.keys, config, self.cache, self.stop))
            .transpose()?;
        let mut nothing = NoFilter;
        let filter: &mut dyn GroupFilter = match &mut unchanged {
            Some(unchanged) => unchanged,
            None => &mut nothing,
        };
        let mut reading = reader.chunks();
        while let Some(next) = reading.next_rows(filter) {
            let chunk = match next? {
                Ok(chunk) => chunk,
                Err(number) => {
                    let group = copied.as_ref().map(|copied| copied.group(number));
                    let digests = group.into_iter().flat_map(|group| group.digests);
                    let mut rows_of_group = 0;
                    for (column, digest) in self.columns.iter_mut().zip(digests) {
                        column.empty_rows += digest.null_rows;
                        column.reused_rows += digest.rows - digest.null_rows.min(digest.rows);
                        column.truncated_rows += digest.truncated;
                        rows_of_group = digest.rows;
                    }
                    self.rows += rows_of_group;
                    continue;
                }
            };
            self.rows += chunk.len() as u64;
            let parts = match &self.splitter {
                Some(splitter) => splitter.split(&chunk)?,
                None => vec![chunk],
            };
            for chunk in parts {
                self.chunks += chunk.len() as u64;
                let mut view = self.cache.map(VectorCache::view).transpose()?;
                for (column, texts) in self.columns.iter_mut().zip(&chunk.texts) {
                    let known = (view.as_mut(), self.published);
                    column.add(config, (&chunk.rows, texts), known, &mut self.seen)?;
                }
            }
        }
        Ok(())
    }
}

/// Counts what a run would do for a vector column.
struct ColumnCounter<'a> {
    model: &'a Model,
    inference: &'a Inference<'a>,
    keys: &'a ContentKeys,
    counting: TokenCount,
    limit: BatchLimit,
    empty_rows: u64,
    reused_rows: u64,
    duplicate_rows: u64,
    truncated_rows: u64,
    preview: Vec<(String, String)>,
    work: Work,
    largest: BatchShape,
    trial_tokens: usize,
    trial: Duration,
}

impl<'a> ColumnCounter<'a> {
    fn new(
        model: &'a Model,
        inference: &'a Inference<'a>,
        keys: &'a ContentKeys,
    ) -> ColumnCounter<'a> {
        ColumnCounter {
            model,
            inference,
            keys,
            counting: TokenCount::from_padding(model.encoder.pads()),
            limit: inference.memory_limit(),
            empty_rows: 0,
            reused_rows: 0,
            duplicate_rows: 0,
            truncated_rows: 0,
            preview: Vec::new(),
            work: Work::default(),
            largest: BatchShape::default(),
            trial_tokens: 0,
            trial: Duration::ZERO,
        }
    }

    /// Counts the texts of a chunk. `seen` has the texts so far that are computed, and whether they are
    /// truncated.
    fn add(
        &mut self,
        config: &Config,
        (rows, texts): (&RowNames, &LargeStringArray),
        (view, published): (Option<&mut CacheView<'_>>, Option<&PublishedVectors>),
        seen: &mut HashMap<u64, bool>,
    ) -> Result<()> {
        let shown = match config.run.limit {
            Some(_) => PREVIEW_TEXTS - self.preview.len(),
            None => 0,
        };
        let first = strings(texts).enumerate().take(shown);
        self.preview.extend(first.map(|(row, text)| (rows.name(row), text.to_owned())));
        let mut wanted = Vec::with_capacity(texts.len());
        let (mut computed, mut duplicates) = (Vec::new(), Vec::new());
        let known = self.known(texts, view, published)?;
        for (row, (text, (key, known))) in strings(texts).zip(known).enumerate() {
            if !needs_vector(config.output.on_empty, text, rows, row)? {
                self.empty_rows += 1;
                continue;
            }
            // Eight bytes suffice for an estimate, and keep its memory small.
            let short = ShortKey::from(&key).prefix();
            if seen.contains_key(&short) {
                duplicates.push(short);
                continue;
            }
            match known {
                Some(truncated) => {
                    self.reused_rows += 1;
                    self.truncated_rows += u64::from(truncated);
                }
                None => {
                    seen.insert(short, false);
                    computed.push((row, short));
                    wanted.push((row, text));
                }
            }
        }
        self.duplicate_rows += duplicates.len() as u64;
        let count = texts.len();
        let texts = tokenize_texts(&self.model.tokenizer, rows, count, wanted, self.limit)?;
        self.truncated_rows += texts.truncated.len() as u64;
        for (row, key) in computed {
            if texts.truncated.binary_search(&row).is_ok() {
                seen.insert(key, true);
            }
        }
        self.truncated_rows +=
            duplicates.iter().filter(|key| seen.get(key) == Some(&true)).count() as u64;
        // From the middle, where batches have an average length.
        let mut tried = Vec::new();
        for batch in texts.batches.iter().skip(texts.batches.len() / 2) {
            if self.trial_tokens >= TRIAL_TOKENS {
                break;
            }
            self.trial_tokens += self.counting.tokens(batch.shape());
            tried.push(batch.clone());
        }
        if !tried.is_empty() {
            let started = Instant::now();
            self.inference.embed(rows, count, tried)?;
            self.trial += started.elapsed();
        }
        for batch in &texts.batches {
            self.work.count(batch, self.model.encoder.pads());
            if self.counting.tokens(batch.shape()) > self.counting.tokens(self.largest) {
                self.largest = batch.shape();
            }
        }
        Ok(())
    }

    /// The key of each text, and whether it is truncated if its vector is known.
    fn known(
        &self,
        texts: &LargeStringArray,
        mut view: Option<&mut CacheView<'_>>,
        published: Option<&PublishedVectors>,
    ) -> Result<Vec<(ContentKey, Option<bool>)>> {
        let dim = self.inference.dim();
        let mut vector = vec![0.0; dim];
        let mut known = Vec::with_capacity(texts.len());
        for text in strings(texts) {
            let key = self.keys.key(text);
            let found = match &mut view {
                Some(view) => view.find(&key, &mut vector)?,
                None => Lookup::Absent,
            };
            known.push((
                key,
                match found {
                    Lookup::Found(cached) => Some(cached.truncated),
                    Lookup::Absent | Lookup::Damaged => None,
                },
            ));
        }
        if let Some(published) = published {
            let absent: Vec<usize> =
                (0..known.len()).filter(|row| known[*row].1.is_none()).collect();
            let keys: Vec<ContentKey> = absent.iter().map(|row| known[*row].0).collect();
            published.find(&keys, dim, false, |found, _| {
                known[absent[found.at]].1 = Some(found.measure.is_some_and(|(_, cut)| cut));
            })?;
        }
        Ok(known)
    }

    fn finish(self, column: String, form: &VectorForm) -> ColumnEstimate {
        let duration = match self.trial_tokens {
            0 => Duration::ZERO,
            tokens => self.trial.mul_f64(self.work.padded_tokens as f64 / tokens as f64),
        };
        ColumnEstimate {
            column,
            empty_rows: self.empty_rows,
            reused_rows: self.reused_rows,
            duplicate_rows: self.duplicate_rows,
            truncated_rows: self.truncated_rows,
            vector_bytes: self.work.rows * form.bytes_per_row(),
            work: self.work,
            largest: self.largest,
            largest_bytes: self.model.encoder.bytes_for(self.largest),
            budget: self.inference.budget(),
            limit: self.limit,
            duration,
            lineage: Lineage::new(&self.model.facts.identity),
            preview: self.preview,
        }
    }
}
