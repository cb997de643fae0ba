//! Long texts: a row for each chunk, or the mean of the chunks, as a user meets them.

use std::fs;
use std::process::Output;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float32Type, Int32Type, Int64Type};
use reembed_testing::model_directory::ModelDirectory;

use crate::command_line::Job;
use crate::common::{Table, read_parquet, write_parquet};
use crate::outcome::{done, footer, refused, text};

const CHUNK: &str = "text.chunk = { tokens = 16, overlap = 4 }\n";

/// Reviews: a long one, none, a short one with letters of two bytes, one that repeats the first.
fn reviews() -> Vec<String> {
    let long: Vec<String> =
        (0..60).map(|word| format!("the login page fails {word} times, naïve")).collect();
    vec![long.join(" "), String::new(), "Löwe schläft".to_owned(), long.join(" ")]
}

/// A job whose input has these reviews, in row groups of two.
fn job(lines: &str) -> Job {
    let job = Job::with(ModelDirectory::tiny(), "1", "result.parquet");
    let reviews = reviews();
    let keys = StringArray::from_iter_values((0..reviews.len()).map(|row| format!("K-{row}")));
    let columns: [(&str, ArrayRef); 2] =
        [("key", Arc::new(keys)), ("review", Arc::new(StringArray::from_iter_values(&reviews)))];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    write_parquet(&job.path("reviews.parquet"), &batch, 2);
    configure(&job, lines);
    job
}

fn configure(job: &Job, lines: &str) {
    let head = "input.path = \"reviews.parquet\"\ninput.id = \"key\"\noutput.path = \"result.parquet\"\n\
                text.columns = [\"review\"]\n";
    fs::write(job.path("pipeline.toml"), format!("{head}{lines}")).expect("a configuration");
}

fn report(job: &Job) -> serde_json::Value {
    let report = fs::read_to_string(job.path("_reembed/reports/result.parquet/report.json"))
        .expect("a report");
    serde_json::from_str(&report).expect("JSON")
}

/// The key, the number, and the text between the two characters of a row, and its vector.
type Chunk = (String, Option<i32>, String, Option<Vec<f32>>);

fn chunks(table: &Table) -> Vec<Chunk> {
    let column = |name: &str| table.rows.column_by_name(name).expect(name).clone();
    let (key, review, vectors) = (column("key"), column("review"), column("embedding"));
    let index = column("chunk_index");
    let index = index.as_primitive::<Int32Type>();
    let [start, end] = ["chunk_text_start", "chunk_text_end"].map(column);
    let [start, end] = [&start, &end].map(|column| column.as_primitive::<Int64Type>());
    let vectors = vectors.as_fixed_size_list();
    let row = |row: usize| {
        let text = review.as_string::<i32>().value(row);
        let (from, to) = match index.is_null(row) {
            true => (0, 0),
            false => (start.value(row) as usize, end.value(row) as usize),
        };
        let text: String = text.chars().skip(from).take(to - from).collect();
        let vector = || vectors.value(row).as_primitive::<Float32Type>().values().to_vec();
        let number = (!index.is_null(row)).then(|| index.value(row));
        let key = key.as_string::<i32>().value(row).to_owned();
        (key, number, text, (!vectors.is_null(row)).then(vector))
    };
    (0..table.rows.num_rows()).map(row).collect()
}

