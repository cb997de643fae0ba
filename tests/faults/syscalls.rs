//! System calls that fail, lie or kill, injected by strace, with the cache enabled.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use reembed_testing::tools::can_trace;

use crate::night::{Dice, Ended, FORM, Night, PATIENCE, Running, figure};

/// Calls to fail, by their strace name on all machines; the approximate number of each per thread; and the
/// injected errors.
const FAULTS: [(&str, u64, &[&str]); 7] = [
    ("write", 8, &["EIO", "ENOSPC", "EDQUOT"]),
    ("pwrite64", 60, &["EIO", "ENOSPC"]),
    ("fsync", 3, &["EIO", "ENOSPC"]),
    ("fdatasync", 8, &["EIO"]),
    ("/^rename(at2?)?$", 1, &["EIO", "ENOSPC", "EACCES"]),
    ("openat", 40, &["EMFILE", "EIO"]),
    ("mmap", 100, &["ENOMEM"]),
];

/// Calls at which the process is killed, and the approximate number of each per thread.
const DEADLY: [(&str, u64); 5] =
    [("write", 8), ("pwrite64", 50), ("fsync", 3), ("fdatasync", 6), ("/^rename(at2?)?$", 1)];

#[test]
fn any_failing_call_is_reported_and_the_next_run_completes() {
    if !can_trace() {
        return;
    }
    let night = Night::of(48, 2);
    let (old, new) = night.with_old_output();
    let mut dice = Dice::new(FORM.seed);
    let mut outcomes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for number in 0..FORM.faults {
        night.put(&old);
        if dice.below(2) == 0 {
            night.forget_cache();
        }
        let (call, most, errors) = FAULTS[number as usize % FAULTS.len()];
        let error = dice.pick(errors);
        let (first, step) = (1 + dice.below(most), 1 + dice.below(most));
        // A single call, or every n-th call from it on.
        let when = if dice.below(3) == 0 { format!("{first}+{step}") } else { format!("{first}") };
        let inject = format!("{call}:error={error}:when={when}");
        let supervised = dice.below(2) == 0;
        let case = format!("seed {}, fault {number}, {inject}, supervised {supervised}", FORM.seed);
        let run = traced(&night, &inject, supervised, &case);
        let code = run.status.code();
        let outcome = match code {
            Some(0) => {
                assert!(
                    night.bytes().as_deref() == Some(&new),
                    "{case}: exit 0 without the output"
                );
                "done all the same"
            }
            // A failed allocation in a library, or in the dynamic loader, which exits with 127.
            None if call == "mmap" => "killed",
            Some(127) if call == "mmap" || call == "openat" => "not loaded",
            Some(1..=3) => {
                // The failed write may be the one that prints the error.
                let said = !run.err.trim().is_empty() || call == "write";
                assert!(said, "{case}: no error message");
                "failed"
            }
            other => panic!("{case}: exit {other:?}: {}", run.err),
        };
        *outcomes.entry((call, outcome)).or_default() += 1;
        night.recovers(&old, &new, &case);
    }
    assert!(outcomes.keys().any(|(_, outcome)| *outcome == "failed"), "{outcomes:?}");
    figure(&format!("{} faults, rows lost: 0; {outcomes:?}", FORM.faults));
}

#[test]
fn a_run_killed_at_any_call_recovers() {
    if !can_trace() {
        return;
    }
    let night = Night::of(48, 3);
    let (old, new) = night.with_old_output();
    let mut dice = Dice::new(FORM.seed + 1);
    let mut killed = 0;
    for number in 0..FORM.kills / 2 {
        night.put(&old);
        if dice.below(2) == 0 {
            night.forget_cache();
        }
        let (call, most) = DEADLY[number as usize % DEADLY.len()];
        let inject = format!("{call}:signal=KILL:when={}", 1 + dice.below(most));
        let case = format!("seed {}, kill {number}, {inject}", FORM.seed + 1);
        let run = traced(&night, &inject, false, &case);
        killed += u64::from(run.status.code().is_none());
        night.recovers(&old, &new, &case);
    }
    assert!(killed > 0, "no call killed");
    figure(&format!("{killed} kills at a write, fsync or rename, rows lost: 0"));
}

/// Runs the job with this injection.
pub fn traced(night: &Night, inject: &str, supervised: bool, case: &str) -> Ended {
    let inner =
        night.command(if supervised { &["--quiet"] } else { &["--quiet", "--no-supervise"] });
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(Path::new("/dev/null"))
        .args(["-e", &format!("inject={inject}")])
        .arg("-e")
        // strace injects only into calls that it traces.
        .arg(format!("trace={}", inject.split(':').next().unwrap_or_default()))
        .arg(inner.get_program())
        .args(inner.get_args());
    night.surround(&mut command);
    Running::start(command).end(PATIENCE, case)
}
