//! The forms of the vector column: values, layouts, cached vectors that stay good, and what is refused.

use std::fs;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Int8Type, UInt8Type};
use reembed::calibrate::calibrate;
use reembed::reader::{Decoded, Reader};
use reembed::vectors::RangesFile;
use reembed::verify::{self, Check, Sample, Verdict};
use reembed::{Config, ErrorKind, Report, TaskRow};
use reembed_encoder::model::Model;
use reembed_encoder::model::fake::{Failure, FakeEncoder};

use super::setup::{DIM, fake, plain, run, with_encoder};
use crate::common::{Job, Negated, length, read_parquet, task};

const TYPES: [&str; 6] = ["f32", "f16", "int8", "uint8", "binary", "ubinary"];

/// Thirty rows, of which one has no text.
fn rows() -> Vec<TaskRow> {
    let mut rows = plain(29);
    rows.insert(7, task("empty", ""));
    rows
}

/// Writes the ranges of `rows` of the job's input.
fn write_ranges(job: &Job, settings: &[&str], rows: u64, model: &Model) -> RangesFile {
    let config = job.calibration(settings);
    let reader = Reader::open(&config.input, &config.text, Decoded::Text).expect("an input");
    let ranges = calibrate(&config, &reader, model, rows).expect("ranges");
    fs::write(job.directory().join("ranges.json"), ranges.to_json().expect("JSON"))
        .expect("a file");
    ranges
}

/// The settings of a type, with the ranges that it needs.
fn settings(vector_type: &str) -> Vec<String> {
    let mut settings = vec![format!("vector.type = {vector_type:?}")];
    if vector_type.ends_with("int8") {
        settings.push("vector.ranges = \"ranges.json\"".to_owned());
    }
    settings
}

fn config(job: &Job, settings: &[String], more: &[&str]) -> Config {
    let all: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    job.config(&all)
}

fn report(config: &Config, model: &Model) -> Report {
    run(config, model).expect("a report").0
}

/// The vector of each row as f64, which holds every element exactly.
fn elements(path: &Path) -> (DataType, Vec<Option<Vec<f64>>>) {
    let table = read_parquet(path);
    let column = table.rows.column_by_name("embedding").expect("vectors").clone();
    let row = |row: usize| -> Option<ArrayRef> {
        match column.data_type() {
            _ if column.is_null(row) => None,
            DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
            _ => Some(column.as_list::<i32>().value(row)),
        }
    };
    let wide = |array: ArrayRef| -> Vec<f64> {
        match array.data_type() {
            DataType::Float32 => floats(array.as_primitive::<Float32Type>().values()),
            DataType::Float16 => {
                let halves = array.as_primitive::<Float16Type>().values();
                halves.iter().map(|half| half.to_f64()).collect()
            }
            DataType::Int8 => floats(array.as_primitive::<Int8Type>().values()),
            DataType::UInt8 => floats(array.as_primitive::<UInt8Type>().values()),
            other => panic!("elements of type {other}"),
        }
    };
    let vectors = (0..column.len()).map(|number| row(number).map(wide)).collect();
    (column.data_type().clone(), vectors)
}

fn floats<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| (*value).into()).collect()
}

/// What NumPy makes of a vector with the rules of sentence-transformers.
fn expected(vector_type: &str, vector: &[f32], ranges: &RangesFile) -> Vec<f64> {
    let steps = || {
        let ranges = ranges.min.iter().zip(&ranges.max).zip(vector);
        ranges.map(|((min, max), value)| {
            f64::from(((value - min) / ((max - min) / 255.0)).floor().clamp(0.0, 255.0))
        })
    };
    let bytes = || {
        vector.chunks(8).map(|eight| {
            let bits = eight.iter().enumerate().filter(|(_, value)| **value > 0.0);
            f64::from(bits.map(|(at, _)| 128u8 >> at).sum::<u8>())
        })
    };
    match vector_type {
        "f32" => floats(vector),
        // Its rounding is proven by the golden values; here it is close.
        "f16" => vector.iter().map(|value| f64::from(*value)).collect(),
        "int8" => steps().map(|step| step - 128.0).collect(),
        "uint8" => steps().collect(),
        "binary" => bytes().map(|byte| byte - 128.0).collect(),
        "ubinary" => bytes().collect(),
        other => panic!("{other}"),
    }
}

