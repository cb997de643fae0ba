//! Runs the job: threads, channels and joins, and nothing numeric.
//!
//! ```text
//!   reader ──[KeyedChunk]──► tokenizer ──[TokenChunk]──► inference + writer
//!    thread    bounded         thread     bounded          this thread
//!                                ▲ looks up texts            │ commits new vectors
//!                                └────────── cache ◄─────────┘
//! ```
//!
//! A stage owns its ends of the channels. They close when the stage ends, by success, error or panic.
//! A closed channel stops the neighbours and is not an error of theirs, so the error that the user
//! sees is the first real one. The output is published after every stage has joined without error.
//!
//! Memory is bounded: one chunk in each stage and [`CHANNEL_CHUNKS`] chunks in each channel.
//!
//! ```text
//!   prepare    what is checked before the first row    stages   what each thread does
//!   models     the models of the vector columns        clock    where the time goes
//!   lazy_inference  what embeds, made at the first text that needs it
//!   keys       the keys of the rows of an output       text_keys  those of an output that has none
//!   reuse      which rows need the model               unchanged  row groups whose vectors are copied
//!   batches    record batches in memory, without an output
//!   table      one table, from its first row to its output  turns  in which order tables use the model
//! ```

mod batches;
mod clock;
mod keys;
mod lazy_inference;
mod models;
mod precedents;
mod prepare;
mod reuse;
mod split;
mod stages;
mod table;
mod text_keys;
mod turns;
mod unchanged;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reembed_encoder::error::Result;
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::memory;
use reembed_encoder::model::ModelFacts;
use reembed_encoder::stop::Stop;

use crate::cache::{CacheReadyToPublish, Coverage, VectorCache};
use crate::config::{CacheMode, Config};
use crate::events::{Event, Report, Warning};
use crate::publish::{LockHolder, OutputLock};
use crate::reader::Reader;
pub use batches::{BatchJob, BatchVectors, embed_batches};
pub use clock::StageClocks;
pub(crate) use keys::{PreviousOutput, Role, delete as delete_keys, release};
pub use lazy_inference::{BatchWishes, LazyInference};
pub use models::{LazyModel, Models};
pub use precedents::calibration_precedents;
pub use prepare::{check_models, prepare};
pub use split::Splitter;
pub use stages::CHANNEL_CHUNKS;
pub(crate) use stages::add_input_file;
pub(crate) use table::{Encoders, Table};
pub(crate) use turns::{Turn, Turns};
pub(crate) use unchanged::{ExistingVectors, NoFilter, UnchangedTexts};

/// Options of this process, beside the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// The process that holds the lock of the output.
    pub lock: LockHolder,
    /// Bytes that a batch may take; overrides `batch.memory_limit`.
    pub memory_limit: Option<u64>,
    /// Time limit of this process; overrides `run.deadline`.
    pub deadline: Option<Duration>,
}

/// The open input, the locked output and the models of a run.
#[derive(Clone, Copy)]
pub struct Opened<'a> {
    /// The input.
    pub reader: &'a Reader,
    /// The output.
    pub lock: &'a OutputLock,
    /// The models.
    pub models: &'a Models<'a>,
}

/// Embeds every row of the input and publishes the output.
///
/// `on_event` is called from several threads, often, and should return quickly.
///
/// # Errors
/// The first error of a stage, naming its place; `Stopped` after a stop request or the deadline. The
/// existing output is then unchanged, unless the error [says otherwise](reembed_encoder::error::Error::is_after_publish).
pub fn run(
    config: &Config,
    options: RunOptions,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let deadline = options.deadline.or(config.run.deadline);
    let stop = &stop.with_deadline(deadline.and_then(|time| Instant::now().checked_add(time)));
    let (reader, _) = prepare(config)?;
    let lock = OutputLock::acquire(config, options.lock, &reader)?;
    let models = Models::find(config, lock.existing(), true, stop, on_event)?;
    let opened = Opened { reader: &reader, lock: &lock, models: &models };
    run_with(config, options.memory_limit, &opened, stop, on_event)
}

