//! Text recipes: which columns make the text of a row, and how.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use reembed::config::Carry;
use reembed::reader::{Decoded, Reader};
use reembed::verify::{self, Sample};
use reembed::{ErrorKind, Result};
use reembed_encoder::batch::strings;
use reembed_encoder::model::fake::Failure;

use super::setup::{fake, run};
use crate::common::{Job, bits, read_parquet};

/// Reviews, which have neither an id nor a title.
fn reviews() -> RecordBatch {
    let text = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let optional = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let tags = text(&[Some("slow"), Some("loud"), Some(""), None]);
    let tags = ListArray::new(
        optional("element", DataType::Utf8),
        OffsetBuffer::from_lengths([2, 0, 1, 1]),
        tags,
        None,
    );
    let role = text(&[Some("user"), Some("bot"), Some("user"), Some("bot")]);
    let content = text(&[Some("hi"), Some("hello"), None, Some("bye")]);
    let fields =
        Fields::from(vec![optional("role", DataType::Utf8), optional("content", DataType::Utf8)]);
    let turns = Arc::new(StructArray::new(fields, vec![role, content], None));
    let messages = ListArray::new(
        optional("element", turns.data_type().clone()),
        OffsetBuffer::from_lengths([2, 1, 1, 0]),
        turns,
        None,
    );
    let title = text(&[Some("A"), None, Some("C"), Some("D")]);
    let secret = Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef;
    let fields =
        Fields::from(vec![optional("title", DataType::Utf8), optional("n", DataType::Int64)]);
    let valid = vec![true, true, false, true].into();
    let payload = StructArray::new(fields, vec![title, secret], Some(valid));
    RecordBatch::try_from_iter_with_nullable([
        ("review", text(&[Some(" good\n"), Some("bad"), Some(""), None]), true),
        ("stars", Arc::new(Int64Array::from(vec![Some(5), Some(1), None, None])) as ArrayRef, true),
        ("price", Arc::new(Float64Array::from(vec![1.5, 2.0, 0.1, 1e21])) as ArrayRef, true),
        ("bought", Arc::new(BooleanArray::from(vec![true, false, true, false])) as ArrayRef, true),
        ("day", Arc::new(Date32Array::from(vec![0, 1, 19_000, 3])) as ArrayRef, true),
        ("paths", text(&[Some("a.py; b.py"), Some(";"), None, Some("c.py")]), true),
        ("tags", Arc::new(tags) as ArrayRef, true),
        ("messages", Arc::new(messages) as ArrayRef, true),
        ("payload", Arc::new(payload) as ArrayRef, true),
    ])
    .expect("columns of one length")
}

/// The text of each row.
fn texts(settings: &[&str]) -> Result<Vec<String>> {
    let job = Job::of_batch(&reviews(), 2);
    let config = job.config(settings);
    let reader = Reader::open(
        &config.input,
        &config.embeddings.first.text,
        Decoded::from(config.output.carry.unwrap_or(Carry::Copy)),
    )?;
    let mut texts = Vec::new();
    for chunk in reader.chunks() {
        texts.extend(strings(chunk?.first_texts()).map(str::to_owned));
    }
    Ok(texts)
}

#[test]
fn named_columns_make_the_text_a_line_each() {
    for (settings, expected) in [
        (&["text.columns = [\"review\"]"][..], [" good\n", "bad", "", ""]),
        (&["text.columns = [\"review\", \"stars\"]"], [" good\n\n5", "bad\n1", "", ""]),
        (&["text.columns = [\"tags\"]"], ["slow, loud", "", "", ""]),
        (
            &["text.columns = [\"price\", \"bought\", \"day\"]"],
            [
                "1.5\ntrue\n1970-01-01",
                "2.0\nfalse\n1970-01-02",
                "0.1\ntrue\n2022-01-08",
                "1e21\nfalse\n1970-01-04",
            ],
        ),
        (&["text.columns = [\"payload.title\"]"], ["A", "", "", "D"]),
        (&["text.columns = [\"messages.content\"]"], ["hi, hello", "", "bye", ""]),
        (
            &["text.columns = [\"paths\"]", "text.split = { paths = \";\" }"],
            ["a.py, b.py", "", "", "c.py"],
        ),
        (&["input.title = \"review\"", "input.description = \"\""], [" good\n", "bad", "", ""]),
    ] {
        for carry in ["copy", "reencode"] {
            let carry = format!("output.carry = \"{carry}\"");
            let found = texts(&[settings, &[&carry]].concat()).expect("texts");
            assert_eq!(found, expected, "{settings:?}, {carry}");
        }
    }
}