fn child(data_type: &DataType) -> DataType {
    match data_type {
        DataType::FixedSizeList(child, _) | DataType::List(child) => child.data_type().clone(),
        other => panic!("{other}"),
    }
}

fn verify(job: &Job, config: &Config, model: &Model) -> Vec<Check> {
    let (output, footer) = verify::open(&job.output()).expect("an output");
    let ranges =
        config.embeddings.first.vector.ranges.as_deref().map(reembed::vectors::Ranges::read);
    let ranges = ranges.transpose().expect("ranges");
    let sample = Sample { model, rows: 100, ranges: ranges.as_ref() };
    verify::verify(&config.input, &output, &footer, Some(&job.input()), &[sample]).expect("checks")
}

fn verdict(checks: &[Check], what: &str) -> Verdict {
    checks.iter().find(|check| check.what == what).expect(what).verdict
}

#[test]
fn every_type_and_layout_has_the_values_of_the_model() {
    let model = fake(Failure::Never);
    let job = Job::of(&rows());
    report(&job.config(&["vector.type = \"f32\""]), &model);
    let whole = read_parquet(&job.output()).vectors("embedding");
    for dims in [DIM, 5] {
        let forced = [format!("vector.dims = {dims}"), "vector.force_dims = true".to_owned()];
        let forced: Vec<&str> = forced.iter().map(String::as_str).collect();
        let ranges = write_ranges(&job, &forced, 10, &model);
        assert_eq!((ranges.dims, ranges.rows), (dims, 10));
        for vector_type in TYPES {
            for layout in ["fixed_size_list", "list"] {
                for carry in ["copy", "reencode"] {
                    let case = format!("{vector_type}, {dims}, {layout}, {carry}");
                    let layout = format!("vector.layout = {layout:?}");
                    let carry = format!("output.carry = {carry:?}");
                    let more = [&forced[..], &[&layout, &carry]].concat();
                    let config = config(&job, &settings(vector_type), &more);
                    let done = report(&config, &model);
                    assert_eq!(done.origins().encoded, 0, "{case}: the cache has every vector");
                    let (data_type, found) = elements(&job.output());
                    let element = match vector_type {
                        "f32" => DataType::Float32,
                        "f16" => DataType::Float16,
                        "int8" | "binary" => DataType::Int8,
                        _ => DataType::UInt8,
                    };
                    assert_eq!(child(&data_type), element, "{case}");
                    let is_fixed = matches!(data_type, DataType::FixedSizeList(..));
                    assert_eq!(is_fixed, layout.contains("fixed"), "{case}");
                    assert_eq!(found.len(), whole.len(), "{case}");
                    let tolerance = if vector_type == "f16" { 1.0 / 2048.0 } else { 0.0 };
                    for (row, (found, whole)) in found.iter().zip(&whole).enumerate() {
                        let whole = whole.as_deref().map(|vector| &vector[..dims]);
                        let wanted = whole.map(|vector| expected(vector_type, vector, &ranges));
                        let (Some(found), Some(wanted)) = (found, &wanted) else {
                            assert_eq!((found, row), (&wanted, 7), "{case}");
                            continue;
                        };
                        assert_eq!(found.len(), wanted.len(), "{case}, row {row}");
                        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs();
                        assert!(
                            found.iter().zip(wanted).all(close),
                            "{case}, row {row}: {found:?}, {wanted:?}"
                        );
                    }
                    let checks = verify(&job, &config, &model);
                    let broken = checks.iter().find(|check| check.verdict == Verdict::Failed);
                    assert_eq!(broken, None, "{case}");
                    let again = checks.iter().find(|check| check.what == "embedded again");
                    let again = again.expect("a check");
                    assert!(again.found.starts_with("29 rows"), "{case}: {again:?}");
                }
            }
        }
    }
}