#[test]
fn each_chunk_is_a_row_with_the_vector_of_its_text() {
    let job = job(CHUNK);
    let summary = done(&job.run(&[]));
    assert!(summary.contains("chunks of 4 rows; 1 without text, null"), "{summary}");
    let table = read_parquet(&job.path("result.parquet"));
    let names: Vec<&str> =
        table.rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        ["key", "review", "chunk_index", "chunk_text_start", "chunk_text_end", "embedding"]
    );
    let found = chunks(&table);
    let of = |key: &str| found.iter().filter(|row| row.0 == key).collect::<Vec<_>>();
    let first = of("K-0");
    assert!(first.len() > 10, "{}", first.len());
    let numbers: Vec<Option<i32>> = first.iter().map(|row| row.1).collect();
    assert_eq!(numbers, (0..first.len() as i32).map(Some).collect::<Vec<_>>());
    assert_eq!(of("K-1").len(), 1);
    assert_eq!((of("K-1")[0].1, &of("K-1")[0].3), (None, &None));
    assert_eq!((of("K-2")[0].1, of("K-2")[0].2.as_str()), (Some(0), "Löwe schläft"));
    // Every word of the text is in a chunk, and equal chunks have equal vectors.
    for word in reviews()[0].split(' ') {
        assert!(first.iter().any(|row| row.2.contains(word)), "{word}");
    }
    let of_texts =
        |rows: &[&Chunk]| rows.iter().map(|row| (row.2.clone(), row.3.clone())).collect::<Vec<_>>();
    assert_eq!(of_texts(&first), of_texts(&of("K-3")));

    let report = report(&job);
    let rows = &report["rows"];
    let sum = ["encoded", "reused", "duplicate", "null"]
        .iter()
        .map(|name| rows[*name].as_u64().expect("a number"))
        .sum::<u64>();
    assert_eq!((&rows["input"], &rows["null"]), (&4.into(), &1.into()));
    assert_eq!(rows["chunks"], sum);
    assert_eq!(found.len() as u64, sum);
    assert!(rows["duplicate"].as_u64() >= Some(first.len() as u64), "{rows}");
    let footer = footer(&table);
    assert_eq!((&footer["rows"], &footer["input_rows"]), (&sum.into(), &4.into()));
    assert_eq!(footer["text"]["chunk"], serde_json::json!({ "tokens": 16, "overlap": 4 }));

    // A table of the chunks themselves gives the same vectors.
    let texts = StringArray::from_iter_values(found.iter().map(|row| row.2.as_str()));
    let texts: ArrayRef = Arc::new(texts);
    let batch = RecordBatch::try_from_iter([("review", texts)]).expect("a batch");
    write_parquet(&job.path("chunks.parquet"), &batch, 100);
    done(&job.run(&[
        "chunks.parquet",
        "plain.parquet",
        "--text",
        "review",
        "--config",
        "/dev/null",
    ]));
    let plain = read_parquet(&job.path("plain.parquet"));
    let plain = plain.rows.column_by_name("embedding").expect("vectors").clone();
    for (row, (_, _, text, vector)) in found.iter().enumerate() {
        let made = plain.as_fixed_size_list();
        let made = (!made.is_null(row))
            .then(|| made.value(row).as_primitive::<Float32Type>().values().to_vec());
        assert_eq!(&made, vector, "{text}");
    }
}

#[test]
fn chunks_do_not_depend_on_how_rows_are_read() {
    let expected = job(CHUNK);
    done(&expected.run(&[]));
    let expected = chunks(&read_parquet(&expected.path("result.parquet")));
    for lines in ["input.chunk_rows = 1\n", "input.chunk_rows = 7\n", "output.row_group_rows = 3\n"]
    {
        let job = job(&format!("{lines}{CHUNK}"));
        done(&job.run(&[]));
        assert_eq!(chunks(&read_parquet(&job.path("result.parquet"))), expected, "{lines}");
    }
    let dropping = job(&format!("output.on_empty = \"drop\"\n{CHUNK}"));
    let summary = done(&dropping.run(&[]));
    assert!(summary.contains("1 without text, dropped"), "{summary}");
    let found = chunks(&read_parquet(&dropping.path("result.parquet")));
    assert_eq!(found, expected.into_iter().filter(|row| row.1.is_some()).collect::<Vec<_>>());
    done(&verify(&dropping));
}

fn verify(job: &Job) -> Output {
    job.reembed(&job.with_model(&["verify", "result.parquet", "--input", "reviews.parquet"]))
}

#[test]
fn verify_compares_chunks_with_their_rows_and_embeds_them_again() {
    let job = job(&format!("input.chunk_rows = 5\n{CHUNK}"));
    done(&job.run(&[]));
    let found = done(&verify(&job));
    for part in ["equal, 4, in ", "equal, value for value", "largest difference 0.0e0"] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    // Another input has other rows.
    let batch = read_parquet(&job.path("reviews.parquet")).rows;
    write_parquet(&job.path("reviews.parquet"), &batch.slice(0, 3), 2);
    let wrong = verify(&job);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    write_parquet(&job.path("reviews.parquet"), &batch.slice(1, 3), 2);
    let wrong = verify(&job);
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
}

