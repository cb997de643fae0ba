//! The guarantees of publishing: the output path holds the old complete file or the new complete one after
//! any failure; only a verified file is published; one run at a time; files of other programs are kept.
//!
//! Faults are external: `strace -e inject`, small disks and limits. The failpoints of `src/failpoints.rs` are
//! negative controls, which show that a check can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray};
use reembed::{Config, ErrorKind, Report, Result, Stop, TaskRow};
use reembed_encoder::batch::TokenBatch;
use reembed_encoder::files::FileLock;
use reembed_encoder::model::fake::{Failure, FakeEncoder};
use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::model::{Encoder, Model, ModelFacts};
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};
use reembed_testing::tools::{can_trace, skipped};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Before, Job, load, prepare, read_parquet, run_opened, task, write_parquet};

static TINY: LazyLock<WrittenModel> = LazyLock::new(|| ModelDirectory::tiny().write());

/// Rows of the large input.
const ROWS: usize = 40;

// Order of the system calls.

#[test]
fn fsync_and_read_back_precede_rename_and_directory_fsync() {
    let Some(strace) = Strace::find() else { return };
    let night = PublishJob::large();
    let run = strace.run(&night, "", &[]);
    assert_eq!(run.status.code(), Some(0), "{}", run.told);
    order(&run.calls).unwrap_or_else(|broken| panic!("{broken}: {:#?}", run.calls));
    // The same with an old file at the output path.
    night.set_rows(1);
    let run = strace.run(&night, "", &[]);
    assert_eq!(run.status.code(), Some(0), "{}", run.told);
    order(&run.calls).unwrap_or_else(|broken| panic!("{broken}: {:#?}", run.calls));
}

#[test]
fn the_check_of_the_order_notices_a_step_that_is_left_out() {
    let Some(strace) = Strace::find() else { return };
    for (failpoint, expected) in [
        ("skip-directory-fsync", "no fsync of the directory"),
        ("skip-read-back", "the file is not read back"),
    ] {
        let night = PublishJob::large();
        let run = strace.run(&night, "", &[failpoint]);
        assert_eq!(run.status.code(), Some(0), "{}", run.told);
        let broken = order(&run.calls).expect_err(failpoint);
        assert_eq!(broken, expected);
    }
}

/// Checks the order of a durable write: write, fsync, reopen, rename, fsync of the directory.
fn order(calls: &[Call]) -> std::result::Result<(), &'static str> {
    let last = |what: &str, on: On| calls.iter().rposition(|call| call.is(what, on));
    let written = last("write", On::Temporary).ok_or("no write to the temporary file")?;
    let synced = last("fsync", On::Temporary).ok_or("no fsync of the file")?;
    let renamed = last("rename", On::Temporary).ok_or("the file is not renamed")?;
    if !(written < synced && synced < renamed) {
        return Err("no fsync of the file before its rename");
    }
    let opened = calls[synced..renamed].iter().any(|call| call.is("open", On::Temporary));
    if !opened {
        return Err("the file is not read back");
    }
    match last("fsync", On::Directory) {
        Some(directory) if directory > renamed => Ok(()),
        _ => Err("no fsync of the directory"),
    }
}

// Disk faults.

#[test]
fn failing_write_fsync_or_rename_keeps_the_old_file() {
    let Some(strace) = Strace::find() else { return };
    let night = PublishJob::large();
    let [old, new] = night.two_outputs();
    for (call, names) in FAULTY_CALLS {
        let mut hit = 0;
        for number in 1.. {
            night.put(&old);
            let run = strace.run(&night, &format!("{names}:error=EIO:when={number}"), &[]);
            let Some(faulty) = run.injected() else { break };
            let case = format!("{call} {number} on {:?}", faulty.on);
            match faulty.on {
                On::Temporary | On::Lock => {
                    assert!(matches!(run.status.code(), Some(1 | 2)), "{case}: {}", run.told);
                    assert!(run.told.contains("tasks.parquet: "), "{case}: {}", run.told);
                    assert!(night.output() == old, "{case}: the old file has changed");
                    hit += 1;
                }
                // The new file is in place but not durable, so that the run fails.
                On::Directory => {
                    assert_eq!(run.status.code(), Some(1), "{case}: {}", run.told);
                    assert!(run.told.contains("fsync of its directory failed"), "{case}");
                    assert!(night.output() == new, "{case}");
                    hit += 1;
                }
                // Standard output and standard error: the result is published.
                On::Other => assert!(night.output() == new || night.output() == old, "{case}"),
            }
            let syncs = run.calls.iter().filter(|call| call.is("fsync", On::Temporary)).count();
            assert!(syncs <= 1, "{case}: a failed fsync was retried");
            assert_eq!(night.beside(), ["tasks.parquet"], "{case}");
            night.completes_with(&new, &case);
        }
        let phases = match call {
            // The lock, several blocks of the file, and its last write.
            "write" => 4,
            "fsync" => 2,
            _ => 1,
        };
        assert!(hit >= phases, "{call}: only {hit} calls were made to fail");
    }
}

