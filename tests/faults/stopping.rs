//! SIGINT, SIGTERM, SIGHUP and the deadline: a run ends within ten seconds in every phase and keeps finished
//! work.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};

use crate::night::{Dice, FORM, Night, PATIENCE, Phase, Running, is_alive, wait_for};
use crate::program::program;

/// Rows of a run that is still active after its first write, even on a busy machine.
const MANY: u64 = 4_000;

/// The promised maximum time to stop.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn signal_in_any_phase_stops_cleanly_and_keeps_finished_work() {
    let night = Night::of(400, 10);
    let (old, new) = night.with_old_output();
    let mut dice = Dice::new(FORM.seed);
    let mut kept = 0;
    for number in 0..(FORM.kills / 4).max(8) {
        let (signal, code, said) = match number % 2 {
            0 => (Signal::TERM, 143, "the run was asked to end"),
            _ => (Signal::INT, 130, "the run was interrupted"),
        };
        let supervised = number % 4 < 2;
        let aim = [Phase::Locked, Phase::Writing][(number / 4) as usize % 2];
        night.put(&old);
        night.forget_cache();
        let mut running =
            night.start(if supervised { &["--quiet"] } else { &["--quiet", "--no-supervise"] });
        wait_for(|| night.phase(&old) >= aim || running.is_over());
        thread::sleep(Duration::from_millis(dice.below(80)));
        let case = format!("seed {}, signal {number}, {signal:?} after {aim:?}", FORM.seed);
        running.signal(signal);
        let ended = running.end(SOON, &case);
        match ended.status.code() {
            Some(0) => assert!(night.bytes().as_deref() == Some(&new), "{case}"),
            other => {
                assert_eq!(other, Some(code), "{case}: {}", ended.err);
                assert!(ended.error().starts_with(said), "{case}: {}", ended.err);
                assert_eq!(ended.err.lines().count(), 1, "{case}: {}", ended.err);
                assert!(night.bytes().as_deref() == Some(&old), "{case}");
                assert_eq!(night.left_over(), Vec::<String>::new(), "{case}");
                let next = night.run();
                assert_eq!(next.status.code(), Some(0), "{case}: {}", next.err);
                kept += u64::from(reused(&next.out) > 0);
            }
        }
        night.recovers(&old, &new, &case);
    }
    assert!(kept > 0, "no run was stopped after finishing rows");
}

/// Rows whose vectors came from the cache of an earlier run, from the summary.
fn reused(summary: &str) -> u64 {
    let line = summary.lines().find(|line| line.contains("reused")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("reused")).unwrap_or(0);
    words.get(at.saturating_sub(1)).and_then(|n| n.replace(',', "").parse().ok()).unwrap_or(0)
}

#[test]
fn ctrl_c_reaches_both_processes_and_counts_once() {
    let night = Night::of(MANY, 11);
    let (old, new) = night.with_old_output();
    // A process group of its own, as a shell creates for a job.
    let mut command = night.command(&["--quiet"]);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut running = Running::start(command);
    assert!(running.worker().is_some());
    wait_for(|| night.phase(&old) >= Phase::Writing || running.is_over());
    kill_process_group(running.pid(), Signal::INT).expect("a group");
    let ended = running.end(SOON, "Ctrl-C");
    // A second signal would have killed the worker without a message and left its temporary file.
    assert_eq!(ended.status.code(), Some(130), "{}", ended.err);
    assert!(ended.error().starts_with("the run was interrupted"), "{}", ended.err);
    assert_eq!(night.left_over(), Vec::<String>::new());
    night.recovers(&old, &new, "Ctrl-C");
}

