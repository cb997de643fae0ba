//! A power cut at exit: the output must survive on the disk itself, without the data in memory.
//!
//! The file system is on a loop device. A copy of its backing file holds what a power cut would leave;
//! mounting the copy replays the journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reembed_testing::tools::skipped;

use crate::night::{Ended, Night};

/// Size of the disk: the outputs of the small jobs here and a journal.
const MEGABYTES: u64 = 64;

#[test]
fn exit_0_outlasts_a_power_cut() {
    let night = Night::of(200, 30);
    let (old, new) = night.with_old_output();
    for number in 0..3 {
        let Some(disk) = Disk::make() else { return };
        fs::write(disk.output(), &old).expect("the old output");
        disk.sync();
        let run = run(&night, &disk, "");
        assert_eq!(run.status.code(), Some(0), "{}", run.err);
        let Some(after) = disk.power_cut() else { return };
        assert!(after.as_ref() == Some(&new), "{number}: the power cut lost the new file");
    }
}

#[test]
fn power_cut_check_notices_a_missing_directory_fsync() {
    let night = Night::of(200, 31);
    let (old, new) = night.with_old_output();
    let Some(disk) = Disk::make() else { return };
    fs::write(disk.output(), &old).expect("the old output");
    disk.sync();
    let run = run(&night, &disk, "skip-directory-fsync");
    assert_eq!(run.status.code(), Some(0), "{}", run.err);
    assert!(fs::read(disk.output()).expect("an output") == new, "the new file is missing");
    let Some(after) = disk.power_cut() else { return };
    assert!(after.as_ref() == Some(&old), "the power cut lost nothing");
}

fn run(night: &Night, disk: &Disk, failpoints: &str) -> Ended {
    let mut command = night.command(&["--output"]);
    // An fsync of the cache could flush the output too; here only the fsyncs of the output count.
    command
        .arg(disk.output())
        .env("REEMBED_CACHE_MODE", "off")
        .env("REEMBED_FAILPOINTS", failpoints);
    Ended::of(command.output().expect("a child"))
}

/// A file system in a file.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// `None`, with a printed reason, if no file system can be mounted.
    fn make() -> Option<Disk> {
        let disk = Disk { directory: tempfile::tempdir().expect("a directory") };
        let image = fs::File::create(disk.image()).expect("an image");
        image.set_len(MEGABYTES << 20).expect("space");
        fs::create_dir(disk.mount()).expect("a directory");
        let made = done(Command::new("mkfs.ext4").arg("-q").arg(disk.image()));
        // Disables periodic writeback while the job runs.
        if made && mount(&disk.image(), &disk.mount()) {
            return Some(disk);
        }
        skipped("no file system can be mounted");
        None
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mount(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    fn output(&self) -> PathBuf {
        self.mount().join("tasks.parquet")
    }

    fn sync(&self) {
        assert!(done(Command::new("sync").arg("-f").arg(self.mount())));
    }

    /// The output on a copy of the disk as it is now.
    fn power_cut(&self) -> Option<Option<Vec<u8>>> {
        let copy = Disk { directory: tempfile::tempdir().expect("a directory") };
        fs::copy(self.image(), copy.image()).expect("a copy");
        fs::create_dir(copy.mount()).expect("a directory");
        if !mount(&copy.image(), &copy.mount()) {
            skipped("the copy of the file system cannot be mounted");
            return None;
        }
        Some(fs::read(copy.output()).ok())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        done(Command::new("umount").arg(self.mount()));
    }
}

fn mount(image: &Path, at: &Path) -> bool {
    done(Command::new("mount").args(["-o", "loop,commit=600"]).arg(image).arg(at))
}

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