#[test]
fn report_says_output_is_in_place_after_directory_fsync_error() {
    let Some(strace) = Strace::find() else { return };
    let night = PublishJob::of(&plain(3));
    for number in 1.. {
        let _ = fs::remove_dir_all(night.directory());
        night.create_directories();
        let inject = format!("fsync:error=EIO:when={number}");
        let trace = night.job.directory().join("trace");
        let mut command = strace.command(&night, &inject, &[], &trace);
        let run = command.env("REEMBED_REPORT_KEEP", "1").output().expect("a child");
        let report = night.directory().join("_reembed/reports/tasks.parquet/report.json");
        let report = fs::read(&report).unwrap_or_else(|cause| panic!("{cause}: {}", err(&run)));
        let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
        let verdict = report["verdict"].as_str().expect("a sentence");
        let says = (
            verdict.contains("The new output is in place, but a power failure may lose it."),
            verdict.contains("The output is unchanged."),
            report["error"]["output_in_place"].as_bool(),
        );
        let expected = match (run.status.code(), night.path().exists()) {
            (Some(1), true) => (true, false, Some(true)),
            (Some(1), false) => (false, true, Some(false)),
            other => panic!("fsync {number}: {other:?}: {}", err(&run)),
        };
        assert_eq!(says, expected, "fsync {number}: {verdict}");
        if night.path().exists() {
            assert!(number > 1, "the first fsync is that of the file");
            break;
        }
    }
}

#[test]
fn kill_at_any_write_leaves_a_whole_file_and_no_lock() {
    let Some(strace) = Strace::find() else { return };
    let night = PublishJob::large();
    let [old, new] = night.two_outputs();
    let mut outcomes = BTreeSet::new();
    for (call, names) in FAULTY_CALLS {
        for number in 1.. {
            night.put(&old);
            let run = strace.run(&night, &format!("{names}:signal=KILL:when={number}"), &[]);
            if run.status.code() == Some(0) {
                break;
            }
            let case = format!("killed at {call} {number}");
            assert_eq!(run.status.signal(), Some(9), "{case}: {}", run.told);
            let left = night.output();
            assert!(left == old || left == new, "{case}: neither the old file nor the new one");
            let temporary = night.beside().iter().any(|name| name.ends_with(".tmp"));
            outcomes.insert((left == new, temporary));
            night.completes_with(&new, &case);
        }
    }
    // Killed without a temporary file, with one, and after the rename.
    assert_eq!(outcomes, BTreeSet::from([(false, false), (false, true), (true, false)]));
}

#[test]
fn lost_write_is_found_by_the_read_back_alone() {
    let Some(strace) = Strace::find() else { return };
    let night = PublishJob::large();
    let [old, new] = night.two_outputs();
    night.put(&old);
    let calm = strace.run(&night, "", &[]);
    // Every write of the process in order, with its index.
    let writes = calm.calls.iter().filter(|call| call.name == "write").enumerate();
    let ours: Vec<(usize, u64)> = writes
        .filter(|(_, call)| call.on == On::Temporary)
        .map(|(number, call)| (number + 1, call.result.parse().expect("a length")))
        .collect();
    assert!(ours.len() >= 3, "{:?}", calm.calls);
    for (number, length) in ours {
        // The system call reports success without writing.
        let lost = format!("write:retval={length}:when={number}");
        night.put(&old);
        let run = strace.run(&night, &lost, &[]);
        assert_eq!(run.status.code(), Some(1), "{lost}: {}", run.told);
        assert!(
            run.told.contains("read-back of the finished file failed: "),
            "{lost}: {}",
            run.told
        );
        assert!(night.output() == old, "{lost}");
        // Without the read-back the run succeeds and publishes a damaged file.
        let run = strace.run(&night, &lost, &["skip-read-back"]);
        if run.told.contains("the keys of its rows") {
            // They are checked before the file.
            continue;
        }
        assert_eq!(run.status.code(), Some(0), "{lost}: {}", run.told);
        assert!(night.output() != old && night.output() != new, "{lost}");
    }
}

