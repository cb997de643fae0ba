//! The cost of writing, digesting, reading back and publishing 100,000 vectors of 384 components, without a
//! model.
//!
//! `cargo bench --bench publish`
//!
//! Three runs in a temporary directory: a new file, the same file again, and a changed file that replaces it.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, FixedSizeListArray, Float32Array};
use arrow::datatypes::{DataType, Field};
use reembed::chunk::{ResolvedChunk, RowChunk, RowFacts};
use reembed::config::{Carry, RawConfig};
use reembed::digest::{ColumnHasher, TableHasher};
use reembed::footer::{ColumnDigest, Footer, FooterColumn, FooterFrame, FooterText, Lineage};
use reembed::publish::readback;
use reembed::publish::{LockHolder, OutputLock};
use reembed::reader::{Decoded, Reader};
use reembed::vectors::VectorForm;
use reembed::writer::{Contents, Writer};
use reembed::{Config, Environment};
use reembed_cli::sample;
use reembed_encoder::inference::{ChunkVectors, Work};
use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::stop::Stop;

const ROWS: usize = 100_000;
const DIM: usize = 384;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let input = directory.path().join("in.parquet");
    sample::write_tasks(&input, sample::task_rows(ROWS as u64, 1)).expect("a sample");
    let text =
        format!("input.path = {input:?}\noutput.path = {:?}", directory.path().join("out.parquet"));
    let environment = Environment::new([("HOME".to_owned(), "/nowhere".to_owned())]);
    let config = RawConfig::parse(&text, &directory.path().join("pipeline.toml"))
        .and_then(|raw| raw.check(&environment))
        .expect("a configuration");
    let reader = Reader::open(&config.input, &config.embeddings.first.text, Decoded::All)
        .expect("the sample");
    // What the writer copies from.
    let copied = Reader::open(&config.input, &config.embeddings.first.text, Decoded::Text)
        .expect("the sample");
    let chunks: Vec<RowChunk> = reader.chunks().collect::<Result<_, _>>().expect("every chunk");

    let values = vectors(1);
    let array = {
        let child = Arc::new(Field::new("element", DataType::Float32, false));
        let values = Arc::new(Float32Array::from(values.clone()));
        FixedSizeListArray::new(child, DIM as i32, values, None)
    };
    let seconds = timed(|| {
        let mut hasher = ColumnHasher::new("v", array.data_type()).expect("floats");
        hasher.update(&array).expect("floats");
        hasher.finish()
    });
    println!("digest of {ROWS} vectors      {seconds:.3} s");
    let seconds = timed(|| carried_by_value(&reader, &chunks));
    println!("digest of the carried columns by value  {seconds:.3} s");
    let metadata = reader.table().metadata().expect("a footer");
    let all = vec![true; metadata.schema.roots.len()];
    let digests = || reembed::carried::digests(reader.table(), &metadata, &all, || Ok(()));
    let seconds = timed(|| digests().expect("digests"));
    println!("digest of the carried columns as bytes  {seconds:.3} s");
    for (night, values) in
        [("new file", &values), ("the same bytes", &values), ("another file", &vectors(2))]
    {
        let started = Instant::now();
        let lock = OutputLock::acquire(&config, LockHolder::ThisProcess, &reader).expect("a lock");
        let stop = Stop::new();
        let metadata = reader.table().metadata().expect("a footer");
        let columns = reembed::carried::select(&metadata, &config.output, &config.embeddings);
        let columns = columns.expect("columns");
        let forms = [VectorForm::of_model(DIM)];
        let mut writer =
            Writer::create(&config.output, &lock, &copied, columns, &forms, Vec::new(), &stop)
                .expect("a writer");
        let mut rest = values.as_slice();
        for chunk in &chunks {
            let rows = chunk.len();
            let (these, others) = rest.split_at(rows * DIM);
            rest = others;
            let vectors = ChunkVectors {
                values: these.to_vec(),
                present: vec![true; rows],
                work: Work::default(),
            };
            let chunk = ResolvedChunk {
                columns: chunk.columns.clone(),
                rows: chunk.rows.clone(),
                parts: None,
                vectors: vec![(vectors, RowFacts::default())],
            };
            writer.write(chunk).expect("written");
        }
        let (finished, footer) =
            writer.finish(|contents| Ok(footer(&config, contents))).expect("written");
        let written = started.elapsed().as_secs_f64();
        let (mut read_back, publishing) = (0.0, Instant::now());
        let published = finished.publish(&lock, |path| {
            let started = Instant::now();
            let input = (reader.table(), reader.groups());
            readback::check(path, lock.path(), input, &footer, &Stop::new(), &|_| ())?;
            read_back = started.elapsed().as_secs_f64();
            Ok(())
        });
        let published = published.expect("published");
        let publishing = publishing.elapsed().as_secs_f64();
        println!(
            "{night:<15} written in {written:.3} s, published in {publishing:.3} s, of it read back \
             {read_back:.3} s; {:.1} MB, unchanged: {}",
            published.bytes as f64 / 1e6,
            published.unchanged
        );
    }
}

/// The median of five runs.
fn timed<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(work());
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[2]
}

fn carried_by_value(reader: &Reader, chunks: &[RowChunk]) -> Vec<ColumnDigest> {
    let mut hasher = TableHasher::new(reader.schema(), |_| true).expect("columns");
    chunks.iter().for_each(|chunk| hasher.update(&chunk.columns).expect("columns"));
    hasher.finish()
}

/// Pseudo-random unit vectors, as incompressible as a model's.
fn vectors(seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values: Vec<f32> = (0..ROWS * DIM).map(|_| next()).collect();
    for vector in values.chunks_exact_mut(DIM) {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|component| *component /= length);
    }
    values
}

fn footer(config: &Config, mut contents: Contents) -> Footer {
    let lineage = Lineage::new(&ModelIdentity {
        id: "none".to_owned(),
        files: BTreeMap::new(),
        pooling: "mean".to_owned(),
        normalized: true,
        max_seq_length: 256,
        truncation: None,
        chunks: None,
        tokens: None,
        prompt: String::new(),
        dimension: DIM,
        precision: "f32".to_owned(),
        numerics: "none".to_owned(),
    });
    let embedding = &config.embeddings.first;
    let written = contents.columns.remove(0);
    let first = FooterColumn {
        column: embedding.column.clone(),
        lineage,
        text: FooterText::new(&embedding.text, Vec::new(), None),
        form: VectorForm::of_model(DIM).to_footer(),
        null_rows: written.null_rows,
        vectors: written.vectors,
        groups: written.groups,
    };
    let frame = FooterFrame {
        carry: Carry::Copy,
        rows: contents.rows,
        dropped_rows: contents.dropped_rows,
        limit: None,
        input_rows: None,
        carried: contents.copied.expect("copied columns"),
        on_empty: config.output.on_empty,
        earlier: Vec::new(),
    };
    Footer::new(frame, first, Vec::new())
}
