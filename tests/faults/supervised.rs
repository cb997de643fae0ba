//! The worker dies and its supervisor restarts it; the supervisor dies and the worker ends.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use reembed_testing::tools::can_trace;
use rustix::process::{Signal, kill_process};

use crate::night::{Dice, FORM, Night, PATIENCE, Phase, Running, is_alive, wait_for, worker_of};

#[test]
fn a_worker_that_is_killed_is_started_again_and_the_run_is_done() {
    let night = Night::of(300, 4);
    let (old, new) = night.with_old_output();
    let mut dice = Dice::new(FORM.seed);
    let mut again = 0;
    for number in 0..(FORM.kills / 4).max(4) {
        night.put(&old);
        night.forget_cache();
        let mut running = night.start(&[]);
        let worker = running.worker().expect("a worker");
        wait_for(|| night.phase(&old) >= Phase::Locked || running.is_over());
        thread::sleep(Duration::from_millis(dice.below(60)));
        let hit = is_alive(worker) && kill_process(worker, Signal::KILL).is_ok();
        let case = format!("seed {}, worker {number}", FORM.seed);
        let ended = running.end(PATIENCE, &case);
        assert_eq!(ended.status.code(), Some(0), "{case}: {}", ended.err);
        let told = ended.err.matches("the worker was killed by SIGKILL").count();
        assert!(told <= 1 && (hit || told == 0), "{case}: {}", ended.err);
        again += told;
        assert!(ended.out.contains("rows         300"), "{case}: {}", ended.out);
        assert!(night.bytes().as_deref() == Some(&new), "{case}");
        assert_eq!(night.left_over(), Vec::<String>::new(), "{case}");
    }
    assert!(again > 0, "no kill hit a running worker");
}

#[test]
fn whoever_starts_a_run_may_ignore_the_deaths_of_children() {
    let night = Night::of(300, 9);
    let (old, new) = night.with_old_output();
    night.put(&old);
    night.forget_cache();
    let case = "children's deaths are ignored";
    let mut running = Running::start(night.after("trap '' CHLD"));
    let worker = running.worker().expect("a worker");
    wait_for(|| night.phase(&old) >= Phase::Locked || running.is_over());
    kill_process(worker, Signal::KILL).expect("a worker that is there");
    let ended = running.end(PATIENCE, case);
    assert_eq!(ended.status.code(), Some(0), "{case}: {}", ended.err);
    assert!(ended.err.contains("the worker was killed by SIGKILL"), "{case}: {}", ended.err);
    assert!(night.bytes().as_deref() == Some(&new), "{case}");
}

#[test]
fn a_worker_dies_with_its_parent_and_the_next_run_completes() {
    let night = Night::of(300, 5);
    let (old, new) = night.with_old_output();
    for phase in [Phase::Locked, Phase::Writing] {
        night.put(&old);
        night.forget_cache();
        let mut running = night.start(&["--quiet"]);
        let worker = running.worker().expect("a worker");
        wait_for(|| night.phase(&old) >= phase || running.is_over());
        running.signal(Signal::KILL);
        assert!(wait_for(|| !is_alive(worker)), "{phase:?}: the worker runs without its parent");
        drop(running);
        night.recovers(&old, &new, &format!("the parent is killed at {phase:?}"));
    }
}

#[test]
fn while_a_worker_is_started_again_nobody_else_gets_the_output() {
    let night = Night::of(300, 6);
    let (old, new) = night.with_old_output();
    let mut running = night.start(&["--quiet"]);
    let first = running.worker().expect("a worker");
    assert!(wait_for(|| night.phase(&old) >= Phase::Writing || running.is_over()));
    // A stopped worker cannot end before the second run has checked the lock.
    kill_process(first, Signal::STOP).expect("running");
    let second = night.run();
    assert_eq!(second.status.code(), Some(75), "{}", second.err);
    let parent = running.child.id();
    assert!(second.err.contains(&format!("process {parent} is writing")), "{}", second.err);
    kill_process(first, Signal::KILL).expect("stopped");
    let ended = running.end(PATIENCE, "a worker that stood still");
    assert_eq!(ended.status.code(), Some(0), "{}", ended.err);
    assert!(night.bytes().as_deref() == Some(&new));
}

#[test]
fn third_death_without_progress_fails_naming_rows_in_flight() {
    if !can_trace() {
        return;
    }
    let night = Night::of(96, 7);
    let (old, new) = night.with_old_output();
    // Each worker dies at its first cache write or, without a cache, at the fsync of the finished file.
    for (mode, call, place) in
        [("read-write", "pwrite64", "before"), ("off", "fsync", "rows from row ")]
    {
        let inner = night.command(&["--log-format", "text", "--cache-mode", mode]);
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/null"])
            .args([
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={call}:signal=KILL:when=1+"),
            ])
            .arg(inner.get_program())
            .args(inner.get_args());
        night.surround(&mut command);
        let ended = Running::start(command).end(PATIENCE, "every worker dies");
        let told = &ended.err;
        assert_eq!(ended.status.code(), Some(1), "{mode}: {told}");
        assert_eq!(told.matches("restarting it with").count(), 2, "{mode}: {told}");
        let error = ended.error();
        assert!(error.contains("the worker was killed 3 times, last by SIGKILL"), "{mode}: {told}");
        assert!(error.contains(place), "{mode}: {told}");
        assert_eq!(night.left_over(), Vec::<String>::new(), "{mode}");
        night.recovers(&old, &new, "after three deaths");
        night.put(&old);
    }
}

#[test]
fn the_worker_is_what_the_kernel_kills_first() {
    let night = Night::of(300, 8);
    let mut running = night.start(&["--quiet"]);
    let worker = running.worker().expect("a worker");
    let score = |pid: rustix::process::Pid| -> i32 {
        let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(-1)
    };
    let parents = score(running.pid());
    assert!(wait_for(|| score(worker) > parents || !is_alive(worker)));
    assert!(score(worker) >= 500, "the worker's oom_score_adj is {}", score(worker));
    assert_eq!(worker_of(running.pid()), Some(worker));
    assert_eq!(running.end(PATIENCE, "a run").status.code(), Some(0));
}

#[test]
fn a_worker_that_nobody_started_says_so() {
    let night = Night::of(3, 9);
    let alone = night.command(&["--worker"]).output().expect("a child");
    assert_eq!(alone.status.code(), Some(1));
    assert!(crate::night::err(&alone).contains("--worker is for reembed itself"), "{alone:?}");
    assert_eq!(night.bytes(), None);
}
