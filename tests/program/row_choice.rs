//! Runs whose output has other rows than their input, and the presets, as a user meets them.

use std::fs;
use std::process::Output;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use reembed_testing::model_directory::ModelDirectory;

use crate::command_line::Job;
use crate::common::{read_parquet, write_parquet};
use crate::outcome::{self, done, refused, text};

/// Rows of the input; every fifth one, from the third, has no text.
const ROWS: i32 = 40;

/// A job whose input has row groups of 16 rows, and the given lines in its configuration.
fn job(lines: &str) -> Job {
    let job = Job::with(ModelDirectory::tiny(), "1", "result.parquet");
    let title =
        |row: i32| if row % 5 == 2 { String::new() } else { format!("fix the {row} build\n") };
    let ids = StringArray::from_iter_values((0..ROWS).map(|row| format!("T-{row}")));
    let titles = StringArray::from_iter_values((0..ROWS).map(title));
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(ids)),
        ("title", Arc::new(titles)),
        ("number", Arc::new(Int32Array::from_iter_values(0..ROWS))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    write_parquet(&job.path("tasks.parquet"), &batch, 16);
    configure(&job, lines);
    job
}

fn configure(job: &Job, lines: &str) {
    let text = format!(
        "input.path = \"tasks.parquet\"\noutput.path = \"result.parquet\"\n\
         text.columns = [\"title\"]\n{lines}\n"
    );
    fs::write(job.path("pipeline.toml"), text).expect("a configuration");
}

/// The values of the column `number` of the output.
fn numbers(job: &Job) -> Vec<i32> {
    let table = read_parquet(&job.path("result.parquet"));
    let column = table.rows.column_by_name("number").expect("a column");
    column.as_primitive::<Int32Type>().values().to_vec()
}

fn footer(job: &Job) -> serde_json::Value {
    outcome::footer(&read_parquet(&job.path("result.parquet")))
}

fn verify(job: &Job) -> Output {
    job.reembed(&job.with_model(&["verify", "result.parquet", "--input", "tasks.parquet"]))
}

#[test]
fn rows_without_text_are_dropped_counted_and_skipped_by_verify() {
    let job = job("output.on_empty = \"drop\"\ninput.chunk_rows = 3");
    let summary = done(&job.run(&[]));
    assert!(summary.contains("32 (8 without text, dropped)"), "{summary}");
    let kept: Vec<i32> = (0..ROWS).filter(|row| row % 5 != 2).collect();
    assert_eq!(numbers(&job), kept);
    let table = read_parquet(&job.path("result.parquet"));
    assert!(!table.schema.field_with_name("embedding").expect("a field").is_nullable());
    let footer = footer(&job);
    for (key, expected) in [
        ("rows", 32.into()),
        ("null_rows", 0.into()),
        ("dropped_rows", 8.into()),
        ("carry", "reencode".into()),
    ] {
        let expected: serde_json::Value = expected;
        assert_eq!(footer[key], expected, "{key}");
    }
    let report = fs::read_to_string(job.path("_reembed/reports/result.parquet/report.json"))
        .expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["rows"]["dropped"], 8);
    assert_eq!(report["rows"]["null"], 0);
    assert_eq!(report["rows"]["input"], 40);
    let metrics = fs::read_to_string(job.path("_reembed/reports/result.parquet/report.prom"))
        .expect("metrics");
    assert!(
        metrics.contains("reembed_rows{kind=\"dropped\",output=\"result.parquet\"} 8\n"),
        "{metrics}"
    );

    let checks = done(&verify(&job));
    assert!(
        checks.contains("row count of input  equal, without the 8 that have no text"),
        "{checks}"
    );
    assert!(checks.contains("ok     carried columns"), "{checks}");
    // An unchanged run embeds nothing and leaves the same file.
    let again = done(&job.run(&[]));
    assert!(again.contains("0 embedded, 32 reused") && again.contains(", unchanged)"), "{again}");
}