#[test]
fn second_run_reuses_every_chunk_and_other_chunks_are_refused() {
    let job = job(CHUNK);
    done(&job.run(&[]));
    let again = done(&job.run(&[]));
    assert!(again.contains("unchanged") && again.contains(" 0 embedded"), "{again}");
    configure(&job, "text.chunk = { tokens = 24 }\n");
    let there =
        "text.chunk is { tokens = 16, overlap = 4 } there, { tokens = 24, overlap = 0 } here";
    refused(&job.run(&[]), 3, &[there]);
    configure(&job, "");
    refused(&job.run(&[]), 3, &["text.chunk is { tokens = 16, overlap = 4 } there, not set here"]);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let job = job("");
    for (lines, part) in [
        ("text.pool = \"mean\"\n", "`text.pool` is set, but `text.chunk` is not"),
        ("text.chunk = { tokens = 4, overlap = 4 }\n", "a smaller overlap"),
        ("text.chunk = 256\n", "a table such as { tokens = 256, overlap = 32 }"),
        ("text.chunk = { tokens = 16 }\noutput.carry = \"copy\"\n", "set `text.pool` to \"mean\""),
        (
            "text.chunk = { tokens = 16 }\n[[embedding]]\ncolumn = \"a\"\n[[embedding]]\ncolumn = \"b\"\n",
            "set `text.pool` to \"mean\"",
        ),
    ] {
        configure(&job, lines);
        refused(&job.run(&[]), 2, &[part]);
    }
    // The columns of chunks must be free.
    configure(&job, CHUNK);
    done(&job.run(&[]));
    let again = ["result.parquet", "again.parquet"];
    refused(&job.run(&again), 2, &["there would be two columns `chunk_index`", "output.drop"]);
    let drop = "chunk_index,chunk_text_start,chunk_text_end,embedding";
    done(&job.run(&[&again[..], &["--drop", drop]].concat()));
}

#[test]
fn mean_of_the_chunks_keeps_a_text_one_row() {
    let job = job(CHUNK);
    done(&job.run(&[]));
    let chunked = chunks(&read_parquet(&job.path("result.parquet")));
    let pooled = "text.chunk = { tokens = 16, overlap = 4 }\ntext.pool = \"mean\"\n";
    configure(&job, pooled);
    refused(&job.run(&[]), 3, &["text.chunk is { tokens = 16, overlap = 4 } there, not set here"]);
    done(&job.run(&["--output", "pooled.parquet"]));
    let table = read_parquet(&job.path("pooled.parquet"));
    assert_eq!(table.rows.num_rows(), 4);
    assert!(table.rows.column_by_name("chunk_index").is_none());
    let column = table.rows.column_by_name("embedding").expect("vectors").clone();
    let column = column.as_fixed_size_list();
    let vector = |row: usize| column.value(row).as_primitive::<Float32Type>().values().to_vec();
    assert!(column.is_null(1));
    assert_eq!(vector(0), vector(3));
    // A text of one chunk has its plain vector, and a long one a mean of all of its chunks.
    let of = |key: &str| {
        let rows = chunked.iter().filter(|row| row.0 == key);
        rows.map(|row| row.3.clone().expect("a vector")).collect::<Vec<_>>()
    };
    assert_eq!(vec![vector(2)], of("K-2"));
    let parts = of("K-0");
    let plain: Vec<f64> = (0..32)
        .map(|at| parts.iter().map(|part| f64::from(part[at])).sum::<f64>() / parts.len() as f64)
        .collect();
    let dot: f64 = plain.iter().zip(vector(0)).map(|(a, b)| a * f64::from(b)).sum();
    let length = plain.iter().map(|value| value * value).sum::<f64>().sqrt();
    assert!(dot / length > 0.99, "{}", dot / length);
    let footer = footer(&table);
    assert_eq!(footer["lineage"]["model"]["chunks"]["tokens"], 16, "{footer}");
    assert_eq!(footer["text"].get("chunk"), None);
    let verify = ["verify", "pooled.parquet", "--input", "reviews.parquet"];
    let found = done(&job.reembed(&job.with_model(&verify)));
    assert!(found.contains("largest difference 0.0e0"), "{found}");
    let again = done(&job.run(&["--output", "pooled.parquet"]));
    assert!(again.contains("unchanged"), "{again}");
}

#[test]
fn chunks_that_the_model_cannot_take_are_refused() {
    let job = job("text.chunk = { tokens = 300 }\n");
    refused(&job.run(&[]), 2, &["tokens` is 300, more than the maximum length, 256 tokens"]);
    configure(&job, "text.chunk = { tokens = 2 }\n");
    refused(&job.run(&["--dry-run"]), 2, &["prompt and special tokens take 2", "at least 3"]);
}

#[test]
fn dry_run_counts_chunks() {
    let job = job(CHUNK);
    let estimate = done(&job.run(&["--dry-run", "--limit", "1"]));
    assert!(estimate.contains("rows           1 (0 without text; "), "{estimate}");
    assert!(!job.path("result.parquet").exists());
}
