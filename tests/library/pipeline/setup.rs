//! Models and runs shared by the tests.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;
use std::{fs, thread};

use reembed::{Config, Event, Report, Result, Stop, TaskRow, build_input_text};
use reembed_encoder::batch::TokenBatch;
use reembed_encoder::limit::LimitChange;
use reembed_encoder::model::fake::{Failure, FakeEncoder};
use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::model::{EncodeError, Encoder, Model, ModelFacts};
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};

use crate::common::{Before, load, prepare, read_parquet, run_opened, task};

/// Components of the fake encoder's vectors.
pub const DIM: usize = 8;

pub static TINY: LazyLock<WrittenModel> = LazyLock::new(|| ModelDirectory::tiny().write());

pub fn with_encoder(encoder: impl Encoder + 'static) -> Model {
    let model = load(TINY.path());
    let identity = ModelIdentity { dimension: encoder.dim(), ..model.facts.identity };
    let facts = ModelFacts { identity, ..model.facts };
    Model { encoder: Arc::new(encoder), facts, ..model }
}

pub fn fake(failure: Failure) -> Model {
    with_encoder(FakeEncoder::new(DIM, failure))
}

/// The fake encoder, which calls `act` before each batch.
pub fn before<F>(act: F) -> Model
where
    F: Fn(u64, &TokenBatch) -> Result<(), EncodeError> + Send + Sync + 'static,
{
    let fake: Box<dyn Encoder> = Box::new(FakeEncoder::new(DIM, Failure::Never));
    with_encoder(Before::new(fake, act))
}

/// Runs the job and returns its events.
pub fn run(config: &Config, model: &Model) -> Result<(Report, Vec<Event>)> {
    let events = Mutex::new(Vec::new());
    let (reader, lock) = prepare(config)?;
    let never = Stop::new();
    let tell = |event| events.lock().expect("no panic").push(event);
    let report = run_opened(config, (&reader, &lock), model, &never, &tell)?;
    Ok((report, events.into_inner().expect("no panic")))
}

pub fn within_ten_seconds<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(Duration::from_secs(10))
        .expect("the run ends within 10 s, without a panic")
}

/// The vector of each row, embedded alone.
pub fn alone(
    model: &Model,
    encoder: &dyn Encoder,
    rows: &[TaskRow],
    nulls: bool,
) -> Vec<Option<Vec<f32>>> {
    let embed = |row: &TaskRow| {
        let text = build_input_text(row);
        if nulls && text.is_empty() {
            return None;
        }
        let mut batch = TokenBatch::default();
        batch.push(0, &model.tokenizer.tokenize(&text).expect("ids").ids);
        let mut vector = vec![0.0; encoder.dim()];
        encoder.encode(&batch, &mut vector).expect("a vector");
        Some(vector)
    };
    rows.iter().map(embed).collect()
}

pub fn limits(events: &[Event]) -> Vec<LimitChange> {
    let change = |event: &Event| match event {
        Event::LimitChanged(change) => Some(*change),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

/// Rows of different lengths.
pub fn plain(count: usize) -> Vec<TaskRow> {
    let words = ["fix", "the", "login", "page", "after", "an", "upgrade", "of", "its", "cache"];
    let title = |n: usize| {
        let words: Vec<&str> =
            (0..1 + n * 7 % 23).map(|at| words[(n + at) % words.len()]).collect();
        words.join(" ")
    };
    (0..count).map(|n| task(format!("T-{n}"), title(n))).collect()
}

/// Overwrites the pages of a column in one row group.
pub fn damage(path: &Path, group: usize, column: &str) {
    let metadata = read_parquet(path).metadata;
    let columns = metadata.row_group(group).columns();
    let chunk = columns.iter().find(|chunk| chunk.column_path().string() == column).expect(column);
    let (start, length) = chunk.byte_range();
    let mut bytes = fs::read(path).expect("an input");
    bytes[start as usize..(start + length) as usize].fill(0xff);
    fs::write(path, bytes).expect("an input");
}