#[test]
fn halves_are_plain_and_bytes_take_a_byte() {
    use parquet::basic::Encoding;
    let model = fake(Failure::Never);
    let job = Job::of(&plain(2000));
    write_ranges(&job, &[], 2000, &model);
    for carry in ["copy", "reencode"] {
        let carry = format!("output.carry = {carry:?}");
        // Polars 2.1 reads no other encoding of bytes in a fixed-size list with a null.
        for (vector_type, encoding) in
            [("f16", Encoding::PLAIN), ("int8", Encoding::PLAIN), ("f32", Encoding::PLAIN)]
        {
            report(&config(&job, &settings(vector_type), &[&carry]), &model);
            let metadata = read_parquet(&job.output()).metadata;
            let chunk = metadata.row_group(0).columns().last().expect("a chunk").clone();
            assert!(chunk.encodings().any(|found| found == encoding), "{vector_type}: {chunk:?}");
            let bytes_per_value = chunk.uncompressed_size() as f64 / chunk.num_values() as f64;
            assert!(bytes_per_value < 4.5, "{vector_type}: {bytes_per_value}");
        }
    }
}

#[test]
fn same_form_leaves_the_file_and_other_ranges_change_it() {
    let model = fake(Failure::Never);
    let job = Job::of(&rows());
    write_ranges(&job, &[], 10, &model);
    let config = config(&job, &settings("int8"), &[]);
    assert!(!report(&config, &model).output_unchanged);
    let first = fs::read(job.output()).expect("an output");
    let again = report(&config, &model);
    assert!(again.output_unchanged);
    assert_eq!((again.origins().encoded, again.origins().reused), (0, 29));
    // Rows of another night do not change those of this one: the ranges stay.
    let (_, before) = elements(&job.output());
    write_ranges(&job, &[], 3, &model);
    let other = report(&config, &model);
    assert_eq!((other.output_unchanged, other.origins().encoded), (false, 0));
    let (_, after) = elements(&job.output());
    assert_ne!(before, after);
    assert_ne!(fs::read(job.output()).expect("an output"), first);
}

#[test]
fn cut_vectors_are_scaled_before_they_are_converted() {
    let model = fake(Failure::Never);
    let job = Job::of(&rows());
    let cut = ["vector.dims = 3", "vector.force_dims = true"];
    report(&job.config(&cut), &model);
    let lengths = |job: &Job| -> Vec<f64> {
        read_parquet(&job.output())
            .vectors("embedding")
            .iter()
            .flatten()
            .map(|v| length(v))
            .collect()
    };
    assert!(lengths(&job).iter().any(|length| (length - 1.0).abs() > 0.01));
    let scaled = [&cut[..], &["vector.normalize = true"]].concat();
    let config = job.config(&scaled);
    report(&config, &model);
    assert!(lengths(&job).iter().all(|length| (length - 1.0).abs() < 1e-6));
    assert_eq!(verdict(&verify(&job, &config, &model), "length"), Verdict::Passed);
}

#[test]
fn dims_of_an_untrained_model_are_refused_before_any_work() {
    let job = Job::of(&rows());
    let refusal = |settings: &[&str], model: &Model| {
        let error = run(&job.config(settings), model).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert_eq!(job.beside_output(), Vec::<String>::new());
        error.to_string()
    };
    let model = fake(Failure::Never);
    let untrained = refusal(&["vector.dims = 4"], &model);
    assert!(untrained.contains("`vector.dims` is 4, but") && untrained.contains("not known to be"));
    let wide = refusal(&["vector.dims = 9", "vector.force_dims = true"], &model);
    assert!(wide.contains("`vector.dims` is 9, but the vectors of"), "{wide}");
    // Its configuration says what it was trained for, and that is also the default.
    let mut trained = fake(Failure::Never);
    trained.facts.truncate_dim = std::num::NonZeroUsize::new(4);
    refusal(&["vector.dims = 5"], &trained);
    for settings in [&["vector.dims = 4"][..], &[]] {
        report(&job.config(settings), &trained);
        let vectors = read_parquet(&job.output()).vectors("embedding");
        assert!(vectors.iter().flatten().all(|vector| vector.len() == 4), "{settings:?}");
    }
    report(&job.config(&["vector.dims = 8"]), &trained);
}