#[test]
fn verify_finds_rows_of_an_input_that_got_or_lost_its_text() {
    let job = job("output.on_empty = \"drop\"");
    done(&job.run(&["--quiet"]));
    let input = read_parquet(&job.path("tasks.parquet")).rows;
    let titles = |empty: &dyn Fn(i32) -> bool| -> ArrayRef {
        let title =
            |row: i32| if empty(row) { String::new() } else { format!("fix the {row} build\n") };
        Arc::new(StringArray::from_iter_values((0..ROWS).map(title)))
    };
    for empty in
        [&(|row| row % 5 == 2 && row != 7) as &dyn Fn(i32) -> bool, &|row| row % 5 == 2 || row == 9]
    {
        let columns = [input.column(0).clone(), titles(empty), input.column(2).clone()];
        let batch = RecordBatch::try_new(input.schema(), columns.to_vec()).expect("a batch");
        write_parquet(&job.path("tasks.parquet"), &batch, 16);
        let checks = verify(&job);
        assert_eq!(checks.status.code(), Some(1), "{}", text(&checks));
        assert!(text(&checks).contains("WRONG  row count of input"), "{}", text(&checks));
    }
}

#[test]
fn output_without_the_columns_of_the_text_is_verified_with_the_input() {
    let job = job("output.on_empty = \"drop\"\noutput.keep = [\"id\", \"number\"]");
    done(&job.run(&["--quiet"]));
    let checks = done(&verify(&job));
    assert!(checks.contains("ok     embedded again      32 rows"), "{checks}");
    assert!(checks.contains("ok     carried columns"), "{checks}");
    let alone = done(&job.reembed(&job.with_model(&["verify", "result.parquet"])));
    assert!(alone.contains("-      carried columns"), "{alone}");
}

#[test]
fn input_without_any_text_makes_an_output_without_rows() {
    let job = job("output.on_empty = \"drop\"");
    let input = read_parquet(&job.path("tasks.parquet")).rows;
    let titles: ArrayRef = Arc::new(StringArray::from(vec![""; ROWS as usize]));
    let columns = [input.column(0).clone(), titles, input.column(2).clone()];
    let batch = RecordBatch::try_new(input.schema(), columns.to_vec()).expect("a batch");
    write_parquet(&job.path("tasks.parquet"), &batch, 16);
    let summary = done(&job.run(&[]));
    assert!(summary.contains("0 (40 without text, dropped)"), "{summary}");
    done(&verify(&job));
}

#[test]
fn output_that_loses_too_many_rows_to_drop_is_not_replaced() {
    let job = job("");
    done(&job.run(&["--quiet"]));
    configure(&job, "output.on_empty = \"drop\"\npublish.max_shrink = 19");
    refused(
        &job.run(&["--quiet"]),
        2,
        &["has 40 rows and the new one would have 32", "--allow-shrink"],
    );
    assert_eq!(numbers(&job).len(), 40);
    done(&job.run(&["--quiet", "--allow-shrink"]));
    assert_eq!(numbers(&job).len(), 32);
}

#[test]
fn copied_columns_and_fewer_rows_do_not_fit_together() {
    let job = job("output.on_empty = \"drop\"\noutput.carry = \"copy\"");
    refused(&job.run(&[]), 2, &["`output.carry`", "output.on_empty = \"drop\""]);
    configure(&job, "output.carry = \"copy\"");
    refused(&job.run(&["--limit", "7"]), 2, &["`output.carry`", "`run.limit` is 7", "40 rows"]);
    done(&job.run(&["--quiet", "--limit", "40"]));
    assert_eq!(footer(&job)["carry"], "copy");
    configure(&job, "input.on_invalid_utf8 = \"replace\"");
    refused(
        &job.run(&["--limit", "7", "--allow-shrink"]),
        2,
        &["`input.on_invalid_utf8`", "`run.limit`"],
    );
}

#[test]
fn limit_embeds_the_first_rows_alone() {
    let job = job("");
    // More than a row group of the input.
    let summary = done(&job.run(&["--limit", "19"]));
    assert!(summary.contains("19 (4 without text, null; only the first 19 read)"), "{summary}");
    assert_eq!(numbers(&job), (0..19).collect::<Vec<i32>>());
    assert_eq!(footer(&job)["limit"], 19);
    let checks = done(&verify(&job));
    assert!(checks.contains("row count of input  equal, the first 19 of the input"), "{checks}");
    // The whole table: what was embedded is reused, and the columns are copied.
    let whole = done(&job.run(&["--limit", "40"]));
    assert!(whole.contains("17 embedded, 15 reused"), "{whole}");
    assert_eq!(footer(&job)["carry"], "copy");
    assert_eq!(footer(&job).get("limit"), None);
    let bytes = fs::read(job.path("result.parquet")).expect("an output");
    // A preview does not replace it.
    refused(&job.run(&["--limit", "19"]), 2, &["has 40 rows and the new one would have 19"]);
    assert_eq!(fs::read(job.path("result.parquet")).expect("an output"), bytes);
    // Both together: rows are counted before they are dropped.
    configure(&job, "output.on_empty = \"drop\"\ninput.chunk_rows = 1");
    done(&job.run(&["--limit", "16", "--allow-shrink", "--quiet"]));
    assert_eq!(numbers(&job), [0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15]);
    done(&verify(&job));
}

