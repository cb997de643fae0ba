//! Invalid targets, failing stages and stop requests; each keeps the old output.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use reembed::config::OutputPlace;
use reembed::pipeline::RunOptions;
use reembed::publish::SupervisorLock;
use reembed::{ErrorKind, Event, Stop, StopReason, TaskRow, pipeline};
use reembed_encoder::batch::TokenBatch;
use reembed_encoder::model::encoder::Watch;
use reembed_encoder::model::fake::{Failure, FakeEncoder};
use reembed_encoder::model::{EncodeError, Model};
use reembed_testing::model_directory::ModelDirectory;

use super::setup::{DIM, TINY, before, damage, fake, plain, run, with_encoder, within_ten_seconds};
use crate::common::{Job, load, prepare, read_parquet, run_opened, write_parquet};

#[test]
fn an_output_that_is_the_input_or_no_regular_file_is_refused() {
    let job = Job::of(&plain(3));
    let before = fs::read(job.input()).expect("an input");
    let at = |name: &str| job.directory().join(name);
    fs::hard_link(job.input(), at("hard.parquet")).expect("a link");
    std::os::unix::fs::symlink(job.input(), at("soft.parquet")).expect("a link");
    std::os::unix::fs::symlink(at("nothing"), at("dangling.parquet")).expect("a link");
    fs::create_dir(at("directory.parquet")).expect("a directory");
    for (output, expected) in [
        ("in.parquet", "the output and the input are the same file"),
        ("directory.parquet/../in.parquet", "the output and the input are the same file"),
        ("hard.parquet", "the output and the input are the same file"),
        ("soft.parquet", "the output is a symbolic link"),
        ("dangling.parquet", "the output is a symbolic link"),
        ("directory.parquet", "the output is a directory"),
        ("far/away/out.parquet", "its directory does not exist"),
    ] {
        let mut config = job.config(&[]);
        config.output.place = OutputPlace::alone(at(output));
        let error = run(&config, &fake(Failure::Never)).expect_err(output);
        assert_eq!(error.kind(), ErrorKind::Target, "{output}: {error}");
        assert!(error.to_string().contains(expected), "{output}: {error}");
        assert_eq!(error.place().file(), Some(config.output.path()));
    }
    let mut config = job.config(&[]);
    config.output.place = OutputPlace::alone(at("in.parquet/out.parquet"));
    let error = run(&config, &fake(Failure::Never)).expect_err("its directory is a file");
    assert!(error.to_string().contains("this is a file, not a directory"), "{error}");
    assert_eq!(error.place().file(), Some(job.input().as_path()));
    assert!(fs::read(job.input()).expect("an input") == before);
    assert!(!at("nothing").exists());
    let mut here = job.config(&[]);
    here.output.place = OutputPlace::alone(at("beside.parquet"));
    run(&here, &fake(Failure::Never)).expect("a file beside the input is fine");
}

#[test]
fn cache_path_of_another_file_is_refused_with_both_keys() {
    let job = Job::of(&plain(3));
    let before = fs::read(job.input()).expect("an input");
    fs::hard_link(job.input(), job.directory().join("hard.parquet")).expect("a link");
    for (cache, other) in [
        ("out/tasks.parquet", "`output.path`"),
        ("out/../out/./tasks.parquet", "`output.path`"),
        ("in.parquet", "`input.path`"),
        ("hard.parquet", "`input.path`"),
        ("out/_reembed/tasks.parquet.lock", "`output.path`"),
        ("out/_reembed", "the directory of that lock"),
        ("out/_reembed/reports/tasks.parquet/report.json", "`report.dir`"),
        ("out/_reembed/reports/tasks.parquet", "`report.dir`"),
    ] {
        let config = job.config(&[&format!("cache.path = {cache:?}")]);
        let error = run(&config, &fake(Failure::Never)).expect_err(cache);
        assert_eq!(error.kind(), ErrorKind::Config, "{cache}: {error}");
        let told = error.to_string();
        assert!(told.contains("`cache.path`") && told.contains(other), "{cache}: {told}");
        let held = SupervisorLock::acquire(&config).err().expect("the parent refuses it too");
        assert_eq!(held.to_string(), told);
        assert!(!job.directory().join("out").exists(), "{cache}");
        let off = job.config(&[&format!("cache.path = {cache:?}"), "cache.mode = \"off\""]);
        pipeline::prepare(&off).expect("a run without a cache");
    }
    assert!(fs::read(job.input()).expect("an input") == before);
    let apart = job.config(&["cache.path = \"out/cache\""]);
    run(&apart, &fake(Failure::Never)).expect("a file of its own");
}