#[test]
fn ranges_of_another_model_or_width_are_refused() {
    let job = Job::of(&rows());
    let model = fake(Failure::Never);
    let ranges = write_ranges(&job, &[], 10, &model);
    let path = job.directory().join("ranges.json");
    let good = ranges.to_json().expect("JSON");
    let config = config(&job, &settings("uint8"), &[]);
    for (text, message) in [
        (good.replace(&ranges.fingerprint, "0123"), "the ranges were measured with another model"),
        (good.replace("\"normalize\": false", "\"normalize\": true"), "vectors that are scaled"),
        (good.replace("reembed-ranges/1", "reembed-ranges/9"), "its format is"),
        ("[1]".to_owned(), "it is no file of ranges"),
    ] {
        fs::write(&path, text).expect("a file");
        let error = run(&config, &model).expect_err(message);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.place().file(), Some(&*path), "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(job.beside_output(), Vec::<String>::new());
    }
    write_ranges(&job, &["vector.dims = 5", "vector.force_dims = true"], 10, &model);
    let error = run(&config, &model).expect_err("another width");
    assert!(
        error.to_string().contains("the ranges have 5 components, but vectors have 8"),
        "{error}"
    );
    fs::remove_file(&path).expect("a file");
    let error = run(&config, &model).expect_err("no file");
    assert!(
        error.advice_text().is_some_and(|advice| advice.contains("reembed calibrate")),
        "{error}"
    );
}

#[test]
fn verify_tells_vectors_of_another_form_or_model() {
    let job = Job::of(&rows());
    let model = fake(Failure::Never);
    write_ranges(&job, &[], 10, &model);
    for vector_type in TYPES {
        let config = config(&job, &settings(vector_type), &[]);
        report(&config, &model);
        // The same identity, other vectors.
        let flipped = with_encoder(Negated(FakeEncoder::new(DIM, Failure::Never)));
        let checks = verify(&job, &config, &flipped);
        assert_eq!(verdict(&checks, "embedded again"), Verdict::Failed, "{vector_type}");
        let is_float = vector_type.starts_with('f');
        let length = if is_float { Verdict::Passed } else { Verdict::Skipped };
        assert_eq!(verdict(&checks, "length"), length, "{vector_type}");
    }
    // Without the ranges, vectors cannot be made again.
    let config = config(&job, &settings("int8"), &[]);
    report(&config, &model);
    let (output, footer) = verify::open(&job.output()).expect("an output");
    let sample = Sample { model: &model, rows: 9, ranges: None };
    let checks = verify::verify(&config.input, &output, &footer, None, &[sample]).expect("checks");
    assert_eq!(verdict(&checks, "embedded again"), Verdict::Skipped);
    assert_eq!(verdict(&checks, "digests"), Verdict::Passed);
}

#[test]
fn ranges_are_those_of_the_sample_and_the_same_every_time() {
    let job = Job::of(&rows());
    let model = fake(Failure::Never);
    let all = write_ranges(&job, &[], 10_000, &model);
    assert_eq!(all.rows, 29, "a row without a text is left out");
    assert_eq!(
        all,
        write_ranges(&job, &["batch.start = 1", "input.chunk_rows = 3"], 10_000, &model)
    );
    report(&job.config(&[]), &model);
    let vectors = read_parquet(&job.output()).vectors("embedding");
    for component in 0..DIM {
        let values = || vectors.iter().flatten().map(|vector| vector[component]);
        assert_eq!(all.min[component], values().fold(f32::INFINITY, f32::min));
        assert_eq!(all.max[component], values().fold(f32::NEG_INFINITY, f32::max));
    }
    let job = Job::of(&[task("a", ""), task("b", "")]);
    let config = job.calibration(&[]);
    let reader = Reader::open(&config.input, &config.text, Decoded::Text).expect("an input");
    let error = calibrate(&config, &reader, &model, 5).expect_err("no text");
    assert_eq!(error.kind(), ErrorKind::Data);
}