#[test]
fn a_disk_that_is_full_leaves_the_old_file() {
    let night = PublishJob::large();
    let [_, new] = night.two_outputs();
    let mut failed = 0;
    for kilobytes in [200, 1100, 2200, 3300, 4200, 12_000] {
        let Some(disk) = SmallDisk::mount(kilobytes, "rw") else { return };
        let output = disk.path().join("tasks.parquet");
        // Any old output serves here, so the small disk gets a small one.
        let small = small_output();
        fs::write(&output, &small).expect("space for a small file");
        let run = |check: &str| {
            let mut command = night.command();
            command.arg("--output").arg(&output).env("REEMBED_PUBLISH_CHECK_SPACE", check);
            command.output().expect("a child")
        };
        let dry = night.command().arg("--output").arg(&output).arg("--dry-run").output();
        let dry = dry.expect("a child");
        let checked = run("true");
        assert_eq!(dry.status.code() == Some(2), kilobytes < 4000, "{kilobytes}: {}", err(&dry));
        if kilobytes < 4000 {
            assert_eq!(checked.status.code(), Some(2), "{kilobytes} KB: {}", err(&checked));
            // The lock file takes a page of the small disk.
            let without_figure =
                |text: String| text.split_once("its disk has ").map(|(head, _)| head.to_owned());
            assert_eq!(without_figure(err(&dry)), without_figure(err(&checked)));
            assert!(
                err(&checked).contains("the output may take 4.1 MB, but its disk has "),
                "{}",
                err(&checked)
            );
            assert!(fs::read(&output).expect("the old file") == small);
        }
        fs::write(&output, &small).expect("space for a small file");
        let unchecked = run("false");
        let left = fs::read(&output).expect("a file");
        match unchecked.status.code() {
            Some(0) => assert!(left == new, "{kilobytes} KB"),
            code => {
                failed += 1;
                assert_eq!(code, Some(1), "{kilobytes} KB: {}", err(&unchecked));
                assert!(err(&unchecked).contains("No space left"), "{}", err(&unchecked));
                assert!(left == small, "{kilobytes} KB");
                let names = fs::read_dir(disk.path()).expect("a directory").count();
                assert_eq!(names, 1, "{kilobytes} KB: files were left over");
            }
        }
    }
    assert!((3..6).contains(&failed), "{failed} of 6 disks were too small");
}

#[test]
fn a_disk_without_room_for_the_cache_is_refused_before_any_work() {
    let night = PublishJob::of(&plain(400));
    for (kilobytes, output_there, cache_there, refused) in [
        (
            200,
            true,
            true,
            Some("tasks.parquet: the output may take 54.2 KB and its vector cache 1.2 MB more"),
        ),
        (200, true, false, None),
        (200, false, true, Some("vectors: the vector cache may take 1.2 MB more")),
        (4000, true, true, None),
    ] {
        let Some(disk) = SmallDisk::mount(kilobytes, "rw") else { return };
        let elsewhere = tempfile::tempdir().expect("a directory");
        let directory = |there| if there { disk.path() } else { elsewhere.path() };
        let output = directory(output_there).join("tasks.parquet");
        let mut command = night.command();
        command.arg("--output").arg(&output);
        command.env("REEMBED_CACHE_MODE", "read-write");
        command.env("REEMBED_CACHE_PATH", directory(cache_there).join("vectors"));
        let run = command.output().expect("a child");
        let case = format!("{kilobytes} KB, {output_there}, {cache_there}: {}", err(&run));
        match refused {
            None => assert_eq!(run.status.code(), Some(0), "{case}"),
            Some(said) => {
                assert_eq!(run.status.code(), Some(2), "{case}");
                assert!(err(&run).contains(said), "{case}");
                assert_eq!(fs::read_dir(disk.path()).expect("a directory").count(), 0, "{case}");
            }
        }
    }
}

#[test]
fn a_limit_on_the_size_of_files_leaves_the_old_file() {
    let night = PublishJob::large();
    let [old, new] = night.two_outputs();
    // SIGXFSZ is harmless, ignored by the parent or not: the run sees the write error.
    for signal in ["trap '' XFSZ", ":"] {
        night.put(&old);
        let script = format!("{signal}; ulimit -c 0; ulimit -f 2048; exec \"$0\" \"$@\"");
        let inner = night.command();
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = command.current_dir(night.job.directory()).output().expect("a child");
        assert_eq!(run.status.code(), Some(1), "{signal}: {}", err(&run));
        assert!(err(&run).contains("File too large"), "{}", err(&run));
        assert!(night.output() == old, "{signal}");
        night.completes_with(&new, signal);
    }
}