#[test]
fn dying_stage_reports_its_error_and_keeps_the_old_output() {
    type Make = fn(&Job) -> Model;
    let healthy: Make = |_| fake(Failure::Never);
    type Case = (&'static str, &'static [&'static str], Make, ErrorKind, &'static [&'static str]);
    let cases: &[Case] = &[
        (
            "a damaged page",
            &[],
            |job| {
                damage(&job.input(), 6, "title");
                fake(Failure::Never)
            },
            ErrorKind::Data,
            &["in.parquet", "row group 6", "column `title`"],
        ),
        (
            "a file that shrinks under the reader",
            &[],
            |job| {
                let input = job.input();
                before(move |_, _| {
                    fs::File::options()
                        .write(true)
                        .open(&input)
                        .and_then(|f| f.set_len(50))
                        .expect("truncated");
                    Ok(())
                })
            },
            ErrorKind::Data,
            &["in.parquet", "row group"],
        ),
        (
            "a row without text",
            &["output.on_empty = \"error\""],
            healthy,
            ErrorKind::Data,
            &["row 151 (id T-150)", "has no text"],
        ),
        (
            "a tokenizer that fails",
            &[],
            |_| broken_tokenizer(|tokenizer| tokenizer["model"]["unk_token"] = "[NONE]".into()),
            ErrorKind::Encode,
            &["row 152 (id T-151)", "the tokenizer failed"],
        ),
        (
            "a tokenizer that panics",
            &[],
            |_| {
                broken_tokenizer(|tokenizer| {
                    // A second sequence in a template for a single one.
                    let second = serde_json::json!({ "Sequence": { "id": "B", "type_id": 0 } });
                    tokenizer["post_processor"]["single"][1] = second;
                })
            },
            ErrorKind::Encode,
            &["row 1 (id T-0)", "the tokenizer panicked"],
        ),
        (
            "an encoder that fails",
            &[],
            |_| {
                before(|call, _| match call {
                    // Three batches per chunk of ten rows.
                    30 => Err(EncodeError::Failed("no such kernel".into())),
                    _ => Ok(()),
                })
            },
            ErrorKind::Encode,
            &["row 10", "(id T-10", "and 3 others", "the model failed"],
        ),
        (
            "an encoder that panics",
            &[],
            |_| {
                before(|call, _| {
                    assert!(call < 30, "the kernel fell over");
                    Ok(())
                })
            },
            ErrorKind::Encode,
            &["row 10", "(id T-10", "and 3 others", "the model failed"],
        ),
        (
            "a vector that is not finite",
            &[],
            |_| {
                let model = load(TINY.path());
                let token = model.tokenizer.tokenize("☃").expect("ids").ids[1];
                with_encoder(FakeEncoder::new(DIM, Failure::NotANumberFor(token)))
            },
            ErrorKind::Encode,
            &["row 152 (id T-151)", "component 0 of its vector is NaN"],
        ),
        (
            "nothing that fits",
            &[],
            |_| fake(Failure::Always),
            ErrorKind::OutOfMemory,
            &["row ", "(id T-", "tokens do not fit"],
        ),
    ];
    for (name, settings, make, kind, words) in cases {
        let mut rows = plain(200);
        rows[150] = TaskRow { id: "T-150".to_owned(), ..TaskRow::default() };
        rows[151].title = Some("a snowman ☃".to_owned());
        let job = Job::of(&rows);
        write_parquet(&job.input(), &read_parquet(&job.input()).rows, 20);
        fs::create_dir(job.output().parent().expect("a directory")).expect("a directory");
        fs::write(job.output(), "the old output").expect("an old output");
        let ours = ["input.chunk_rows = 10", "batch.start = 4", "run.replace = true"];
        let config = job.config(&[&ours, *settings].concat());
        let model = make(&job);
        let error = within_ten_seconds(move || run(&config, &model)).expect_err(name);
        let said = error.to_string();
        assert_eq!(error.kind(), *kind, "{name}: {said}");
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        assert!(missing.is_empty(), "{name}: {said} lacks {missing:?}");
        assert_eq!(fs::read(job.output()).expect("the old output"), b"the old output", "{name}");
        assert_eq!(job.beside_output(), ["tasks.parquet"], "{name}");
    }
}

#[test]
fn a_panic_in_the_callback_is_an_error_of_its_stage() {
    let job = Job::of(&plain(100));
    let config = job.config(&["input.chunk_rows = 10"]);
    let error = within_ten_seconds(move || {
        let (reader, lock) = prepare(&config).expect("a job");
        let panics =
            |event| assert!(!matches!(event, Event::BatchDone { .. }), "no batches, please");
        let model = fake(Failure::Never);
        let never = Stop::new();
        run_opened(&config, (&reader, &lock), &model, &never, &panics)
    })
    .expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(error.to_string(), "the inference stage panicked: no batches, please");
    assert_eq!(job.beside_output(), Vec::<String>::new());
}

#[test]
fn stop_request_ends_after_the_batch_and_keeps_finished_work() {
    let job = Job::of(&plain(100));
    let config = job.config(&["input.chunk_rows = 20", "batch.start = 5"]);
    let stop = Stop::new();
    let (asked, calls) = (stop.clone(), Arc::new(AtomicU64::new(0)));
    let counted = calls.clone();
    let model = before(move |call, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        if call == 5 {
            asked.request(StopReason::Terminated);
        }
        Ok(())
    });
    let (reader, lock) = prepare(&config).expect("a job");
    let error =
        run_opened(&config, (&reader, &lock), &model, &stop, &|_| ()).expect_err("it is to stop");
    drop(lock);
    assert_eq!(error.kind(), ErrorKind::Stopped(StopReason::Terminated));
    assert_eq!(calls.load(Ordering::Relaxed), 6);
    assert_eq!(job.beside_output(), Vec::<String>::new());
    let (report, _) = run(&config, &fake(Failure::Never)).expect("a report");
    assert_eq!((report.origins().reused, report.origins().encoded), (30, 70));
}

#[test]
fn our_own_encoder_gives_up_in_the_middle_of_a_batch() {
    let encoder = load(TINY.path()).encoder;
    let mut batch = TokenBatch::default();
    (0..4000).for_each(|row| batch.push(row, &[7; 60]));
    let mut vectors = vec![0.0; batch.len() * encoder.dim()];
    let stop = Stop::new();
    let watch = Watch::new(&stop, &|_| ());
    // The batch takes hundreds of milliseconds; the stop request arrives just after it starts.
    let error = std::thread::scope(|scope| {
        let encoding = scope.spawn(|| encoder.encode_until(&batch, watch, &mut vectors));
        stop.request(StopReason::Terminated);
        encoding.join().expect("no panic").expect_err("it stops")
    });
    assert!(matches!(error, EncodeError::Stopped(StopReason::Terminated)), "{error}");
}

#[test]
fn a_run_whose_time_is_over_stops_before_its_first_batch() {
    let job = Job::of(&plain(100));
    let config = job.config(&[]);
    let stop = Stop::new().with_deadline(Some(Instant::now()));
    let model = before(|_, _| panic!("there is no time"));
    let (reader, lock) = prepare(&config).expect("a job");
    let error =
        run_opened(&config, (&reader, &lock), &model, &stop, &|_| ()).expect_err("it is to stop");
    assert_eq!(error.kind(), ErrorKind::Stopped(StopReason::Deadline));
    assert!(!job.output().exists());
}

#[test]
fn output_directory_removed_during_run_is_an_output_error() {
    let job = Job::of(&plain(20));
    // With a cache, its missing directory would be reported first.
    let config = job.config(&["cache.mode = \"off\""]);
    let directory = job.output().parent().expect("a directory").to_owned();
    let model = before(move |_, _| {
        fs::remove_dir_all(&directory).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(EncodeError::Failed(Box::new(error))),
        })
    });
    let error = within_ten_seconds(move || run(&config, &model)).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Output);
    assert_eq!(error.place().file(), Some(job.output().as_path()));
    assert!(!job.output().exists());
}

