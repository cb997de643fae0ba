//! What the machine says about memory. Readings only: [`crate::budget`] decides.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::budget::MemoryReadings;

/// Asks the kernel what this process may still take.
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

/// The largest resident size that this process has had, in bytes (`VmHWM`).
pub fn peak_resident() -> Option<u64> {
    field_kib(&text("/proc/self/status"), "VmHWM:")
}

/// The resident size of this process, in bytes (`VmRSS`).
pub fn resident() -> Option<u64> {
    field_kib(&text("/proc/self/status"), "VmRSS:")
}

/// Lets [`peak_resident`] begin anew; `false` where the system cannot.
pub fn forget_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// A missing or unreadable file reads as empty: the reading is then `None`.
fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A field of `/proc/*/status` or `/proc/meminfo`, which count in KiB; in bytes here.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

/// The number after a name, on a line of its own.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// What a control group says: its limit, what it uses, and what of that goes when memory is needed.
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// The field of `memory.stat` that counts pages of files not lately used, in bytes, those of groups below
    /// included.
    inactive: &'static str,
}

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};

const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", usage: "memory.current", inactive: "inactive_file" };

/// The least of what is left in this process's control group and in those above it. `membership` is the text
/// of `/proc/self/cgroup`: lines `hierarchy:controllers:path`, where version 2 has the hierarchy 0.
fn cgroup_left(mount: &Path, membership: &str) -> Option<u64> {
    membership
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let path = path.trim_start_matches('/');
            if controllers.is_empty() {
                least_left(mount, path, &VERSION_2)
            } else if controllers.split(',').any(|controller| controller == "memory") {
                least_left(&mount.join("memory"), path, &VERSION_1)
            } else {
                None
            }
        })
        .min()
}

/// Walks from the group up to the mount. In a container the path may be the host's and not exist here; the
/// mount itself is then the container's group.
///
/// A group's usage counts the pages of files that were read, such as the model's: without those that the kernel gives
/// up first, a group would look full as soon as some large file has been read in it.
fn least_left(mount: &Path, path: &str, files: &GroupFiles) -> Option<u64> {
    let mut group: PathBuf = mount.join(path);
    let mut least = None;
    while group.starts_with(mount) {
        let number = |name: &str| text(group.join(name)).trim().parse::<u64>().ok();
        // `memory.max` says `max` and version 1 a number near 2^63 where there is no limit.
        if let Some(limit) = number(files.limit).filter(|limit| *limit < 1 << 62) {
            let inactive = field(&text(group.join("memory.stat")), files.inactive).unwrap_or(0);
            let used = number(files.usage).unwrap_or(0).saturating_sub(inactive);
            let left = limit.saturating_sub(used);
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        if !group.pop() {
            break;
        }
    }
    least
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
    fn version_2_takes_the_least_of_the_group_and_its_parents() {
        let root = tempfile::tempdir().expect("a directory");
        group(root.path(), "a", &[("memory.max", "1000\n"), ("memory.current", "900\n")]);
        group(root.path(), "a/b", &[("memory.max", "max\n"), ("memory.current", "5\n")]);
        assert_eq!(cgroup_left(root.path(), "0::/a/b\n"), Some(100));
    }

    #[test]
    fn version_1_ignores_its_huge_number_for_no_limit() {
        let root = tempfile::tempdir().expect("a directory");
        let none = "9223372036854771712";
        group(root.path(), "memory", &[("memory.limit_in_bytes", none)]);
        assert_eq!(cgroup_left(root.path(), "4:memory:/\n3:cpu:/\n"), None);
        let limited = [("memory.limit_in_bytes", "500"), ("memory.usage_in_bytes", "200")];
        group(root.path(), "memory/job", &limited);
        assert_eq!(cgroup_left(root.path(), "4:memory:/job\n"), Some(300));
    }

    #[test]
    fn pages_of_files_that_can_go_are_not_used_up() {
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
    fn a_path_of_the_host_falls_back_to_the_mount() {
        let root = tempfile::tempdir().expect("a directory");
        group(root.path(), "", &[("memory.max", "700"), ("memory.current", "100")]);
        assert_eq!(cgroup_left(root.path(), "0::/docker/0123\n"), Some(600));
    }

    #[test]
    fn this_machine_answers() {
        assert!(read().available.is_some_and(|bytes| bytes > 1 << 20));
        assert!(peak_resident().is_some_and(|bytes| bytes > 1 << 20));
        assert!(resident() <= peak_resident());
    }
}