#[test]
fn a_chunk_that_falls_out_between_two_stages_is_missed() {
    let night = PublishJob::large();
    let [old, _] = night.two_outputs();
    night.put(&old);
    let mut command = night.command();
    command.env("REEMBED_INPUT_CHUNK_ROWS", "10").env("REEMBED_FAILPOINTS", "drop-one-batch");
    let run = command.output().expect("a child");
    assert_eq!(run.status.code(), Some(1), "{}", err(&run));
    assert!(err(&run).contains("rows of the input were not written"), "{}", err(&run));
    assert!(night.output() == old);
    // Encoded anew, the carried columns show it in the read-back.
    let run = command.env("REEMBED_OUTPUT_CARRY", "reencode").output().expect("a child");
    assert_eq!(run.status.code(), Some(1), "{}", err(&run));
    assert!(err(&run).contains("the values of column `id` are not those written"), "{}", err(&run));
    assert!(night.output() == old);
    let unknown = night.command().env("REEMBED_FAILPOINTS", "drop-two").output().expect("a child");
    assert_eq!(unknown.status.code(), Some(2), "{}", err(&unknown));
}

// One run at a time.

#[test]
fn second_run_fails_at_once_naming_the_lock_holder() {
    let night = PublishJob::of(&plain(3));
    let config = night.job.config(&[]);
    let (_reader, lock) = prepare(&config).expect("a lock");
    // The model does not exist; the lock is checked before it is loaded.
    let mut second = night.command_with(Path::new("no/such/model"));
    let second = second.output().expect("a child");
    assert_eq!(second.status.code(), Some(75), "{}", err(&second));
    let holder = format!("process {} is writing this output", std::process::id());
    assert!(err(&second).contains(&holder), "{}", err(&second));
    drop(lock);
    assert_eq!(night.beside(), Vec::<String>::new());
    assert_eq!(night.run().status.code(), Some(0));
}

#[test]
fn the_lock_of_a_killed_run_is_free_and_what_it_left_is_swept() {
    let Some(strace) = Strace::find() else { return };
    let night = PublishJob::of(&plain(3));
    night.create_directories();
    let child = strace.start(&night, "fsync:delay_enter=60s:when=1");
    let strace = Reaped(child);
    let lock = night.directory().join("_reembed/tasks.parquet.lock");
    let holder: i32 = wait_for(|| {
        let temporary = night.beside().iter().any(|name| name.ends_with(".tmp"));
        fs::read_to_string(&lock).ok().filter(|_| temporary)?.parse().ok()
    });
    let second = night.run();
    assert_eq!(second.status.code(), Some(75), "{}", err(&second));
    assert!(err(&second).contains(&format!("process {holder} ")), "{}", err(&second));
    assert_eq!(night.beside().len(), 3, "the active run's temporary files were removed");
    kill_process(Pid::from_raw(holder).expect("a process"), Signal::KILL).expect("running");
    // strace holds a process that it delays, even after its death.
    drop(strace);
    wait_for(|| (night.run().status.code() == Some(0)).then_some(()));
    assert_eq!(night.beside(), ["tasks.parquet"]);
}

#[test]
fn of_concurrent_runs_one_completes_and_others_are_locked_out() {
    let night = PublishJob::of(&plain(20));
    let start = |_| {
        let quiet = |command: &mut Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a child")
        };
        quiet(&mut night.command())
    };
    let runs: Vec<Child> = (0..4).map(start).collect();
    let codes: Vec<Option<i32>> =
        runs.into_iter().map(|mut run| run.wait().expect("a child").code()).collect();
    assert!(codes.iter().all(|code| [Some(0), Some(75)].contains(code)), "{codes:?}");
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert_eq!(read_parquet(&night.path()).tasks(), plain(20));
    assert_eq!(night.beside(), ["tasks.parquet"]);
}

#[test]
fn deleted_lock_or_changed_output_prevents_publishing() {
    type Act = fn(&Path) -> std::io::Result<()>;
    let cases: [(&str, Act, ErrorKind, &str); 4] = [
        (
            "the lock is deleted",
            |output| fs::remove_file(output.with_file_name("_reembed/tasks.parquet.lock")),
            ErrorKind::Locked,
            "its lock file was deleted during the run",
        ),
        (
            "version 0.1 takes its own lock",
            |output| {
                let lock = FileLock::open(&output.with_file_name(".tasks.parquet.reembed-lock"))?;
                assert!(lock.try_lock()?);
                // It is held until the process ends.
                std::mem::forget(lock);
                Ok(())
            },
            ErrorKind::Locked,
            "a process of reembed 0.1 is writing this output",
        ),
        (
            "another file comes to the output",
            |output| fs::write(output, "somebody else's"),
            ErrorKind::Output,
            "another process changed this file",
        ),
        (
            "the input is written to",
            |output| {
                let input = output.with_file_name("../in.parquet");
                let file = fs::File::options().append(true).open(input)?;
                file.set_modified(std::time::SystemTime::now() + Duration::from_secs(1))
            },
            ErrorKind::Data,
            "the file changed while it was read: its modification time changed",
        ),
    ];
    for (case, act, kind, message) in cases {
        let job = Job::of(&plain(30));
        let output = job.output();
        let model = before(move |call| {
            if call == 0 {
                act(&output).expect("a changed file");
            }
        });
        let error = run(&job.config(&["batch.start = 4"]), &model).expect_err(case);
        assert_eq!(error.kind(), kind, "{case}: {error}");
        assert!(error.to_string().contains(message), "{case}: {error}");
        let left = fs::read(job.output()).ok();
        let expected = (kind == ErrorKind::Output).then(|| b"somebody else's".to_vec());
        assert_eq!(left, expected, "{case}");
    }
}

