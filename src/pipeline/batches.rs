//! Embeds the rows of record batches in memory, as a run embeds those of a file: equal texts once, and
//! what the vector cache has not at all. Nothing is written but the cache.

use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use reembed_encoder::batch::{RowNames, strings};
use reembed_encoder::error::Result;
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::inference::{Work, allocate};
use reembed_encoder::limit::RequestedLimits;
use reembed_encoder::model::Model;
use reembed_encoder::position::Position;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use super::lazy_inference::{BatchWishes, LazyInference};
use super::models::Models;
use super::reuse::{ChunkResolver, Sample, look_up, tokenize_part};
use crate::cache::{CacheWriter, Coverage, VectorCache};
use crate::chunk::TokenChunk;
use crate::config::{CacheConfig, OnEmpty, OutputPlace};
use crate::events::{Event, RowsByOrigin, Warning};
use crate::reader::BatchColumns;
use crate::vectors::Components;

/// Rows that are looked up, tokenized and planned together.
const CHUNK_ROWS: usize = 1024;

/// What embeds the rows.
pub struct BatchJob<'a> {
    /// The model, with its prompt.
    pub model: &'a Model,
    /// The components that are returned. The cache has whole vectors.
    pub components: Components,
    /// The vector cache, and where it is.
    pub cache: Option<(CacheConfig, OutputPlace)>,
    /// The limits that the user set.
    pub requested: RequestedLimits,
    /// Ends the work early.
    pub stop: &'a Stop,
    /// Hears of the rows that are done, from any thread, and the encoder waits for it.
    pub on_rows: &'a (dyn Fn(u64) + Sync),
}

/// The vectors of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchVectors {
    /// Row-major, `rows × kept`; zeros for a row without text.
    pub values: Vec<f32>,
    /// Whether each row has a text, and so a vector.
    pub present: Vec<bool>,
    /// The origins of the vectors.
    pub origins: RowsByOrigin,
    /// Rows whose text was cut at the model's maximum length.
    pub truncated: u64,
    /// What the model computed.
    pub work: Work,
    /// What the user should know, such as a damaged cache that was replaced.
    pub warnings: Vec<Warning>,
}

/// Embeds the rows of `batches`, whose texts `columns` builds, in order.
///
/// # Errors
/// Those of the texts and of the model, naming the row; `CacheBusy` when another process has the cache
/// open for longer than `cache.wait`; `Cache` when it cannot be read or written, or a cached vector
/// differs from the model's; `Stopped` after a stop request. New vectors are then in the cache.
pub fn embed_batches(
    job: &BatchJob<'_>,
    columns: &BatchColumns,
    batches: &[RecordBatch],
) -> Result<BatchVectors> {
    let warnings = Mutex::new(Vec::new());
    let on_event = |event: Event| {
        if let Event::Warning(warning) = event {
            warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        }
    };
    let cache = match &job.cache {
        Some((config, place)) => VectorCache::open(config, place, false, job.stop, &on_event)?,
        None => None,
    };
    if let Some(cache) = &cache {
        cache.record_model(&job.model.facts.identity)?;
    }
    let commit_rows = job.cache.as_ref().map_or(1, |(config, _)| config.commit_rows.get());
    let mut writer = cache.as_ref().and_then(|cache| cache.writer(commit_rows));
    let embedded = embed(job, columns, batches, (cache.as_ref(), writer.as_mut(), &on_event));
    // Also after an error, so that the next call reuses the vectors.
    let committed = writer.as_mut().map_or(Ok(()), CacheWriter::commit);
    let totals = writer.map_or((0, 0), |writer| writer.totals());
    let mut vectors = embedded?;
    committed?;
    if let Some(cache) = cache {
        // Other rows than those of this call may use the cache.
        cache.finish(Coverage::ChangedTables, totals)?.close();
    }
    vectors.warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(vectors)
}

