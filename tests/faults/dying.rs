//! SIGKILL at random moments.

use std::collections::BTreeMap;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::night::{Dice, FORM, Night, PATIENCE, PHASES, Phase, figure, wait_for};

/// Rows of the job: enough for a kill to land in the middle of a run.
const ROWS: u64 = 100;

#[test]
fn kill_at_any_moment_leaves_a_whole_file_and_recovers() {
    kill(&Night::of(ROWS, 1), FORM.kills);
}

#[test]
fn so_does_a_run_of_the_real_model() {
    let kills = FORM.kills / 50;
    // A smaller number does not reach each phase.
    if kills < 12 {
        return figure("kills of the real model are for the full form");
    }
    kill(&Night::of(24, 1).with_real_model(), kills);
}

fn kill(night: &Night, kills: u64) {
    let (old, new) = night.with_old_output();
    let mut dice = Dice::new(FORM.seed);
    let whole = {
        let started = Instant::now();
        night.undisturbed();
        started.elapsed()
    };
    let mut hits: BTreeMap<Phase, u64> = BTreeMap::new();
    for number in 0.. {
        // On a busy machine a run may pass a short phase between two polls: such a phase is tried again.
        let missed = PHASES.into_iter().find(|phase| !hits.contains_key(phase));
        if number >= kills && (missed.is_none() || number >= 2 * kills) {
            break;
        }
        night.put(&old);
        // Every second run keeps the partial cache of the runs before.
        if dice.below(2) == 0 {
            night.forget_cache();
        }
        let mut running = night.start(&["--no-supervise", "--quiet"]);
        // Short phases are targeted in turn; the other kills are random.
        let aimed = match number < kills {
            true => (number % 3 == 0).then(|| PHASES[(number / 3) as usize % PHASES.len()]),
            false => missed,
        };
        match aimed {
            Some(phase @ (Phase::Start | Phase::Locked | Phase::Published)) => {
                wait_for(|| night.phase(&old) >= phase || running.is_over());
            }
            Some(phase) => {
                wait_for(|| night.phase(&old) >= phase || running.is_over());
                thread::sleep(whole.mul_f64(dice.below(100) as f64 / 400.0));
            }
            None => thread::sleep(whole.mul_f64(dice.below(1000) as f64 / 900.0)),
        }
        let phase = night.phase(&old);
        running.signal(Signal::KILL);
        let case = format!("seed {}, kill {number}, at {phase:?}", FORM.seed);
        running.end(PATIENCE, &case);
        *hits.entry(phase).or_default() += 1;
        night.recovers(&old, &new, &case);
    }
    let missed: Vec<_> = PHASES.iter().filter(|phase| !hits.contains_key(phase)).collect();
    assert!(missed.is_empty(), "no kill in the phases {missed:?}: {hits:?}");
    figure(&format!("{kills} kills, rows lost: 0; by phase {hits:?}"));
}