// Existing files at the output path.

#[test]
fn output_of_another_model_is_replaced_by_rebuild_only() {
    let night = PublishJob::of(&plain(3));
    assert_eq!(night.run().status.code(), Some(0));
    let old = night.output();
    let other = ModelDirectory::tiny().seed(1).prompt(Some("query: ")).write();
    let refused = night.command_with(other.path()).output().expect("a child");
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    for word in [
        "the existing file has vectors of another model: ",
        "model.safetensors differ",
        "prompt \"\" there, \"query: \" here",
        "--rebuild",
        "--switch-model",
    ] {
        assert!(err(&refused).contains(word), "{word}: {}", err(&refused));
    }
    assert_eq!(err(&refused).lines().count(), 1);
    assert!(!err(&refused).contains("SHA-256"), "{}", err(&refused));
    assert!(night.output() == old && night.beside() == ["tasks.parquet"]);
    for (flags, code) in [(&["--dry-run"][..], 3), (&["--dry-run", "--rebuild"], 0)] {
        let dry = night.command_with(other.path()).args(flags).output().expect("a child");
        assert_eq!(dry.status.code(), Some(code), "{flags:?}: {}", err(&dry));
        assert_eq!(err(&dry), if code == 3 { err(&refused) } else { String::new() });
    }
    let rebuilt = night.command_with(other.path()).arg("--rebuild").output().expect("a child");
    assert_eq!(rebuilt.status.code(), Some(0), "{}", err(&rebuilt));
    assert!(night.output() != old);
}

#[test]
fn foreign_file_is_refused_early_and_replaced_on_demand() {
    let night = PublishJob::of(&plain(3));
    let files: [&[u8]; 3] = [b"", b"text", &fs::read(night.job.input()).expect("an input")];
    for bytes in files {
        night.put(bytes);
        let no_model = Path::new("no/such/model");
        let refused = night.command_with(no_model).output().expect("a child");
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        assert!(
            err(&refused).contains("reembed did not write the existing file"),
            "{}",
            err(&refused)
        );
        assert!(err(&refused).contains("--replace"), "{}", err(&refused));
        let looked = night.command_with(no_model).arg("--dry-run").output().expect("a child");
        assert_eq!(err(&looked), err(&refused));
        // `--rebuild` replaces outputs of other models, but no foreign files.
        let rebuild = night.command().arg("--rebuild").output().expect("a child");
        assert_eq!(rebuild.status.code(), Some(2), "{}", err(&rebuild));
        assert!(night.output() == bytes && night.beside() == ["tasks.parquet"]);
        let replaced = night.command().arg("--replace").output().expect("a child");
        assert_eq!(replaced.status.code(), Some(0), "{}", err(&replaced));
        assert_eq!(read_parquet(&night.path()).tasks(), plain(3));
    }
}

#[test]
fn shrunken_input_does_not_replace_the_good_output() {
    let night = PublishJob::of(&plain(10));
    assert_eq!(night.run().status.code(), Some(0));
    let old = night.output();
    for (rows, refused_with) in [
        (
            4,
            Some(
                "the existing file has 10 rows and the new one would have 4, 60 % fewer; at most 50 % fewer are allowed",
            ),
        ),
        (
            0,
            Some(
                "the existing file has 10 rows and the new one would have 0, 100 % fewer; at most 50 % fewer are allowed",
            ),
        ),
        (5, None),
    ] {
        night.put(&old);
        night.rewrite(&plain(rows));
        let run = night.run();
        let Some(message) = refused_with else {
            assert_eq!(run.status.code(), Some(0), "{rows} rows: {}", err(&run));
            continue;
        };
        let no_model = night.command_with(Path::new("no/such/model")).output().expect("a child");
        for run in [&run, &no_model] {
            assert_eq!(run.status.code(), Some(2), "{rows} rows: {}", err(run));
            assert!(err(run).contains(message), "{}", err(run));
            assert!(err(run).contains("--allow-shrink"), "{}", err(run));
        }
        assert!(night.output() == old);
        let allowed = night.command().arg("--allow-shrink").output().expect("a child");
        assert_eq!(allowed.status.code(), Some(0), "{rows} rows: {}", err(&allowed));
        assert_eq!(read_parquet(&night.path()).tasks(), plain(rows));
    }
    night.put(&old);
    night.rewrite(&plain(9));
    let strict = night.command().env("REEMBED_PUBLISH_MAX_SHRINK", "9").output().expect("a child");
    assert_eq!(strict.status.code(), Some(2), "{}", err(&strict));
}

