//! Decreasing memory limits: the same bytes down to a floor, and a one-line error below it.

use std::fs;
use std::path::PathBuf;

use reembed_testing::model_directory::ModelDirectory;
use reembed_testing::tools::skipped;

use crate::night::{Ended, FORM, Night, PATIENCE, Running, figure};

/// Limits on the address space in MB, descending. Below the last, the dynamic loader itself fails.
const ADDRESS_SPACES: [u64; 9] = [2048, 1024, 768, 512, 384, 256, 192, 144, 112];

/// The tiny model's job must succeed with this much address space, in MB.
const ENOUGH: u64 = 512;

#[test]
fn address_space_limit_gives_same_bytes_or_a_clear_error() {
    let night = Night::of(96, 20);
    let (old, new) = night.with_old_output();
    let mut outcomes = Vec::new();
    for megabytes in ADDRESS_SPACES {
        night.put(&old);
        night.forget_cache();
        let limit = format!("ulimit -v {}", megabytes * 1024);
        let case = format!("{megabytes} MB of address space");
        let run = Running::start(night.after(&limit)).end(PATIENCE, &case);
        match run.status.code() {
            Some(0) => assert!(night.bytes().as_deref() == Some(&new), "{case}"),
            other => {
                assert!(megabytes < ENOUGH, "{case}: {other:?}: {}", run.err);
                assert_eq!(other, Some(1), "{case}: {}", run.err);
                assert!(!run.error().is_empty(), "{case}: {}", run.err);
                assert!(night.bytes().as_deref() == Some(&old), "{case}");
                let next = night.run();
                assert_eq!(next.status.code(), Some(0), "{case}, the next run: {}", next.err);
            }
        }
        outcomes.push((megabytes, run.status.code() == Some(0)));
    }
    figure(&format!("address space in MB, done: {outcomes:?}"));
}

#[test]
fn cgroup_limit_gives_same_bytes_or_a_clear_error() {
    let night = Night::of(96, 21);
    let (old, new) = night.with_old_output();
    let mut outcomes = Vec::new();
    for megabytes in [256, 64, 32, 16, 4] {
        let Some(group) = Group::make(megabytes << 20) else { return };
        night.put(&old);
        night.forget_cache();
        let case = format!("{megabytes} MB in a cgroup");
        let run = Running::start(night.after(&group.enter())).end(PATIENCE, &case);
        match run.status.code() {
            Some(0) => assert!(night.bytes().as_deref() == Some(&new), "{case}"),
            other => {
                assert!(megabytes < 128, "{case}: {other:?}: {}", run.err);
                // A cgroup too small for the supervisor: the kernel may kill it, so that no error is printed.
                // The output stays intact and the next run succeeds.
                if megabytes >= 16 || other.is_some() {
                    assert_eq!(other, Some(1), "{case}: {}", run.err);
                    assert!(!run.error().is_empty(), "{case}: {}", run.err);
                }
                assert!(night.bytes().as_deref() == Some(&old), "{case}");
                let next = night.run();
                assert_eq!(next.status.code(), Some(0), "{case}, the next run: {}", next.err);
            }
        }
        outcomes.push((megabytes, run.status.code() == Some(0)));
    }
    assert!(outcomes.iter().any(|(_, done)| !done), "no cgroup was too small: {outcomes:?}");
    figure(&format!("cgroup in MB, done: {outcomes:?}"));
}

#[test]
fn auto_keeps_to_control_group_and_address_space() {
    let night = Night::of(30, 22);
    let budget = |set_up: &str| {
        let mut command = night.after(set_up);
        command.arg("--dry-run");
        let run = Ended::of(command.output().expect("a child"));
        assert_eq!(run.status.code(), Some(0), "{}", run.err);
        let limit = run.out.split("(limit ").nth(1).and_then(|rest| rest.split(')').next());
        let (number, unit) = limit.and_then(|limit| limit.split_once(' ')).expect("a budget");
        let factor = match unit {
            "GB" => 1000.0,
            "MB" => 1.0,
            _ => 0.001,
        };
        number.parse::<f64>().expect("a number") * factor
    };
    let free = budget(":");
    let limited = budget("ulimit -v 800000");
    assert!(limited < 410.0 && limited > 50.0, "{limited} MB of 819");
    assert!(free > limited || free < 410.0, "{free} MB without a limit");
    let Some(group) = Group::make(300 << 20) else { return };
    // Page cache of the input counts against the cgroup and is reclaimed under pressure.
    let large = night.directory().join("large");
    fs::write(&large, vec![7; 280 << 20]).expect("a file");
    let read = format!("{} && cat large > /dev/null", group.enter());
    let grouped = budget(&read);
    assert!(grouped < 160.0, "{grouped} MB of 315");
    assert!(grouped > 60.0, "{grouped} MB: reclaimable pages count as used");
}

#[test]
fn peak_memory_does_not_grow_with_the_number_of_rows() {
    if FORM.kills < 100 {
        return figure("peak memory over many rows is for the full form");
    }
    let short = ModelDirectory::tiny().max_seq_length(16).write();
    let peak = |rows: u64| -> f64 {
        let night = Night::of(rows, 23).with_model(short.path());
        let mut command = night.command(&["--cache-mode", "off"]);
        command.env_remove("REEMBED_INPUT_CHUNK_ROWS").env_remove("REEMBED_BATCH_START");
        let run = Running::start(command).end(PATIENCE * 10, "many rows");
        assert_eq!(run.status.code(), Some(0), "{}", run.err);
        let line = run.out.lines().find_map(|line| line.strip_prefix("peak memory"));
        let peak = line.and_then(|line| line.trim().strip_suffix(" MB"));
        peak.and_then(|number| number.parse().ok()).expect("megabytes")
    };
    // Both runs have filled a row group, which is buffered in memory.
    let (few, many) = (peak(50_000), peak(150_000));
    assert!(many < few * 1.1, "{few} MB for 50,000 rows, {many} MB for 150,000");
    figure(&format!("peak memory {few} MB for 50,000 rows, {many} MB for 150,000"));
}

/// A memory cgroup, version 1 or 2, removed on drop.
struct Group {
    directory: PathBuf,
}

impl Group {
    /// A new cgroup with this limit in bytes; prints a skip if none can be created.
    fn make(limit: u64) -> Option<Group> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("reembed-faults-{}-{number}", std::process::id());
        for (mount, file) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let directory = PathBuf::from(mount).join(&name);
            if fs::create_dir(&directory).is_err() {
                continue;
            }
            let group = Group { directory };
            if fs::write(group.directory.join(file), limit.to_string()).is_ok() {
                // Without this, version 1 swaps instead of failing; the file is absent on a system without
                // swap.
                let _ = fs::write(
                    group.directory.join("memory.memsw.limit_in_bytes"),
                    limit.to_string(),
                );
                return Some(group);
            }
        }
        skipped("no memory cgroup can be made");
        None
    }

    /// The shell command that moves a process into the cgroup.
    fn enter(&self) -> String {
        format!("echo $$ > '{}'", self.directory.join("cgroup.procs").display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.directory);
    }
}