#[test]
fn template_puts_columns_into_lines_and_leaves_empty_lines_out() {
    let template = r#"text.template = "{stars} of 5\nreview: {review}\n-- {{shop}}""#;
    let expected = ["5 of 5\nreview:  good\n\n-- {shop}", "1 of 5\nreview: bad\n-- {shop}", "", ""];
    assert_eq!(texts(&[template]).expect("texts"), expected);
}

#[test]
fn column_that_makes_no_text_is_refused_by_name() {
    for (settings, expected) in [
        (&["text.columns = [\"nope\"]"][..], "there is no column `nope`; the columns are `review`"),
        (&["text.columns = [\"payload\"]"], "column `payload`: its type is a struct"),
        (&["text.columns = [\"payload.nope\"]"], "the fields of `payload` are `title`, `n`"),
        (
            &["text.columns = [\"tags\"]", "text.split = { tags = \";\" }"],
            "column `tags`: its type is List",
        ),
        (
            &["text.columns = [\"nope\", \"messages\"]"],
            "column `messages`: its type is a struct with the fields `role`, `content`",
        ),
    ] {
        let error = texts(settings).expect_err("no text");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn only_the_field_of_a_struct_is_decoded() {
    let job = Job::of_batch(&reviews(), 2);
    super::setup::damage(&job.input(), 0, "payload.n");
    let drop = "output.drop = [\"payload\"]";
    let config = job.config(&["text.columns = [\"payload.title\"]", drop]);
    run(&config, &fake(Failure::Never)).expect("the damage is in another field");
    let damaged = ["text.columns = [\"payload.n\"]", drop, "run.rebuild = true"];
    let error = run(&job.config(&damaged), &fake(Failure::Never)).expect_err("damaged");
    assert!(error.to_string().contains("column `payload"), "{error}");
}

#[test]
fn rows_without_ids_are_named_by_their_numbers() {
    let job = Job::of_batch(&reviews(), 2);
    let config = job.config(&["text.columns = [\"review\"]", "output.on_empty = \"error\""]);
    let error = run(&config, &fake(Failure::Never)).expect_err("rows without text");
    assert!(error.to_string().ends_with("row 3: the row has no text to embed"), "{error}");
    let required = job.config(&["text.columns = [\"review\"]", "input.id = \"id\""]);
    let error = run(&required, &fake(Failure::Never)).expect_err("no such column");
    assert!(error.to_string().contains("there is no column `id`"), "{error}");
}

#[test]
fn run_with_another_recipe_is_refused_with_the_difference() {
    let job = Job::of_batch(&reviews(), 2);
    let model = fake(Failure::Never);
    let first = job.config(&["text.columns = [\"review\"]"]);
    run(&first, &model).expect("a report");
    let before = read_parquet(&job.output());
    let (again, _) = run(&first, &model).expect("the same recipe");
    assert_eq!(again.origins().encoded, 0);
    // It makes the same texts of each row.
    run(&job.config(&["text.template = \"{review}\""]), &model).expect("the same recipe");

    let other = job.config(&["text.columns = [\"review\", \"stars\"]"]);
    let error = run(&other, &model).expect_err("another recipe");
    assert_eq!(error.kind(), ErrorKind::OtherModel);
    let expected = r#"the text was made by "{review}" there, it is "{review}\n{stars}" here"#;
    assert!(error.to_string().contains(expected), "{error}");
    let vectors = |table: &crate::common::Table| {
        table.vectors("embedding").into_iter().map(|v| v.map(|v| bits(&v))).collect::<Vec<_>>()
    };
    assert_eq!(vectors(&read_parquet(&job.output())), vectors(&before));

    let rebuild = ["text.columns = [\"review\", \"stars\"]", "run.rebuild = true"];
    run(&job.config(&rebuild), &model).expect("asked for");
    assert_ne!(vectors(&read_parquet(&job.output())), vectors(&before));
}

#[test]
fn verify_reads_the_recipe_from_the_footer() {
    let job = Job::of_batch(&reviews(), 2);
    let model = fake(Failure::Never);
    let settings = [
        "text.template = \"{payload.title}: {paths}\"",
        "text.split = { paths = \";\" }",
        "output.drop = [\"price\"]",
    ];
    run(&job.config(&settings), &model).expect("a report");
    let (output, footer) = verify::open(&job.output()).expect("an output");
    let recipe = footer.text.recipe(&|_| false).expect("a recipe");
    assert_eq!(recipe.to_string(), "{payload.title}: {paths}");
    assert_eq!(footer.text.columns, ["payload.title", "paths"]);
    // The configuration of another job: its columns do not matter.
    let reading = job.config(&[]).input;
    let sample = Sample { model: &model, rows: 4, ranges: None };
    let checks = verify::verify(&reading, &output, &footer, None, &[sample]).expect("checks");
    let wrong = checks.iter().find(|check| check.verdict == verify::Verdict::Failed);
    assert!(wrong.is_none(), "{wrong:?}");
    let again = checks.iter().find(|check| check.what == "embedded again").expect("a check");
    assert!(again.found.starts_with("2 rows"), "{again:?}");
}

#[test]
fn columns_with_braces_dots_and_line_breaks_verify() {
    let names = ["{d", "a.b", "x\ny", "{c}"];
    let column = |n: usize| {
        let values = vec![format!("text {n}"), format!("other {n}")];
        Arc::new(StringArray::from(values)) as ArrayRef
    };
    let columns = names.iter().enumerate().map(|(n, name)| (*name, column(n)));
    let job = Job::of_batch(&RecordBatch::try_from_iter(columns).expect("columns"), 2);
    let model = fake(Failure::Never);
    let config = job.config(&["text.columns = [\"{d\", \"a.b\", \"x\\ny\", \"{c}\"]"]);
    run(&config, &model).expect("a report");
    let (output, footer) = verify::open(&job.output()).expect("an output");
    let sample = Sample { model: &model, rows: 2, ranges: None };
    let checks = verify::verify(&config.input, &output, &footer, None, &[sample]);
    let failed = |check: &&verify::Check| check.verdict == verify::Verdict::Failed;
    let checks = checks.expect("checks");
    assert!(!checks.iter().any(|check| failed(&check)), "{checks:?}");
}

#[test]
fn output_without_ids_is_verified_without_ids() {
    let ids = Arc::new(StringArray::from(vec![None, Some("b")])) as ArrayRef;
    let titles = Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef;
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("title", titles, true)]);
    let job = Job::of_batch(&batch.expect("columns"), 2);
    let model = fake(Failure::Never);
    let settings = ["text.columns = [\"title\"]", "input.id = \"\""];
    run(&job.config(&settings), &model).expect("rows without ids");
    let (output, footer) = verify::open(&job.output()).expect("an output");
    // The default configuration would take the column `id`, which has a null.
    let reading = job.config(&[]).input;
    let sample = Sample { model: &model, rows: 2, ranges: None };
    let checks = verify::verify(&reading, &output, &footer, None, &[sample]).expect("checks");
    let again = checks.iter().find(|check| check.what == "embedded again").expect("a check");
    assert!(again.found.starts_with("2 rows"), "{again:?}");
}