#[test]
fn the_output_keeps_mode_and_owner_of_the_file_it_replaces() {
    let night = PublishJob::of(&plain(3));
    assert_eq!(night.run().status.code(), Some(0));
    let umask_decides = fs::metadata(night.path()).expect("a file").mode() & 0o7777;
    assert_eq!(umask_decides & 0o600, 0o600, "{umask_decides:o}");
    let root = rustix::process::geteuid().is_root();
    for (mode, owner) in [(0o640, 1234), (0o444, 0), (0o604, 4321)] {
        fs::set_permissions(night.path(), fs::Permissions::from_mode(mode)).expect("a mode");
        if root {
            chown(night.path(), Some(owner), Some(owner + 1)).expect("an owner");
        }
        let before = fs::metadata(night.path()).expect("a file");
        night.rewrite(&plain(4 + owner as usize % 7));
        let run = night.run();
        assert_eq!(run.status.code(), Some(0), "{}", err(&run));
        let after = fs::metadata(night.path()).expect("a file");
        assert_ne!(after.ino(), before.ino());
        let kept = |found: &fs::Metadata| (found.mode(), found.uid(), found.gid());
        assert_eq!(kept(&after), kept(&before));
    }
}

#[test]
fn second_run_with_the_same_bytes_leaves_the_file_alone() {
    let night = PublishJob::large();
    assert_eq!(night.run().status.code(), Some(0));
    let (before, bytes) = (fs::metadata(night.path()).expect("a file"), night.output());
    thread::sleep(Duration::from_millis(20));
    let again = night.run();
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains(", unchanged)"), "{again:?}");
    let after = fs::metadata(night.path()).expect("a file");
    let seen = |found: &fs::Metadata| (found.ino(), found.mtime(), found.mtime_nsec());
    assert_eq!(seen(&after), seen(&before));
    assert!(night.output() == bytes && night.beside() == ["tasks.parquet"]);
    // A bit flip in the old file: it is replaced.
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 4;
    night.put(&damaged);
    assert_eq!(night.run().status.code(), Some(0));
    assert!(night.output() == bytes);
}

#[test]
fn unwritable_directory_is_refused_before_the_model() {
    let night = PublishJob::of(&plain(3));
    let Some(disk) = SmallDisk::mount(1000, "ro") else { return };
    for name in ["tasks.parquet", "new/tasks.parquet"] {
        let mut command = night.command_with(Path::new("no/such/model"));
        let run = command.arg("--output").arg(disk.path().join(name)).output().expect("a child");
        assert_eq!(run.status.code(), Some(2), "{name}: {}", err(&run));
        assert!(err(&run).contains("its directory is not writable"), "{name}: {}", err(&run));
    }
}

#[test]
fn only_what_dead_runs_of_this_output_left_is_swept() {
    let night = PublishJob::of(&plain(3));
    night.create_directories();
    let others = ["other.parquet.abcdef.tmp", ".tasks.parquet.abcdef.tmp", "tasks.parquet.old"];
    for name in ["tasks.parquet.abcdef.tmp", "tasks.parquet.012345.tmp"].iter().chain(&others) {
        fs::write(night.directory().join("_reembed").join(name), "half of a file").expect("a file");
    }
    // Of version 0.1.
    let old = night.directory().join(".tasks.parquet.abcdef.reembed-tmp");
    fs::write(old, "half of a file").expect("a file");
    let run = night.run();
    assert_eq!(run.status.code(), Some(0), "{}", err(&run));
    let left: BTreeSet<String> = night.beside().into_iter().collect();
    let expected = others.into_iter().chain(["tasks.parquet"]).map(str::to_owned).collect();
    assert_eq!(left, expected);
}

// Helpers.

/// A job for the real program.
struct PublishJob {
    job: Job,
}

impl PublishJob {
    fn of(rows: &[TaskRow]) -> PublishJob {
        let night = PublishJob { job: Job::of(rows) };
        let config = "[input]\npath = \"in.parquet\"\n\n[output]\npath = \"out/tasks.parquet\"\n";
        fs::write(night.job.directory().join("pipeline.toml"), config).expect("a configuration");
        night
    }

