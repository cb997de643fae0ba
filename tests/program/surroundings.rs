//! Surroundings that lack something: a file system without a call, no `/proc`, few descriptors, a network with
//! proxies, a hub that wants a token.
//!
//! strace imitates the file systems and the missing `/proc`; a thread imitates the hub.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use assert_cmd::assert::OutputAssertExt;
use reembed_testing::model_directory::ModelDirectory;
use reembed_testing::tools::can_trace;

use crate::command_line::Job;

fn job() -> Job {
    Job::with(ModelDirectory::tiny(), "12", "out/tasks.parquet")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}

/// Runs the job where the calls of `inject` fail, those on these paths alone if there are some.
fn run_where(job: &Job, inject: &str, paths: &[PathBuf], arguments: &[&str]) -> Output {
    let inner = job.command(&job.with_model(&[&["run"], arguments].concat()));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/null"]);
    for path in paths {
        command.arg("-P").arg(path);
    }
    let call = inject.split(':').next().unwrap_or_default();
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={inject}")]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().env("HOME", "/nowhere").current_dir(job.directory.path());
    command.output().expect("a child")
}

// File systems.

#[test]
fn directory_fsync_that_is_not_offered_is_told_once() {
    if !can_trace() {
        return;
    }
    for errno in ["EINVAL", "EOPNOTSUPP"] {
        let job = job();
        let directory = job.directory.path().canonicalize().expect("a directory");
        let directories = [directory.join("out"), directory];
        let inject = format!("fsync:error={errno}");
        // The output directory is new, then there, and the last run has the same bytes.
        for arguments in [&[][..], &["--rebuild"], &[]] {
            let run = run_where(&job, &inject, &directories, arguments);
            assert_eq!(run.status.code(), Some(0), "{errno}: {}", err(&run));
            assert_eq!(
                err(&run).matches("has no fsync of directories").count(),
                1,
                "{}",
                err(&run)
            );
        }
        assert!(job.path("out/tasks.parquet").exists());
        let failed = run_where(&job, "fsync:error=EIO", &directories, &["--rebuild"]);
        assert_eq!(failed.status.code(), Some(1), "{}", err(&failed));
        assert!(err(&failed).contains("fsync of its directory failed"), "{}", err(&failed));
    }
}

#[test]
fn mode_that_cannot_be_changed_is_kept_where_it_is_right() {
    if !can_trace() {
        return;
    }
    for errno in ["EPERM", "EOPNOTSUPP", "EINVAL"] {
        let job = job();
        let inject = format!("/^fchmod(at2?)?$:error={errno}");
        for _ in 0..2 {
            let run = run_where(&job, &inject, &[], &["--rebuild"]);
            assert_eq!(run.status.code(), Some(0), "{errno}: {}", err(&run));
        }
        // A mode that no file gets at its creation.
        let output = job.path("out/tasks.parquet");
        let before = fs::read(&output).expect("an output");
        fs::set_permissions(&output, fs::Permissions::from_mode(0o4777)).expect("a file");
        let refused = run_where(&job, &inject, &[], &["--rebuild"]);
        assert_eq!(refused.status.code(), Some(2), "{errno}: {}", err(&refused));
        assert!(err(&refused).contains("mode 4777 cannot be kept"), "{}", err(&refused));
        assert_eq!(fs::read(&output).expect("an output"), before);
    }
}

#[test]
fn file_system_without_locks_is_refused_and_left_clean() {
    if !can_trace() {
        return;
    }
    for errno in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        for arguments in [&["--quiet"][..], &["--quiet", "--no-supervise"]] {
            let job = job();
            let inject = format!("flock:error={errno}");
            let refused = run_where(&job, &inject, &[], arguments);
            assert_eq!(refused.status.code(), Some(2), "{errno}: {}", err(&refused));
            let line = err(&refused);
            assert!(
                line.contains("out/tasks.parquet: the file system of its directory has no locks"),
                "{line}"
            );
            assert!(line.contains("name an output on another disk"), "{line}");
            assert_eq!(line.matches("error:").count(), 1, "{line}");
            assert_eq!(names(&job.path("out")), ["_reembed"], "{errno}");
            assert_eq!(names(&job.path("out/_reembed")), ["reports"], "{errno}");
        }
    }
}

// The system.

#[test]
fn run_without_proc_goes_on_in_one_process() {
    if !can_trace() {
        return;
    }
    let job = job();
    let exe = [PathBuf::from("/proc/self/exe")];
    let run = run_where(&job, "/^readlink(at)?$:error=ENOENT", &exe, &[]);
    assert_eq!(run.status.code(), Some(0), "{}", err(&run));
    assert!(err(&run).contains("running in one process, as with --no-supervise"), "{}", err(&run));
    assert!(job.path("out/tasks.parquet").exists());
}

#[test]
fn too_few_descriptors_are_told_with_the_limit_to_raise() {
    let job = job();
    let mut failed = 0;
    for descriptors in 5..24 {
        let inner = job.command(&job.with_model(&["run", "--quiet", "--rebuild"]));
        let script = format!("ulimit -n {descriptors}; exec \"$@\"");
        let run = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear()
            .env("HOME", "/nowhere")
            .current_dir(job.directory.path())
            .output()
            .expect("a child");
        let line = err(&run);
        match run.status.code() {
            Some(0) => continue,
            // The dynamic loader.
            Some(127) => assert!(line.contains("shared libraries"), "{descriptors}: {line}"),
            Some(1 | 2) => {
                assert_eq!(line.matches("Too many open files").count(), 1, "{descriptors}: {line}");
                assert!(line.contains("`ulimit -n 1024`"), "{descriptors}: {line}");
                assert!(!line.contains("write the file again"), "{descriptors}: {line}");
                failed += 1;
            }
            other => panic!("{descriptors}: exit {other:?}: {line}"),
        }
    }
    assert!(failed > 3, "only {failed} limits were too low");
    job.run(&["--quiet", "--rebuild"]).assert().success();
}

