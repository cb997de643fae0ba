//! Several vector columns in one output: `[[embedding]]` blocks, as a user meets them.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use parquet::file::reader::{FileReader, SerializedFileReader};
use reembed_testing::model_directory::ModelDirectory;

use crate::command_line::Job;
use crate::common::{Table, read_parquet, write_parquet};
use crate::outcome::{done, footer, refused, text};

/// Rows of the input, in row groups of 16.
const ROWS: usize = 40;

const TWO: &str = "\
    [[embedding]]\ncolumn = \"title_vector\"\ntext.columns = [\"title\"]\n\
    [[embedding]]\ncolumn = \"body_vector\"\ntext.template = \"body: {body}\"\n\
    vector = { type = \"f16\", layout = \"list\" }\n";

fn input(job: &Job, change: impl Fn(usize) -> Option<(&'static str, &'static str)>) {
    let text = |row: usize, is_title: bool| match change(row) {
        Some((title, _)) if is_title => title.to_owned(),
        Some((_, body)) => body.to_owned(),
        // Every fifth row has no title, every seventh no body.
        None if is_title && row % 5 == 2 => String::new(),
        None if !is_title && row % 7 == 3 => String::new(),
        None if is_title => format!("fix the {row} build"),
        None => format!("the login page fails {row} times"),
    };
    let strings = |is_title| {
        let values = (0..ROWS).map(|row| text(row, is_title));
        Arc::new(StringArray::from_iter_values(values)) as ArrayRef
    };
    let ids = StringArray::from_iter_values((0..ROWS).map(|row| format!("T-{row}")));
    let numbers = Int32Array::from_iter_values(0..ROWS as i32);
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(ids)),
        ("title", strings(true)),
        ("number", Arc::new(numbers)),
        ("body", strings(false)),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    write_parquet(&job.path("tasks.parquet"), &batch, 16);
}

/// A job with this end of its configuration.
fn job(lines: &str) -> Job {
    let job = Job::with(ModelDirectory::tiny(), "1", "result.parquet");
    input(&job, |_| None);
    configure(&job, lines);
    job
}

fn configure(job: &Job, lines: &str) {
    let head = "input.path = \"tasks.parquet\"\noutput.path = \"result.parquet\"\n";
    fs::write(job.path("pipeline.toml"), format!("{head}{lines}")).expect("a configuration");
}

fn columns(table: &Table) -> Vec<&str> {
    table.rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect()
}

fn report(job: &Job) -> serde_json::Value {
    let report = fs::read_to_string(job.path("_reembed/reports/result.parquet/report.json"))
        .expect("a report");
    serde_json::from_str(&report).expect("JSON")
}

#[track_caller]
fn same_column(one: &Table, other: &Table, name: &str) {
    let column = |table: &Table| table.rows.column_by_name(name).expect("a column").clone();
    assert_eq!(&column(one), &column(other), "{name}");
}

#[test]
fn two_columns_are_those_of_two_runs() {
    let both = job(TWO);
    let summary = done(&both.run(&[]));
    for line in [
        "column          `title_vector`, f32 × 32",
        "column          `body_vector`, f16 × 32, in a list",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(summary.lines().any(|found| words(found) == words(line)), "{line}\n{summary}");
    }
    let table = read_parquet(&both.path("result.parquet"));
    assert_eq!(columns(&table), ["id", "title", "number", "body", "title_vector", "body_vector"]);

    let title = job("output.column = \"title_vector\"\ntext.columns = [\"title\"]\n");
    done(&title.run(&[]));
    same_column(&table, &read_parquet(&title.path("result.parquet")), "title_vector");
    let body = job("output.column = \"body_vector\"\ntext.template = \"body: {body}\"\n\
         vector = { type = \"f16\", layout = \"list\" }\n");
    done(&body.run(&[]));
    same_column(&table, &read_parquet(&body.path("result.parquet")), "body_vector");
    for carried in ["id", "title", "number", "body"] {
        same_column(&table, &read_parquet(&both.path("tasks.parquet")), carried);
    }

    let footer = footer(&table);
    assert_eq!(footer["column"], "title_vector");
    assert_eq!(footer["null_rows"], 8);
    let second = &footer["more"][0];
    assert_eq!((&second["column"], &second["null_rows"]), (&"body_vector".into(), &6.into()));
    assert_eq!(second["form"]["type"], "f16");
    assert_eq!(second["lineage"]["fingerprint"], footer["lineage"]["fingerprint"]);
    let report = report(&both);
    assert_eq!((&report["rows"]["columns"], &report["rows"]["input"]), (&2.into(), &40.into()));
    assert_eq!((&report["rows"]["encoded"], &report["rows"]["null"]), (&66.into(), &14.into()));
    assert_eq!(report["output"]["columns"][1]["encoded"], 34);
}