    /// A job with a column that makes the output several megabytes, for several writes.
    fn large() -> PublishJob {
        let night = PublishJob::of(&[]);
        night.set_rows(0);
        night
    }

    /// Changes the input: `seed` is in every row.
    fn set_rows(&self, seed: u64) {
        let texts = |text: &str| {
            let text = |row| format!("{text} {row} of night {seed}");
            Arc::new(StringArray::from_iter_values((0..ROWS).map(text))) as ArrayRef
        };
        let mut state = seed;
        let mut noise = || {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 27)
        };
        let mut blob = || (0..12_800).flat_map(|_| noise().to_le_bytes()).collect::<Vec<u8>>();
        let blobs: Vec<Vec<u8>> = (0..ROWS).map(|_| blob()).collect();
        let blobs = BinaryArray::from_iter_values(&blobs);
        assert_eq!(blobs.len(), ROWS);
        let batch = RecordBatch::try_from_iter([
            ("id", texts("row")),
            ("title", texts("title")),
            ("description", texts("description")),
            ("blob", Arc::new(blobs) as ArrayRef),
        ]);
        write_parquet(&self.job.input(), &batch.expect("a batch"), ROWS);
    }

    fn rewrite(&self, rows: &[TaskRow]) {
        let rows = rows.iter().cloned();
        reembed_cli::sample::write_tasks(&self.job.input(), rows).expect("an input");
    }

    fn command(&self) -> Command {
        self.command_with(TINY.path())
    }

    fn command_with(&self, model: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reembed"));
        command
            // Faults hit the worker itself; tests/faults covers the supervisor.
            .args(["run", "--no-supervise", "--quiet", "--config", "pipeline.toml", "--model-path"])
            .arg(model)
            .env_clear()
            .env("HOME", "/nowhere")
            .env("REEMBED_COMPUTE_THREADS", "1")
            .env("REEMBED_CACHE_MODE", "off")
            // Reports are off: only the calls for the output are counted.
            .env("REEMBED_REPORT_KEEP", "0")
            .current_dir(self.job.directory());
        command
    }

    fn run(&self) -> Output {
        self.command().output().expect("a child")
    }

    fn path(&self) -> PathBuf {
        self.job.output()
    }

    fn directory(&self) -> PathBuf {
        self.job.output().parent().expect("a directory").to_owned()
    }

    fn output(&self) -> Vec<u8> {
        fs::read(self.path()).expect("an output")
    }

    /// Creates what a run would create, so that its calls for it are not among those that are counted.
    fn create_directories(&self) {
        fs::create_dir_all(self.directory().join("_reembed")).expect("a directory");
    }

    /// Writes these bytes to the output path.
    fn put(&self, bytes: &[u8]) {
        self.create_directories();
        fs::write(self.path(), bytes).expect("an output");
    }

    fn beside(&self) -> Vec<String> {
        self.job.beside_output()
    }

    /// The outputs of two runs; the input remains that of the second.
    fn two_outputs(&self) -> [Vec<u8>; 2] {
        [1, 2].map(|seed| {
            self.set_rows(seed);
            let run = self.run();
            assert_eq!(run.status.code(), Some(0), "{}", err(&run));
            self.output()
        })
    }

    /// Checks that the next run completes undisturbed.
    fn completes_with(&self, new: &[u8], case: &str) {
        let run = self.run();
        assert_eq!(run.status.code(), Some(0), "{case}, the next run: {}", err(&run));
        assert!(self.output() == new, "{case}: the next run wrote other bytes");
        assert_eq!(self.beside(), ["tasks.parquet"], "{case}: the next run left files over");
    }
}

/// An output with a few rows.
fn small_output() -> Vec<u8> {
    let night = PublishJob::of(&plain(2));
    assert_eq!(night.run().status.code(), Some(0));
    night.output()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn plain(count: usize) -> Vec<TaskRow> {
    (0..count).map(|row| task(format!("T-{row}"), format!("Fix the thing number {row}"))).collect()
}

/// The fake encoder, which calls `act` with the number of the call before each batch.
fn before(act: impl Fn(u64) + Send + Sync + 'static) -> Model {
    let fake: Box<dyn Encoder> = Box::new(FakeEncoder::new(8, Failure::Never));
    let encoder = Before::new(fake, move |call, _: &TokenBatch| {
        act(call);
        Ok(())
    });
    let model = load(TINY.path());
    let identity = ModelIdentity { dimension: 8, ..model.facts.identity };
    let facts = ModelFacts { identity, ..model.facts };
    Model { encoder: Arc::new(encoder), facts, ..model }
}

fn run(config: &Config, model: &Model) -> Result<Report> {
    let (reader, lock) = prepare(config)?;
    run_opened(config, (&reader, &lock), model, &Stop::new(), &|_| ())
}

fn wait_for<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "timeout");
        thread::sleep(Duration::from_millis(10));
    }
}