#[test]
fn a_job_that_is_only_looked_at_makes_nothing() {
    let job = Job::of(&plain(3));
    let config = job.config(&[]);
    pipeline::prepare(&config).expect("a job");
    assert!(!job.output().parent().expect("a directory").exists());
    let mut with_model = config;
    with_model.embeddings.first.model = crate::common::model_config(TINY.path(), &[]);
    pipeline::run(&with_model, RunOptions::default(), &Stop::new(), &|_| ()).expect("a report");
    assert_eq!(job.beside_output(), ["tasks.parquet"]);
}

#[test]
fn an_input_that_is_none_is_refused_before_the_model_is_loaded() {
    let job = Job::new();
    let refused = |expected: &str| {
        let mut config = job.config(&["model.path = \"no/such/model\""]);
        config.input.path = job.input();
        let error = pipeline::run(&config, RunOptions::default(), &Stop::new(), &|_| ())
            .expect_err(expected);
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!job.output().exists());
    };
    refused("cannot be opened");
    fs::write(job.input(), "").expect("a file");
    refused("is empty (0 bytes)");
    fs::write(job.input(), "id,title\n1,one\n").expect("a file");
    refused("this is a CSV file, not a Parquet file");
    fs::remove_file(job.input()).expect("a file");
    fs::create_dir(job.input()).expect("a directory");
    refused("is a directory");
}

fn broken_tokenizer(edit: impl FnOnce(&mut serde_json::Value)) -> Model {
    let written = ModelDirectory::tiny().write();
    written.edit_json("tokenizer.json", edit);
    // A class that follows all of the file.
    let class = br#"{ "tokenizer_class": "PreTrainedTokenizerFast" }"#;
    written.replace_file("tokenizer_config.json", class);
    Model { tokenizer: load(written.path()).tokenizer, ..fake(Failure::Never) }
}
