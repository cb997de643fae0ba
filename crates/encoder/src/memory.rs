//! Readings of `/proc`, cgroups and `RLIMIT_AS`. [`crate::budget`] makes a budget from them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::budget::MemoryReadings;

/// Reads how much memory this process may still allocate.
pub fn read() -> MemoryReadings {
    let status = text("/proc/self/status");
    let mapped = field_kib(&status, "VmSize:").unwrap_or(0);
    MemoryReadings {
        cgroup_left: cgroup_left(Path::new("/sys/fs/cgroup"), &text("/proc/self/cgroup")),
        available: field_kib(&text("/proc/meminfo"), "MemAvailable:"),
        address_space_left: getrlimit(Resource::As)
            .current
            .map(|limit| limit.saturating_sub(mapped)),
    }
}

/// The peak RSS of this process in bytes (`VmHWM`); `None` where the system has no `/proc`.
pub fn peak_rss() -> Option<u64> {
    field_kib(&text("/proc/self/status"), "VmHWM:")
}

/// The RSS of this process in bytes (`VmRSS`); `None` where the system has no `/proc`.
pub fn rss() -> Option<u64> {
    field_kib(&text("/proc/self/status"), "VmRSS:")
}

/// Resets [`peak_rss`] to the current RSS; `false` where the system does not support it.
pub fn reset_peak_rss() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The text of a file; empty if it is missing, so that the reading becomes `None`.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A field of `/proc/*/status` or `/proc/meminfo`, converted from KiB to bytes.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

/// The number after `name` on its line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// The files of a cgroup version that hold its limit and its usage.
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// The field of `memory.stat` with the inactive file pages in bytes, child groups included.
    inactive: &'static str,
}

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};

const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", usage: "memory.current", inactive: "inactive_file" };

/// The smallest free memory of this process's cgroup and its ancestors. `membership` is the text of
/// `/proc/self/cgroup`: lines `hierarchy:controllers:path`; in version 2 the controllers are empty.
fn cgroup_left(mount: &Path, membership: &str) -> Option<u64> {
    membership
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let path = path.trim_start_matches('/');
            if controllers.is_empty() {
                smallest_left(mount, path, &VERSION_2)
            } else if controllers.split(',').any(|controller| controller == "memory") {
                smallest_left(&mount.join("memory"), path, &VERSION_1)
            } else {
                None
            }
        })
        .min()
}

/// Walks from the cgroup up to the mount. In a container the path may be the host's and not exist
/// here; the mount itself is then the container's group.
///
/// Inactive file pages are reclaimable, so they do not count as used: otherwise a group would look
/// full once a large file was read in it.
fn smallest_left(mount: &Path, path: &str, files: &GroupFiles) -> Option<u64> {
    let mut group: PathBuf = mount.join(path);
    let mut smallest = None;
    while group.starts_with(mount) {
        let number = |name: &str| text(group.join(name)).trim().parse::<u64>().ok();
        // No limit: `memory.max` holds `max`, version 1 a number near 2^63.
        if let Some(limit) = number(files.limit).filter(|limit| *limit < 1 << 62) {
            let inactive = field(&text(group.join("memory.stat")), files.inactive).unwrap_or(0);
            let used = number(files.usage).unwrap_or(0).saturating_sub(inactive);
            let left = limit.saturating_sub(used);
            smallest = Some(smallest.map_or(left, |smallest: u64| smallest.min(left)));
        }
        if !group.pop() {
            break;
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(root: &Path, path: &str, files: &[(&str, &str)]) {
        let directory = root.join(path);
        fs::create_dir_all(&directory).expect("a directory");
        for (name, content) in files {
            fs::write(directory.join(name), content).expect("a file");
        }
    }

    #[test]
    fn cgroup_v2_uses_the_smallest_limit_of_all_ancestors() {
        let root = tempfile::tempdir().expect("a directory");
        group(root.path(), "a", &[("memory.max", "1000\n"), ("memory.current", "900\n")]);
        group(root.path(), "a/b", &[("memory.max", "max\n"), ("memory.current", "5\n")]);
        assert_eq!(cgroup_left(root.path(), "0::/a/b\n"), Some(100));
    }

    #[test]
    fn cgroup_v1_treats_its_maximum_as_unlimited() {
        let root = tempfile::tempdir().expect("a directory");
        let none = "9223372036854771712";
        group(root.path(), "memory", &[("memory.limit_in_bytes", none)]);
        assert_eq!(cgroup_left(root.path(), "4:memory:/\n3:cpu:/\n"), None);
        let limited = [("memory.limit_in_bytes", "500"), ("memory.usage_in_bytes", "200")];
        group(root.path(), "memory/job", &limited);
        assert_eq!(cgroup_left(root.path(), "4:memory:/job\n"), Some(300));
    }

    #[test]
    fn inactive_file_pages_do_not_count_as_used() {
        let root = tempfile::tempdir().expect("a directory");
        let stat = "anon 100\ninactive_file 250\ntotal_inactive_file 600\nactive_file 50\n";
        group(
            root.path(),
            "a",
            &[("memory.max", "1000"), ("memory.current", "900"), ("memory.stat", stat)],
        );
        assert_eq!(cgroup_left(root.path(), "0::/a\n"), Some(350));
        let files = [
            ("memory.limit_in_bytes", "1000"),
            ("memory.usage_in_bytes", "900"),
            ("memory.stat", stat),
        ];
        group(root.path(), "memory/a", &files);
        assert_eq!(cgroup_left(root.path(), "4:memory:/a\n"), Some(700));
    }

    #[test]
    fn cgroup_path_of_the_host_falls_back_to_the_mount() {
        let root = tempfile::tempdir().expect("a directory");
        group(root.path(), "", &[("memory.max", "700"), ("memory.current", "100")]);
        assert_eq!(cgroup_left(root.path(), "0::/docker/0123\n"), Some(600));
    }

    #[test]
    fn readings_of_this_machine_are_plausible() {
        assert!(read().available.is_some_and(|bytes| bytes > 1 << 20));
        assert!(peak_rss().is_some_and(|bytes| bytes > 1 << 20));
        assert!(rss() <= peak_rss());
    }
}