#[test]
fn sighup_stops_cleanly_unless_nohup() {
    let night = Night::of(MANY, 12);
    let (old, new) = night.with_old_output();
    // The tests themselves may run under nohup, whose children ignore SIGHUP.
    let heeds = "exec env --default-signal=HUP \"$0\" \"$@\"";
    for (shell, code) in [(heeds, 143), ("trap '' HUP", 0)] {
        night.put(&old);
        night.forget_cache();
        let mut command = night.after(shell);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut running = Running::start(command);
        assert!(running.worker().is_some());
        wait_for(|| night.phase(&old) >= Phase::Writing || running.is_over());
        // The kernel signals the group, then the shell signals it too.
        for _ in 0..2 {
            let _ = kill_process_group(running.pid(), Signal::HUP);
            thread::sleep(Duration::from_millis(30));
        }
        let ended = running.end(SOON, shell);
        assert_eq!(ended.status.code(), Some(code), "{shell}: {}", ended.err);
        if code != 0 {
            assert!(ended.error().starts_with("the run was asked to end"), "{}", ended.err);
            assert!(!ended.err.contains("by force"), "{}", ended.err);
        }
        assert_eq!(night.left_over(), Vec::<String>::new(), "{shell}");
        night.recovers(&old, &new, shell);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for supervised in [true, false] {
        let hub = SilentHub::open();
        let night = hub.night();
        let mut command = hub.command(&night, if supervised { &[] } else { &["--no-supervise"] });
        command.arg("--quiet").env("REEMBED_REPORT_KEEP", "1");
        let mut running = Running::start(command);
        let worker = if supervised { running.worker() } else { None };
        hub.wait_until_asked();
        running.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(300));
        assert!(!running.is_over(), "the first signal must not end a run that waits for the hub");
        // A terminal hangup may deliver SIGHUP twice; the second is not a second request.
        running.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(300));
        assert!(!running.is_over(), "the second SIGHUP ended the run");
        running.signal(Signal::TERM);
        let ended = running.end(Duration::from_secs(2), "a second signal");
        assert_eq!(ended.status.code(), Some(143), "{}", ended.err);
        assert!(ended.error().contains("asked to end, and it was ended by force"), "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        assert!(worker.is_none_or(|worker| wait_for(|| !is_alive(worker))));
        // Without a supervisor no process is left to print the error.
        assert_eq!(
            night.output().with_file_name("_reembed/reports/tasks.parquet/report.json").exists(),
            supervised
        );
        assert_eq!(night.bytes(), None);
    }
}

#[test]
fn a_signal_ends_a_download_that_hangs() {
    thread::scope(|scope| {
        for supervised in [true, false] {
            scope.spawn(move || {
                let hub = SilentHub::open();
                let night = hub.night();
                let arguments: &[&str] = if supervised { &[] } else { &["--no-supervise"] };
                let running = Running::start(hub.command(&night, arguments));
                hub.wait_until_asked();
                running.signal(Signal::INT);
                let ended = running.end(SOON, "a silent hub");
                assert_eq!(ended.status.code(), Some(130), "{}", ended.err);
                assert_eq!(night.bytes(), None);
            });
        }
    });
}

#[test]
fn a_signal_ends_pip_too() {
    let night = Night::of(10, 12);
    let python = night.directory().join("python");
    let script = "#!/bin/sh\necho $$ > \"$PIP_NOTE\"\nexec sleep 600\n";
    fs::write(&python, script).expect("a script");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("a mode");
    let note = night.directory().join("pip");
    let mut command = Command::new(program());
    command.args(["run", "--quiet"]);
    night.surround(&mut command);
    command
        .env("REEMBED_CACHE", night.directory().join("cache"))
        .env("HF_ENDPOINT", "http://127.0.0.1:1")
        .env("REEMBED_PYTHON", &python)
        .env("PIP_NOTE", &note);
    let running = Running::start(command);
    let pip = || fs::read_to_string(&note).ok()?.trim().parse::<i32>().ok();
    assert!(wait_for(|| pip().is_some()));
    running.signal(Signal::TERM);
    let ended = running.end(Duration::from_secs(5), "a pip that hangs");
    assert_eq!(ended.status.code(), Some(143), "{}", ended.err);
    assert!(ended.error().starts_with("the run was asked to end"), "{}", ended.err);
    let pip = pip().and_then(rustix::process::Pid::from_raw).expect("a number");
    assert!(wait_for(|| !is_alive(pip)), "pip still runs after the run");
}