#[test]
fn vectors_follow_rows_of_every_layout() {
    let expected = job(TWO);
    done(&expected.run(&[]));
    let expected = read_parquet(&expected.path("result.parquet"));
    for lines in [
        "input.chunk_rows = 3\n",
        "input.chunk_rows = 17\nbatch.start = 2\n",
        "output.carry = \"reencode\"\noutput.row_group_rows = 7\n",
        "cache.mode = \"off\"\n",
    ] {
        let job = job(&format!("{lines}{TWO}"));
        done(&job.run(&[]));
        let found = read_parquet(&job.path("result.parquet"));
        for column in columns(&expected) {
            same_column(&found, &expected, column);
        }
    }
}

#[test]
fn second_run_leaves_the_file_and_a_changed_row_costs_its_own_columns() {
    let job = job(TWO);
    done(&job.run(&[]));
    let before = fs::read(job.path("result.parquet")).expect("an output");
    assert!(done(&job.run(&[])).contains("unchanged"));
    assert!(fs::read(job.path("result.parquet")).expect("an output") == before);

    input(&job, |row| (row == 20).then_some(("fix the 20 build", "another body")));
    done(&job.run(&[]));
    let columns = &report(&job)["output"]["columns"];
    assert_eq!((&columns[0]["encoded"], &columns[1]["encoded"]), (&0.into(), &1.into()));
    let followed = fs::read(job.path("result.parquet")).expect("an output");
    for file in ["result.parquet", "_reembed/result.parquet.cache"] {
        fs::remove_file(job.path(file)).expect("a file");
    }
    done(&job.run(&[]));
    let from_scratch = fs::read(job.path("result.parquet")).expect("an output");
    assert!(followed == from_scratch, "a run from scratch writes other bytes");
}

#[test]
fn equal_texts_of_two_columns_are_embedded_once() {
    let lines = "[[embedding]]\ncolumn = \"a\"\ntext.columns = [\"title\"]\n\
                 [[embedding]]\ncolumn = \"b\"\ntext.columns = [\"title\"]\nvector.type = \"binary\"\n";
    let job = job(lines);
    done(&job.run(&[]));
    let columns = &report(&job)["output"]["columns"];
    assert_eq!((&columns[0]["encoded"], &columns[0]["null"]), (&32.into(), &8.into()));
    assert_eq!((&columns[1]["encoded"], &columns[1]["duplicate"]), (&0.into(), &32.into()));
}

#[test]
fn column_that_comes_later_keeps_the_others() {
    let one = "[[embedding]]\ncolumn = \"title_vector\"\ntext.columns = [\"title\"]\n";
    let job = job(one);
    done(&job.run(&[]));
    let before = read_parquet(&job.path("result.parquet"));
    configure(&job, TWO);
    done(&job.run(&[]));
    let after = read_parquet(&job.path("result.parquet"));
    same_column(&before, &after, "title_vector");
    assert_eq!(footer(&before)["lineage"], footer(&after)["lineage"]);
    let columns = &report(&job)["output"]["columns"];
    assert_eq!((&columns[0]["encoded"], &columns[0]["reused"]), (&0.into(), &32.into()));
    assert_eq!(columns[1]["encoded"], 34);

    // A column is not lost unasked.
    configure(&job, one);
    for arguments in [&[][..], &["--dry-run"]] {
        let lost = "has vectors in column `body_vector`, which this run would not write";
        refused(&job.run(arguments), 3, &[lost, "--switch-model"]);
    }
    done(&job.run(&["--switch-model"]));
    assert_eq!(read_parquet(&job.path("result.parquet")).entry("reembed"), before.entry("reembed"));
}

#[test]
fn lineage_of_a_vector_column_of_the_input_is_carried_on() {
    let job = job("");
    done(&job.run(&["tasks.parquet", "one.parquet", "--text", "title", "--column", "first"]));
    done(&job.run(&["one.parquet", "two.parquet", "--text", "body", "--column", "second"]));
    done(&job.run(&["two.parquet", "three.parquet", "--text", "title,body", "--column", "third"]));
    let (one, three) =
        (read_parquet(&job.path("one.parquet")), read_parquet(&job.path("three.parquet")));
    same_column(&one, &three, "first");
    let (one, three) = (footer(&one), footer(&three));
    assert_eq!(three["column"], "third");
    let earlier = three["earlier"].as_array().expect("earlier columns");
    let names: Vec<&serde_json::Value> = earlier.iter().map(|one| &one["column"]).collect();
    assert_eq!(names, ["second", "first"]);
    for field in ["lineage", "text", "form"] {
        assert_eq!(earlier[1][field], one[field], "{field}");
    }
    let verified = ["verify", "three.parquet", "--input", "two.parquet"];
    done(&job.reembed(&job.with_model(&verified)));
    // One that is left out or replaced is not told of.
    done(&job.run(&[
        "two.parquet",
        "four.parquet",
        "--text",
        "title",
        "--column",
        "second",
        "--drop",
        "first",
    ]));
    assert_eq!(footer(&read_parquet(&job.path("four.parquet"))).get("earlier"), None);
}

