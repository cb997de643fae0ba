//! Repeated runs over a changing file, with a random fault in each.

use std::process::Command;
use std::thread;
use std::time::Duration;

use reembed_testing::tools::can_trace;
use rustix::process::Signal;

use crate::night::{Dice, Ended, FORM, Night, PATIENCE, Running, figure};
use crate::program::program;
use crate::syscalls::traced;

/// The faults of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Nothing,
    Killed,
    WorkerKilled,
    Asked,
    Fault,
    LittleMemory,
}

const MISHAPS: [Mishap; 6] = [
    Mishap::Killed,
    Mishap::Fault,
    Mishap::WorkerKilled,
    Mishap::LittleMemory,
    Mishap::Asked,
    Mishap::Nothing,
];

const CALLS: [&str; 4] = ["write", "pwrite64", "fsync", "openat"];

#[test]
fn soak_of_faults_ends_with_the_output_of_a_clean_run() {
    let mut dice = Dice::new(FORM.seed);
    let traces = can_trace();
    let night = Night::of(150, 0);
    for number in 0..FORM.nights {
        // The file grows, loses rows, and sometimes gets other rows: rows and seed select the sample.
        night.set_rows(120 + dice.below(80), number / 5);
        let clean = night.undisturbed();
        let mut mishap = MISHAPS[number as usize % MISHAPS.len()];
        if mishap == Mishap::Fault && !traces {
            mishap = Mishap::Killed;
        }
        let case = format!("seed {}, night {number}, {mishap:?}", FORM.seed);
        for _ in 0..=dice.below(2) {
            let before = night.bytes();
            suffer(&night, mishap, &mut dice, &case);
            let left = night.bytes();
            assert!(left == before || left.as_ref() == Some(&clean), "{case}: an incomplete file");
        }
        let last = night.run();
        assert_eq!(last.status.code(), Some(0), "{case}: {}", last.err);
        assert!(night.bytes().as_ref() == Some(&clean), "{case}: differs from a clean run");
        assert_eq!(night.left_over(), Vec::<String>::new(), "{case}");
        let checked = verify(&night);
        assert_eq!(checked.status.code(), Some(0), "{case}: {}{}", checked.out, checked.err);
    }
    figure(&format!("{} nights, rows lost: 0", FORM.nights));
}

fn suffer(night: &Night, mishap: Mishap, dice: &mut Dice, case: &str) {
    let delay = Duration::from_millis(dice.below(150));
    let interrupted = |arguments: &[&str], act: &dyn Fn(&mut Running)| {
        let mut running = night.start(arguments);
        thread::sleep(delay);
        if !running.is_over() {
            act(&mut running);
        }
        running.end(PATIENCE, case)
    };
    match mishap {
        Mishap::Nothing => {}
        Mishap::Killed => {
            interrupted(&["--no-supervise"], &|running| running.signal(Signal::KILL));
        }
        Mishap::WorkerKilled => {
            interrupted(&[], &|running| {
                let worker = crate::night::worker_of(running.pid());
                worker.map(|worker| rustix::process::kill_process(worker, Signal::KILL));
            });
        }
        Mishap::Asked => {
            let ended = interrupted(&[], &|running| running.signal(Signal::TERM));
            assert!(matches!(ended.status.code(), Some(0 | 143)), "{case}: {}", ended.err);
        }
        Mishap::Fault => {
            let call = dice.pick(&CALLS);
            let inject = format!("{call}:error=EIO:when={}", 1 + dice.below(40));
            traced(night, &inject, dice.below(2) == 0, case);
        }
        Mishap::LittleMemory => {
            let kilobytes = (100 + dice.below(400)) * 1024;
            let inner = night.command(&[]);
            let mut command = Command::new("sh");
            command
                .arg("-c")
                .arg(format!("ulimit -c 0; ulimit -v {kilobytes}; exec \"$0\" \"$@\""));
            command.arg(inner.get_program()).args(inner.get_args());
            night.surround(&mut command);
            let ended = Running::start(command).end(PATIENCE, case);
            assert!(matches!(ended.status.code(), Some(0 | 1)), "{case}: {}", ended.err);
        }
    }
}

/// `reembed verify` with the input and with re-embedded rows.
fn verify(night: &Night) -> Ended {
    let run = night.command(&[]);
    let model = run.get_args().nth(4).expect("the model's directory").to_owned();
    let mut command = Command::new(program());
    command
        .args(["verify", "out/tasks.parquet", "--input", "in.parquet", "--model-path"])
        .arg(model);
    night.surround(&mut command);
    Ended::of(command.output().expect("a child"))
}