#[test]
fn a_deadline_ends_the_run_and_what_is_finished_is_kept() {
    let mut night = Night::of(400, 13);
    let (old, new) = night.with_old_output();
    let hub = SilentHub::open();
    // While rows are processed: batches are slowed down.
    night.set("REEMBED_RUN_DEADLINE", "1s");
    night.set_rows(20_000, 13);
    let ended = night.start(&["--quiet"]).end(SOON, "a deadline");
    assert_eq!(ended.status.code(), Some(124), "{}", ended.err);
    assert!(ended.error().starts_with("deadline exceeded (`run.deadline`)"), "{}", ended.err);
    assert!(night.bytes().as_deref() == Some(&old));
    assert_eq!(night.left_over(), Vec::<String>::new());
    // During a download.
    let other = hub.night();
    let mut command = hub.command(&other, &["--quiet"]);
    command.env("REEMBED_RUN_DEADLINE", "1");
    let ended =
        Running::start(command).end(SOON + Duration::from_secs(1), "a deadline, and a silent hub");
    assert_eq!(ended.status.code(), Some(124), "{}", ended.err);
    night.set_rows(400, 13);
    night.set("REEMBED_RUN_DEADLINE", "1h");
    night.recovers(&old, &new, "after the deadline");
}

#[test]
fn end_of_standard_input_stops_a_run_that_watches_it() {
    let night = Night::of(400, 17);
    let (old, new) = night.with_old_output();
    night.set_rows(20_000, 17);
    for arguments in [&["--quiet", "--stop-at-eof"][..], &["--stop-at-eof", "--no-supervise"]] {
        // The standard input of these runs is empty.
        let ended = night.start(arguments).end(SOON, "an empty standard input");
        assert_eq!(ended.status.code(), Some(143), "{arguments:?}: {}", ended.err);
        assert!(night.bytes().as_deref() == Some(&old));
        assert_eq!(night.left_over(), Vec::<String>::new());
    }
    night.set_rows(400, 17);
    night.recovers(&old, &new, "the end of standard input");
}

#[test]
fn a_worker_that_does_not_react_is_killed() {
    let night = Night::of(400, 14);
    let (old, new) = night.with_old_output();
    let mut running = night.start(&["--quiet"]);
    let worker = running.worker().expect("a worker");
    // A stopped child blocks its parent until exec.
    wait_for(|| night.phase(&old) >= Phase::Writing || running.is_over());
    kill_process(worker, Signal::STOP).expect("running");
    running.signal(Signal::TERM);
    let ended = running.end(SOON, "a worker that stands still");
    assert_eq!(ended.status.code(), Some(143), "{}", ended.err);
    assert!(wait_for(|| !is_alive(worker)), "the worker still runs");
    night.recovers(&old, &new, "a worker that stood still");
    assert!(PATIENCE > SOON);
}

/// A hub that accepts connections and never answers.
struct SilentHub {
    listener: TcpListener,
}

impl SilentHub {
    fn open() -> SilentHub {
        SilentHub { listener: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    fn night(&self) -> Night {
        Night::of(10, 15)
    }

    /// A command whose model is on this hub.
    fn command(&self, night: &Night, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("run").args(arguments);
        night.surround(&mut command);
        let address = self.listener.local_addr().expect("an address");
        command
            .env("REEMBED_CACHE", night.directory().join("cache"))
            .env("HF_ENDPOINT", format!("http://{address}"))
            .env("REEMBED_PYTHON", "/nowhere/python");
        command
    }

    /// Accepts the first connection and holds it open.
    fn wait_until_asked(&self) {
        let (stream, _) = self.listener.accept().expect("a connection");
        let started = Instant::now();
        std::mem::forget(stream);
        assert!(started.elapsed() < PATIENCE);
    }
}
