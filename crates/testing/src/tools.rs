//! Programs that a test needs and a machine may lack.

use std::io::{self, Write as _};
use std::process::Command;
use std::thread;

/// Prints why a test is skipped, past the test's output capture.
pub fn skipped(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "\n=== SKIPPED: {name}: {why}");
}

/// Whether strace exists and may trace. It prints a reason if not; in CI that is an error.
pub fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let can = traced.is_ok_and(|traced| traced.status.success());
    if !can {
        assert!(std::env::var_os("TEST_NO_SKIPS").is_none(), "strace is required");
        skipped("strace is not there, or may not trace");
    }
    can
}