/// The cache, what writes it, and what hears of events.
type Reuse<'c, 'w, 's, 'e> =
    (Option<&'c VectorCache<'c>>, Option<&'w mut CacheWriter<'s>>, &'e (dyn Fn(Event) + Sync));

fn embed<'c>(
    job: &BatchJob<'_>,
    columns: &BatchColumns,
    batches: &[RecordBatch],
    (cache, writer, on_event): Reuse<'c, '_, '_, 'c>,
) -> Result<BatchVectors> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let position = Mutex::new(Position::default());
    let advance = |step: &dyn Fn(&mut Position)| {
        // Locked until the listener returns, so that no later position overtakes this one.
        let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
        let before = position.shown().rows;
        step(&mut position);
        let done = position.shown().rows;
        if done > before {
            (job.on_rows)(done);
        }
    };
    let on_encode = |event: EncodeEvent| match event {
        EncodeEvent::BatchStarted(_) => advance(&|position| position.start_batch()),
        EncodeEvent::PartDone { rows, tokens } => {
            advance(&|position| position.add_part(rows, tokens));
        }
        EncodeEvent::BatchDone { rows, tokens } => {
            advance(&|position| position.finish_batch(rows, tokens));
        }
        EncodeEvent::LimitChanged(_) => {}
    };
    let models = Models::shared(job.model, 1);
    let wishes = BatchWishes { requested: job.requested, memory_limit: None, models: 1 };
    let inferences = LazyInference::all(&models, wishes, job.stop, on_event, &on_encode);
    let keys = ContentKeys::new(&job.model.facts.identity.fingerprint());
    let reused_sample = job.cache.as_ref().map_or(0, |(config, _)| config.verify_sample);
    let mut sample = Sample::new(rows as u64, reused_sample);
    let refuses_long_texts = false;
    let treatment = (OnEmpty::Null, refuses_long_texts);
    let empty = RecordBatch::new_empty(Schema::empty().into());

    let mut values = allocate(rows.saturating_mul(job.components.kept()))?;
    let mut present = Vec::with_capacity(rows);
    let mut scaled = Vec::new();
    let mut first_row = 0;
    let mut resolver =
        ChunkResolver::new(inferences.iter().collect(), (cache, None), writer, on_event);
    let pieces = batches.iter().flat_map(|batch| {
        let starts = (0..batch.num_rows()).step_by(CHUNK_ROWS);
        starts.map(move |start| batch.slice(start, CHUNK_ROWS.min(batch.num_rows() - start)))
    });
    for piece in pieces {
        job.stop.check()?;
        let inference = &inferences[0];
        let texts = columns.texts(first_row, &piece)?;
        let names = RowNames::unnamed(first_row);
        let of_texts: Vec<_> = strings(&texts).map(|text| keys.key(text)).collect();
        let view = cache.map(VectorCache::view).transpose()?;
        let column = (&names, &texts, of_texts.as_slice());
        let known = look_up(column, (view, None), inference.dim(), treatment, &mut sample)?;
        let part = tokenize_part(inference, (&names, &texts, of_texts), known)?;
        let chunk =
            TokenChunk { columns: empty.clone(), rows: names, parts: None, tokens: vec![part] };
        for (vectors, _) in resolver.resolve(chunk)?.vectors {
            for (row, is_present) in vectors.present.iter().enumerate() {
                let vector = &vectors.values[row * inference.dim()..][..inference.dim()];
                match is_present {
                    true => values.extend_from_slice(job.components.of(vector, &mut scaled)),
                    false => values.resize(values.len() + job.components.kept(), 0.0),
                }
            }
            present.extend_from_slice(&vectors.present);
            let without_batch = (piece.num_rows() as u64).saturating_sub(vectors.work.rows);
            advance(&|position| position.add_rows(without_batch as usize));
        }
        first_row += piece.num_rows() as u64;
    }
    let totals = resolver.into_totals().columns.swap_remove(0);
    if let (1.., Some(cache)) = (totals.damaged, cache) {
        let path = cache.path().to_owned();
        on_event(Event::Warning(Warning::DamagedEntries { path, count: totals.damaged }));
    }
    Ok(BatchVectors {
        values,
        present,
        origins: totals.origins,
        truncated: totals.truncated,
        work: totals.work,
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use arrow::array::{ArrayRef, StringArray};
    use reembed_encoder::model::config::ModelConfig;
    use reembed_encoder::{Embedder, ErrorKind};
    use reembed_testing::model_directory::ModelDirectory;

    use super::*;
    use crate::config::{Origin, RawConfig};
    use crate::text::TextRecipe;

    fn tiny() -> Embedder {
        let directory = ModelDirectory::tiny().write();
        Embedder::open(&ModelConfig::from_directory(directory.path())).expect("a model")
    }

    fn batch(texts: &[Option<&str>]) -> RecordBatch {
        let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("t", column, true)]).expect("a batch")
    }

    fn run(
        embedder: &Embedder,
        batches: &[RecordBatch],
        cache: Option<&std::path::Path>,
        prompt: &str,
    ) -> Result<BatchVectors> {
        let recipe = TextRecipe::columns(vec!["t".into()]);
        let columns = BatchColumns::find(batches[0].schema_ref(), &recipe)?;
        let cache = cache.map(|path| {
            let mut raw = RawConfig::default();
            raw.set_path("cache.path", path, Origin::Flag("cache")).expect("a path");
            let config = raw.check_cache().expect("a configuration");
            let config = CacheConfig { wait: std::time::Duration::ZERO, ..config };
            (config, OutputPlace::alone(path.to_owned()))
        });
        let done = AtomicU64::new(0);
        let dim = embedder.dim();
        let model = embedder.model().with_prompt(prompt)?;
        let job = BatchJob {
            model: &model,
            components: Components::first(dim, dim, false),
            cache,
            requested: RequestedLimits { start: NonZeroUsize::new(2), ..Default::default() },
            stop: &Stop::new(),
            on_rows: &|rows| {
                let before = done.swap(rows, Ordering::Relaxed);
                assert!(before < rows, "{before} before {rows}");
            },
        };
        let vectors = embed_batches(&job, &columns, batches)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(done.into_inner(), rows as u64, "every row is told");
        Ok(vectors)
    }

    #[test]
    fn rows_have_the_vectors_of_their_texts_and_none_without_text() {
        let embedder = tiny();
        let texts = [Some("login"), None, Some("loop"), Some(""), Some("login")];
        let batches = [batch(&texts[..2]), batch(&texts[2..])];
        let found = run(&embedder, &batches, None, "").expect("vectors");
        assert_eq!(found.present, [true, false, true, false, true]);
        let vectors = embedder.embed(&["login", "loop"]).expect("vectors");
        let zeros = vec![0.0; embedder.dim()];
        let (login, loops) = (vectors.row(0), vectors.row(1));
        assert_eq!(found.values, [login, &zeros, loops, &zeros, login].concat());
        let prompted = run(&embedder, &batches, None, "fix ").expect("vectors");
        let expected = embedder.embed(&["fix login"]).expect("a vector");
        assert_eq!(prompted.values[..embedder.dim()], *expected.row(0));
        assert!(!prompted.present[1], "a prompt alone is no text");
    }

    #[test]
    fn equal_texts_are_embedded_once() {
        let embedder = tiny();
        let found = run(&embedder, &[batch(&[Some("a"), Some("b"), Some("a")])], None, "");
        let found = found.expect("vectors");
        assert_eq!((found.work.rows, found.origins.duplicate), (2, 1));
    }

    #[test]
    fn cache_spares_the_model_what_an_earlier_call_computed() {
        let embedder = tiny();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("vectors.cache");
        let rows = [batch(&[Some("login"), None, Some("loop")])];
        let first = run(&embedder, &rows, Some(&path), "").expect("vectors");
        assert_eq!((first.work.rows, first.origins.reused), (2, 0));
        let again = run(&embedder, &rows, Some(&path), "").expect("vectors");
        assert_eq!((again.values, again.present), (first.values, first.present));
        // One row is embedded again, to compare it.
        assert_eq!((again.work.rows, again.origins.reused), (1, 2));
        let other = run(&embedder, &rows, Some(&path), "fix ").expect("vectors");
        assert_eq!(other.origins.reused, 0, "another prompt is another model");
    }

    #[test]
    fn busy_cache_is_refused_and_a_wrong_file_is_named() {
        let embedder = tiny();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("vectors.cache");
        let rows = [batch(&[Some("login")])];
        std::fs::write(&path, "no cache").expect("a file");
        let error = run(&embedder, &rows, Some(&path), "").expect_err("no cache");
        assert_eq!((error.kind(), error.place().file()), (ErrorKind::Cache, Some(path.as_path())));
    }
}