/// As [`run`], with the open input, the locked output and the models. `memory_limit` overrides
/// `batch.memory_limit`.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &Config,
    memory_limit: Option<u64>,
    opened: &Opened<'_>,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let started = Instant::now();
    let Opened { reader, lock, models } = *opened;
    let heard = Heard::default();
    let on_event = |event: Event| {
        heard.note(&event);
        on_event(event);
    };
    let forms = check_models(config, reader, lock.existing(), models, stop)?;
    let place = &config.output.place;
    let cache = VectorCache::open(&config.cache, place, config.run.rebuild, stop, &on_event)?;
    announce(models, cache.as_ref(), &on_event)?;
    let clocks = StageClocks::default();
    let table = Table { config, reader, lock, forms: &forms, stop, on_event: &on_event };
    let existing = table.existing_vectors(models, &[]);
    let previous = previous_output(config, lock, stop)?;
    let published = match (&previous, config.cache.mode) {
        (None, _) | (_, CacheMode::Off) => None,
        (Some(previous), _) => {
            let published = previous.published(place, stop);
            Some(if config.run.rebuild { published.of_this_run_alone() } else { published })
        }
    };
    let (finished, committed) = {
        let on_encode = |event: EncodeEvent| on_event(event.into());
        let wishes = BatchWishes::new(config, memory_limit, models);
        let inferences = LazyInference::all(models, wishes, stop, &on_event, &on_encode);
        let commit_rows = config.cache.commit_rows;
        let (cache_ref, published) = (cache.as_ref(), published.as_ref());
        let encoders = Encoders::new(models, &inferences, cache_ref, published, commit_rows);
        let embedded = table.embed(&encoders, existing.as_ref(), previous, &clocks, None);
        // Also after an error, so that the next run reuses the vectors.
        let committed = encoders.commit();
        let finished = table.finish(embedded?, Role::Table, &encoders, &clocks)?;
        (finished, sum(committed?, encoders.displaced()))
    };
    // Before the output is published, because the run must not fail after that.
    let cache = cache.map(|cache| cache.finish(Coverage::EveryRow, committed)).transpose()?;
    let (report, _) = table.publish(finished, models, &clocks)?;
    let cache = cache.map(CacheReadyToPublish::mark_published);
    let (warnings, limit_changes) = heard.into_parts();
    Ok(Report {
        cache,
        elapsed: started.elapsed(),
        model_load: models.load_time(),
        limit_changes,
        warnings,
        peak_resident: memory::peak_rss(),
        ..report
    })
}

/// How many entries of the cache were evicted, and how many vectors it did not store, by several writers.
pub(crate) fn sum(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1 + other.1)
}

/// The existing output with the keys of its rows, if vectors may be taken from it.
///
/// # Errors
/// `Stopped` when a stop is requested.
pub(crate) fn previous_output(
    config: &Config,
    lock: &OutputLock,
    stop: &Stop,
) -> Result<Option<PreviousOutput>> {
    if config.cache.mode != CacheMode::Off {
        text_keys::make(config, lock.place(), lock.existing(), stop)?;
    }
    Ok(PreviousOutput::open(lock.place(), lock.existing().file()))
}

/// Tells the vector cache and the user of the models of a run.
///
/// # Errors
/// `Cache` when the cache cannot be written.
pub(crate) fn announce(
    models: &Models<'_>,
    cache: Option<&VectorCache<'_>>,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    for model in models.distinct() {
        let ModelFacts { identity, notes, .. } = model.facts();
        if let Some(cache) = cache {
            cache.record_model(identity)?;
        }
        if let Some(precision) = notes.followed {
            on_event(Event::PrecisionFollowed(precision));
        }
        if let Some(warning) = &notes.precision {
            on_event(Event::Warning(Warning::Precision(warning.clone())));
        }
        if let Some(warning) = &notes.prompt {
            on_event(Event::Warning(Warning::Prompt(warning.clone())));
        }
    }
    Ok(())
}

/// What the report of a run keeps of its events.
#[derive(Default)]
pub(crate) struct Heard {
    warnings: Mutex<Vec<Warning>>,
    limit_changes: AtomicU64,
}

impl Heard {
    /// Notes an event.
    pub(crate) fn note(&self, event: &Event) {
        match event {
            Event::Warning(warning) => {
                let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                warnings.push(warning.clone());
            }
            Event::LimitChanged(_) => {
                self.limit_changes.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// The warnings in order, and how often a batch limit changed.
    pub(crate) fn into_parts(self) -> (Vec<Warning>, u64) {
        let warnings = self.warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        (warnings, self.limit_changes.into_inner())
    }
}