// The hub.

/// A hub with the files of a model. It ends with the test.
struct Hub {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn with_files_of(directory: &Path) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (recorded, directory) = (Arc::clone(&heads), directory.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let head = answer(stream, &directory);
                recorded.lock().expect("the heads").push(head);
            }
        });
        Hub { address, heads }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn tokens(&self) -> Vec<Option<String>> {
        let token = |head: &String| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let mut tokens = lines.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
            tokens.next().map(|(_, value)| value.to_owned())
        };
        self.heads.lock().expect("the heads").iter().map(token).collect()
    }
}

/// Answers one request, and returns its head.
fn answer(mut stream: TcpStream, directory: &Path) -> String {
    let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
    let head: Vec<String> =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let file = path.split("/resolve/main/").nth(1).unwrap_or_default();
    let (status, body) = match fs::read(directory.join(file)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&body));
    head.join("\n")
}

/// Variables, and what is expected with them.
type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);

/// A job without a model, and a hub that has one.
fn job_and_hub() -> (Job, Hub) {
    let job = job();
    let hub = Hub::with_files_of(job.model.path());
    fs::create_dir(job.path("home")).expect("a directory");
    (job, hub)
}

fn fetch(job: &Job, hub: &Hub, variables: &[(&str, &str)]) -> Output {
    let mut command = job.command(&["model", "fetch"]);
    command.env("HOME", job.path("home")).env("REEMBED_MODEL_ID", "acme/tiny");
    command.env("HF_ENDPOINT", hub.endpoint()).envs(variables.iter().copied());
    command.output().expect("a child")
}

#[test]
fn token_is_that_of_the_environment_or_of_hf_auth_login() {
    let (job, hub) = job_and_hub();
    let kept = job.path("home/.cache/huggingface/token");
    fs::create_dir_all(kept.parent().expect("a directory")).expect("a directory");
    fs::write(&kept, "hf_kept\n").expect("a file");
    let other = job.path("other-token");
    fs::write(&other, "hf_other").expect("a file");
    let other = other.to_str().expect("text");
    let cases: [Case<'_>; 6] = [
        (&[], Some("Bearer hf_kept")),
        (&[("HF_TOKEN", "hf_abc\n")], Some("Bearer hf_abc")),
        (&[("HF_TOKEN", " hf_abc ")], Some("Bearer hf_abc")),
        (&[("HF_TOKEN_PATH", other)], Some("Bearer hf_other")),
        (&[("HF_HOME", "/nowhere")], None),
        (&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
    ];
    for (variables, token) in cases {
        hub.heads.lock().expect("the heads").clear();
        let fetched = fetch(&job, &hub, variables);
        assert!(fetched.status.success(), "{variables:?}: {}", err(&fetched));
        let tokens = hub.tokens();
        assert!(
            tokens.len() > 3 && tokens.iter().all(|sent| sent.as_deref() == token),
            "{tokens:?}"
        );
        fs::remove_dir_all(job.path("home/.cache/reembed")).expect("a cache");
    }
}

#[test]
fn proxies_follow_the_scheme_and_no_proxy() {
    let (job, hub) = job_and_hub();
    // Nothing listens here.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let (http, socks) = (format!("http://me:hush@{closed}"), format!("socks5h://{closed}"));
    let cases: [Case<'_>; 7] = [
        (&[("HTTPS_PROXY", &http)], None),
        (&[("HTTP_PROXY", &http)], Some("HTTP_PROXY")),
        (&[("http_proxy", &http)], Some("http_proxy")),
        (&[("ALL_PROXY", &socks)], Some("ALL_PROXY")),
        (&[("ALL_PROXY", &socks), ("NO_PROXY", "127.0.0.0/8")], None),
        (&[("HTTP_PROXY", &http), ("no_proxy", "localhost,127.0.0.1")], None),
        (&[("HTTP_PROXY", "gopher://proxy")], Some("HTTP_PROXY")),
    ];
    for (variables, refused) in cases {
        let fetched = fetch(&job, &hub, variables);
        let line = err(&fetched);
        match refused {
            None => {
                assert!(fetched.status.success(), "{variables:?}: {line}");
                fs::remove_dir_all(job.path("home/.cache/reembed")).expect("a cache");
            }
            Some(variable) => {
                assert_eq!(fetched.status.code(), Some(1), "{variables:?}: {line}");
                assert!(line.contains(variable) && !line.contains("hush"), "{line}");
                assert!(
                    !line.contains("panicked") && line.matches("error:").count() == 1,
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn transformers_offline_disables_the_network() {
    let (job, hub) = job_and_hub();
    let refused = fetch(&job, &hub, &[("TRANSFORMERS_OFFLINE", "1")]);
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    assert!(err(&refused).contains("the network is disabled"), "{}", err(&refused));
    assert_eq!(hub.tokens().len(), 0);
    let fetched = fetch(&job, &hub, &[("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")]);
    assert!(fetched.status.success(), "{}", err(&fetched));
}