/// System calls to fail, and their strace names on all machines.
const FAULTY_CALLS: [(&str, &str); 3] =
    [("write", "write"), ("fsync", "fsync"), ("rename", "/^rename(at2?)?$")];

/// `strace`, which traces the system calls of a run and injects faults.
struct Strace;

impl Strace {
    /// `None` where [`can_trace`] is false.
    fn find() -> Option<Strace> {
        can_trace().then_some(Strace)
    }

    fn command(
        &self,
        night: &PublishJob,
        inject: &str,
        failpoints: &[&str],
        trace: &Path,
    ) -> Command {
        let inner = night.command();
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "0", "-e", "signal=none", "-e"]);
        command.arg("trace=write,fsync,openat,/^rename(at2?)?$");
        if !inject.contains("signal") {
            // Stops only at the traced calls. With it strace 6.1 sends no signals.
            command.arg("--seccomp-bpf");
        }
        if !inject.is_empty() {
            command.args(["-e", &format!("inject={inject}")]);
        }
        command.arg("-o").arg(trace).arg(inner.get_program()).args(inner.get_args());
        command
            .env_clear()
            .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("REEMBED_FAILPOINTS", failpoints.join(","))
            .current_dir(night.job.directory())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, night: &PublishJob, inject: &str, failpoints: &[&str]) -> Traced {
        let trace = night.job.directory().join("trace");
        let output = self.command(night, inject, failpoints, &trace).output().expect("a child");
        let text = fs::read_to_string(&trace).expect("a trace");
        let calls = whole_calls(&text).iter().filter_map(|line| Call::parse(line)).collect();
        Traced { status: output.status, told: err(&output), calls }
    }

    fn start(&self, night: &PublishJob, inject: &str) -> Child {
        let mut command = self.command(night, inject, &[], Path::new("/dev/null"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a child")
    }
}

struct Traced {
    status: std::process::ExitStatus,
    told: String,
    calls: Vec<Call>,
}

impl Traced {
    fn injected(&self) -> Option<&Call> {
        self.calls.iter().find(|call| call.injected)
    }
}

/// A line of the trace.
#[derive(Debug)]
struct Call {
    name: &'static str,
    on: On,
    result: String,
    injected: bool,
}

/// The file that a call operates on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Temporary,
    Lock,
    Directory,
    Other,
}

impl Call {
    /// `1234 write(5</tmp/x/out/_reembed/tasks.parquet.aB3xYz.tmp>, ""..., 1048576) = 1048576`
    fn parse(line: &str) -> Option<Call> {
        let (_, call) = line.split_once(' ')?;
        let (name, rest) = call.trim_start().split_once('(')?;
        let name = match name {
            "write" => "write",
            "fsync" => "fsync",
            "openat" => "open",
            "rename" | "renameat" | "renameat2" => "rename",
            _ => return None,
        };
        let result = rest.rsplit_once(" = ").map_or("", |(_, result)| result);
        let result = result.split([' ', '<']).next().unwrap_or("").to_owned();
        // A file that this call creates is not reopened.
        let made = name == "open" && rest.contains("O_CREAT");
        let on = match rest {
            _ if made => On::Other,
            _ if rest.contains("_reembed/tasks.parquet.lock") => On::Lock,
            _ if rest.contains("_reembed/tasks.parquet.") => On::Temporary,
            _ if rest.contains("/out>)") => On::Directory,
            _ => On::Other,
        };
        Some(Call { name, on, result, injected: line.contains("(INJECTED)") })
    }

    fn is(&self, name: &str, on: On) -> bool {
        self.name == name && self.on == on
    }
}

/// The calls of a trace, one in a line. A call that another thread interrupts is in two lines.
fn whole_calls(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            begun.insert(thread, start);
        } else if let (true, Some((_, end))) =
            (call.trim_start().starts_with("<... "), call.split_once("resumed>"))
        {
            let start = begun.remove(thread).unwrap_or("");
            calls.push(format!("{thread} {start}{end}"));
        } else {
            calls.push(line.to_owned());
        }
    }
    calls
}

/// A child process that is killed on drop.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tmpfs of the given size in kilobytes.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, with a printed reason, if this process may not mount.
    fn mount(kilobytes: u32, mode: &str) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a directory");
        let options = format!("size={kilobytes}k,{mode}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(SmallDisk { directory });
        }
        skipped("a small disk cannot be mounted");
        None
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.directory.path()).output();
    }
}