#[test]
fn limited_dry_run_shows_the_first_texts() {
    let job = job("text.template = \"title: {title}\"");
    configure(&job, "");
    let shown =
        done(&job.run(&["--dry-run", "--limit", "2", "--text-template", "no. {number}: {title}"]));
    assert!(shown.contains("row 1 (id T-0): \"no. 0: fix the 0 build\\n\"\n"), "{shown}");
    assert!(shown.contains("row 2 (id T-1): \"no. 1: fix the 1 build\\n\"\n"), "{shown}");
    assert!(!shown.contains("row 3"), "{shown}");
    let long = format!("{}{{title}}", "x".repeat(199));
    let shown = done(&job.run(&["--dry-run", "--limit", "9", "--text-template", &long]));
    assert!(shown.contains(&format!("\"{}f\"…\n", "x".repeat(199))), "{shown}");
    assert!(shown.contains("row 3 (id T-2): \"\"\n") && !shown.contains("row 4"), "{shown}");
    assert!(!done(&job.run(&["--dry-run"])).contains("row 1"));
    assert!(!job.path("result.parquet").exists());
}

#[test]
fn preset_sets_defaults_that_the_user_overrides() {
    let job = job("output.on_empty = \"error\"");
    let shown = done(&job.run(&["--for", "pinecone", "--print-config"]));
    for line in [
        "for = \"pinecone\"  # --for",
        "column = \"values\"  # for pinecone",
        "layout = \"list\"  # for pinecone",
        "on_empty = \"error\"  # pipeline.toml:4",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    // What is printed is a configuration that prints the same values.
    let toml: String = shown
        .lines()
        .map(|line| line.split("  #").next().unwrap_or("").to_owned() + "\n")
        .collect();
    fs::write(job.path("printed.toml"), &toml).expect("a configuration");
    let again =
        done(&job.reembed(&job.with_model(&["run", "--config", "printed.toml", "--print-config"])));
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(values(&again), values(&shown));
    configure(&job, "");
    done(&job.run(&["--for", "pinecone", "--quiet"]));
    let table = read_parquet(&job.path("result.parquet"));
    let field = table.schema.field_with_name("values").expect("the vectors");
    assert_eq!(field.data_type().to_string(), "List(non-null Float32, field: 'element')");
    assert!(!field.is_nullable());
    refused(&job.run(&["--for", "postgres"]), 2, &["--for", "pgvector"]);
}

#[test]
fn printed_configuration_of_dropped_rows_is_one_that_runs() {
    let job = job("output.on_empty = \"drop\"");
    let shown = done(&job.run(&["--print-config"]));
    assert!(
        shown.contains("carry = \"reencode\"  # default with output.on_empty = \"drop\"\n"),
        "{shown}"
    );
    let limited = done(&job.run(&["--limit", "3", "--print-config"]));
    for (name, shown) in [("drop.toml", shown), ("limit.toml", limited)] {
        fs::write(job.path(name), shown).expect("a configuration");
        done(&job.reembed(&["run", "--quiet", "--config", name, "--allow-shrink"]));
    }
    assert_eq!(numbers(&job), [0, 1]);
}

#[test]
fn pinecone_needs_ids_of_strings_and_values() {
    let job = job("");
    for (arguments, named) in [
        (&["--drop", "id"][..], "no column `id`, which output.for = \"pinecone\" requires"),
        (&["--column", "vectors"], "no column `values`, which output.for = \"pinecone\" requires"),
        (&["--column", "id", "--id", ""], "no column `id`"),
    ] {
        refused(&job.run(&[&["--for", "pinecone"], arguments].concat()), 2, &[named]);
    }
    let input = read_parquet(&job.path("tasks.parquet")).rows;
    let columns = [("id", input.column(2).clone()), ("title", input.column(1).clone())];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    write_parquet(&job.path("tasks.parquet"), &batch, 16);
    refused(&job.run(&["--for", "pinecone"]), 2, &["no column `id` of strings"]);
    assert!(!job.path("result.parquet").exists());
}
