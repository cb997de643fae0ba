//! Vectors that are the mean of a text's chunks, compared with a computation in the test.

use std::sync::{Arc, Mutex};

use arrow_array::types::Float32Type;
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};

use super::*;
use crate::error::ErrorKind;
use crate::model::chunk_size::ChunkSize;
use crate::model::config::{TextOptions, Truncation};
use crate::model::fake::{Failure, FakeEncoder};

const CHUNK_TOKENS: usize = 24;
const OVERLAP: usize = 4;

fn size(tokens: usize, overlap: usize) -> ChunkSize {
    ChunkSize::new(NonZeroUsize::new(tokens).expect("not zero"), overlap).expect("a size")
}

fn config(written: &WrittenModel, pool: Option<ChunkSize>) -> ModelConfig {
    let text = TextOptions { pool, ..TextOptions::default() };
    ModelConfig { text, ..ModelConfig::from_directory(written.path()) }
}

fn open(written: &WrittenModel, pool: Option<ChunkSize>) -> Embedder {
    Embedder::open(&config(written, pool)).expect("a model")
}

fn pooled(written: &WrittenModel) -> Embedder {
    open(written, Some(size(CHUNK_TOKENS, OVERLAP)))
}

/// Texts of 0 to 400 words, most of several chunks; some are equal or have one chunk.
fn texts() -> Vec<String> {
    let words = ["the", "login", "file,", "of", "broken.", "user", "中文", "update", "qjx"];
    let text = |row: usize| {
        let words = (0..(row * 37) % 401).map(|at| words[(at * (row % 7 + 1) + row) % words.len()]);
        words.collect::<Vec<&str>>().join(" ")
    };
    (0..24).map(text).chain(["a".to_owned(), text(5)]).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn vector_is_the_mean_of_chunks_embedded_one_by_one() {
    for normalize in [true, false] {
        let written = ModelDirectory::tiny().prompt(Some("query: ")).normalize(normalize).write();
        let (pooled, plain) = (pooled(&written), open(&written, None));
        let size = size(CHUNK_TOKENS, OVERLAP);
        let texts = texts();
        let vectors = pooled.embed(&texts).expect("vectors");
        let mut several = 0;
        for (text, vector) in texts.iter().zip(vectors.rows()) {
            let ranges = plain.model.tokenizer.split(text, size).expect("chunks");
            let mut sums = vec![0.0_f64; plain.dim()];
            let mut all = 0.0;
            for range in &ranges {
                let chunk = &text[range.clone()];
                let tokens = plain.model.tokenizer.tokenize(chunk).expect("ids").ids.len();
                assert!(tokens <= CHUNK_TOKENS, "{chunk:?}");
                let alone = plain.embed(&[chunk]).expect("a vector");
                all += tokens as f64;
                for (sum, component) in sums.iter_mut().zip(alone.row(0)) {
                    *sum += tokens as f64 * f64::from(*component);
                }
            }
            let scale = match normalize {
                true => sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt(),
                false => all,
            };
            for (found, sum) in vector.iter().zip(&sums) {
                assert!((f64::from(*found) - sum / scale).abs() < 1e-7, "{text:?}");
            }
            match ranges.len() {
                1 => {
                    let plain = plain.embed(&[text]).expect("a vector");
                    assert_eq!(bits(vector), bits(plain.row(0)), "{text:?}");
                }
                _ => several += 1,
            }
        }
        assert!((15..texts.len() - 1).contains(&several), "{several}");
    }
}

#[test]
fn pooled_vectors_have_equal_bits_in_any_batch_and_rows_count_once() {
    let written = ModelDirectory::tiny().write();
    let texts = texts();
    let alone = pooled(&written);
    let expected: Vec<Vec<u32>> =
        texts.iter().map(|text| bits(alone.embed(&[text]).expect("a vector").row(0))).collect();
    for threads in [1, 3] {
        let threads = NonZeroUsize::new(threads);
        let config = ModelConfig { threads, ..config(&written, Some(size(CHUNK_TOKENS, OVERLAP))) };
        let embedder = Embedder::open(&config).expect("a model");
        for batch_size in [1, 2, 7, 1000] {
            let steps = Mutex::new(Vec::new());
            let record = |step: Progress| steps.lock().expect("no panic").push(step);
            let batch_size = NonZeroUsize::new(batch_size);
            let options =
                BatchOptions { batch_size, progress: Some(&record), ..BatchOptions::default() };
            let vectors = embedder.embed_with(&texts, &options).expect("vectors");
            let found: Vec<Vec<u32>> = vectors.rows().map(bits).collect();
            assert_eq!(found, expected, "{threads:?} threads, batches of {batch_size:?}");
            let work = vectors.work();
            assert_eq!(work.rows, texts.len() as u64);
            let sequences: u64 = work.batch_sizes.iter().map(|(size, n)| *size as u64 * n).sum();
            assert!(sequences > 10 * work.rows, "{sequences} chunks");
            let last = steps.into_inner().expect("no panic").pop();
            assert_eq!(last, Some(Progress { done: texts.len(), total: texts.len() }));
        }
    }
}

#[test]
fn batch_of_chunks_that_does_not_fit_is_split() {
    let written = ModelDirectory::tiny().write();
    let texts = texts();
    let with = |failure| {
        let config = config(&written, Some(size(CHUNK_TOKENS, OVERLAP)));
        let mut model = model::load(&config, &|_| ()).expect("a model");
        model.encoder = Arc::new(FakeEncoder::new(8, failure));
        Embedder::new(model).embed(&texts)
    };
    let expected = with(Failure::Never).expect("vectors");
    for failure in [Failure::AboveRows(1), Failure::AboveRows(5), Failure::Every(2)] {
        let vectors = with(failure).expect("vectors");
        assert_eq!(bits(vectors.as_slice()), bits(expected.as_slice()), "{failure:?}");
        assert_eq!(vectors.work().rows, texts.len() as u64, "{failure:?}");
    }
    let error = with(Failure::Always).expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
}

#[test]
fn arrays_and_task_rows_are_pooled_too() {
    let embedder = pooled(&ModelDirectory::tiny().write());
    let text = texts().remove(9);
    let expected = embedder.embed(&[&text]).expect("a vector");
    let array = StringArray::from_iter([None, Some(&text)]);
    let vectors = embedder.embed_array(&array, &BatchOptions::default()).expect("vectors");
    assert!(vectors.is_null(0));
    let vector = vectors.value(1);
    assert_eq!(bits(vector.as_primitive::<Float32Type>().values()), bits(expected.row(0)));
    let row = TaskRow { title: Some(text.clone()), ..TaskRow::default() };
    let vector = embedder.compute_embedding(&row).expect("a vector");
    assert_eq!(bits(&vector), bits(expected.row(0)));
    let counts = embedder.count_tokens(&[row]).expect("counts");
    assert_eq!(counts[0] as u64, expected.work().tokens);
    assert!(counts[0] > 256, "more than the model's maximum: {}", counts[0]);
}

#[test]
fn chunks_are_part_of_the_identity_and_make_no_text_too_long() {
    let written = ModelDirectory::tiny().write();
    let plain = open(&written, None);
    let pooled = pooled(&written);
    assert_ne!(plain.identity().fingerprint(), pooled.identity().fingerprint());
    assert_eq!(
        pooled.identity().differences(plain.identity()),
        [r#"chunks "none" there, "mean of 24 tokens, overlap 4" here"#]
    );
    let text = texts().remove(9);
    let expected = pooled.embed(&[&text]).expect("a vector");
    for truncation in [Truncation::Start, Truncation::Error] {
        let mut config = config(&written, Some(size(CHUNK_TOKENS, OVERLAP)));
        config.text.truncation = truncation;
        let embedder = Embedder::open(&config).expect("a model");
        assert_eq!(embedder.identity(), pooled.identity(), "{truncation:?}");
        assert!(!config.text.refuses_long_texts());
        let vectors = embedder.embed(&[&text]).expect("a vector");
        assert_eq!(bits(vectors.row(0)), bits(expected.row(0)), "{truncation:?}");
        let names = RowNames::unnamed(0);
        let limit = crate::limit::AdaptiveLimit::single().current();
        let texts = [(0, text.as_str())];
        let planned = tokenize_texts(&embedder.model.tokenizer, &names, 1, texts, limit);
        assert_eq!(planned.expect("batches").truncated, [0_usize; 0], "{truncation:?}");
    }
}

#[test]
fn size_that_does_not_fit_the_model_is_refused_when_it_is_loaded() {
    let written = ModelDirectory::tiny().prompt(Some("query: ")).write();
    for (tokens, expected) in [
        (257, "`text.chunk.tokens` is 257, more than the maximum length, 256 tokens"),
        (3, "`text.chunk.tokens` is 3, which leaves no room for text"),
    ] {
        let config = config(&written, Some(size(tokens, 0)));
        let error = Embedder::open(&config).err().expect("no model");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(error.advice_text().is_some());
    }
}