#[test]
fn verify_checks_every_column() {
    let job = job(TWO);
    done(&job.run(&[]));
    let verify =
        || job.reembed(&job.with_model(&["verify", "result.parquet", "--input", "tasks.parquet"]));
    let found = done(&verify());
    for line in [
        "null vectors (title_vector)  8",
        "null vectors (body_vector)  6",
        "embedded again (title_vector)  ",
        "embedded again (body_vector)  ",
        "carried columns  equal, byte for byte",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = words(line);
        assert!(found.lines().any(|found| words(found).contains(&line)), "{line}\n{found}");
    }
    // The pages of the second vector column.
    let path = job.path("result.parquet");
    let file = SerializedFileReader::new(fs::File::open(&path).expect("a file")).expect("Parquet");
    let chunk = file.metadata().row_group(1).column(5).byte_range();
    let mut bytes = fs::read(&path).expect("a file");
    let middle = usize::try_from(chunk.0 + chunk.1 / 2).expect("a position");
    bytes[middle] ^= 0x10;
    fs::write(&path, bytes).expect("a file");
    let damaged = verify();
    assert_eq!(damaged.status.code(), Some(1), "{}", text(&damaged));
    assert!(text(&damaged).contains("body_vector"), "{}", text(&damaged));
}

#[test]
fn columns_may_have_their_own_models_and_replace_columns_of_the_input() {
    let job = job("");
    ModelDirectory::tiny().write_to(&job.path("models/one"));
    ModelDirectory::tiny().hidden(16).write_to(&job.path("models/two"));
    configure(
        &job,
        "[[embedding]]\ncolumn = \"new\"\ntext.columns = [\"title\"]\nmodel.path = \"models/one\"\n\
         [[embedding]]\ncolumn = \"number\"\ntext.columns = [\"title\"]\nmodel.path = \"models/two\"\n",
    );
    let summary = done(&job.reembed(&["run"]));
    assert!(summary.contains("column `number` of the input"), "{summary}");
    let table = read_parquet(&job.path("result.parquet"));
    assert_eq!(columns(&table), ["id", "title", "number", "body", "new"]);
    let footer = footer(&table);
    let ids = [&footer["lineage"], &footer["more"][0]["lineage"]].map(|one| &one["model"]["id"]);
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(footer["more"][0]["form"]["dims"], 16);
    done(&job.reembed(&["verify", "result.parquet", "--input", "tasks.parquet"]));
    assert!(done(&job.reembed(&["run"])).contains("unchanged"));
}

#[test]
fn dry_run_and_printed_configuration_tell_every_column() {
    let job = job(TWO);
    let estimate = done(&job.run(&["--dry-run", "--limit", "3"]));
    for part in ["`title_vector`", "`body_vector`", "\"body: the login page fails 0 times\""] {
        assert!(estimate.contains(part), "{part}\n{estimate}");
    }
    assert!(!job.path("result.parquet").exists());
    let printed = done(&job.reembed(&["run", "--print-config"]));
    fs::write(job.path("again.toml"), &printed).expect("a file");
    let again = done(&job.reembed(&["run", "--print-config", "--config", "again.toml"]));
    let values = |text: &str| {
        let line = |line: &str| line.split("  #").next().unwrap_or("").to_owned();
        text.lines().map(line).collect::<Vec<_>>()
    };
    assert_eq!(values(&printed), values(&again));
    assert!(printed.contains("[[embedding]]\ncolumn = \"body_vector\""), "{printed}");
}

#[test]
fn ranges_are_measured_for_one_column() {
    let job = job(&TWO.replace("\"f16\"", "\"int8\", ranges = \"body.json\""));
    let calibrate =
        |arguments: &[&str]| job.reembed(&job.with_model(&[&["calibrate"], arguments].concat()));
    refused(&calibrate(&[]), 2, &["--column", "title_vector, body_vector"]);
    refused(
        &calibrate(&["--column", "other"]),
        2,
        &["no [[embedding]] block has the column `other`"],
    );
    done(&calibrate(&["--column", "body_vector"]));
    done(&job.run(&[]));
    let table = read_parquet(&job.path("result.parquet"));
    assert_eq!(footer(&table)["more"][0]["form"]["type"], "int8");
    done(&job.reembed(&job.with_model(&["verify", "result.parquet"])));
}

#[test]
fn flags_and_row_choices_that_do_not_fit_are_refused() {
    let job = job(TWO);
    for (arguments, part) in [
        (&["--text", "title"][..], "--text sets `text.columns` for all vector columns"),
        (&["--column", "x"], "each [[embedding]] block names its own column"),
    ] {
        refused(&job.run(arguments), 2, &[part]);
    }
    configure(&job, &format!("output.on_empty = \"drop\"\n{TWO}"));
    refused(&job.run(&[]), 2, &["a row may have a text for one vector column alone"]);
    configure(&job, &TWO.replace("body_vector", "title"));
    refused(
        &job.run(&[]),
        2,
        &["the vectors would replace column `title`, which is part of the text"],
    );
}
