//! A job for the real program, its undisturbed result, and the checks after a fault.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use reembed_cli::sample;
use reembed_encoder::model::source;
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Job, real_model};
use crate::program::program;

static TINY: LazyLock<WrittenModel> = LazyLock::new(|| ModelDirectory::tiny().write());

/// Prefix of the files that may outlast a run: the cache and, under a longer name, an incomplete cache that was
/// moved aside.
const MAY_STAY: &str = "tasks.parquet.cache";

/// Timeout after which a process counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A job in its own directory.
pub struct Night {
    job: Job,
    model: PathBuf,
    settings: BTreeMap<&'static str, String>,
}

/// A running program, killed on drop.
pub struct Running {
    pub child: Child,
}

/// The exit status and the output of a program.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Night {
    /// A job over the first `rows` rows of the sample corpus with `seed`.
    pub fn of(rows: u64, seed: u64) -> Night {
        let model = TINY.path().to_owned();
        let night = Night { job: Job::new(), model, settings: BTreeMap::new() };
        let config = "[input]\npath = \"in.parquet\"\n\n[output]\npath = \"out/tasks.parquet\"\n";
        fs::write(night.job.directory().join("pipeline.toml"), config).expect("a configuration");
        night.set_rows(rows, seed);
        night
            .with("REEMBED_COMPUTE_THREADS", "1")
            .with("REEMBED_INPUT_CHUNK_ROWS", "32")
            .with("REEMBED_BATCH_START", "8")
            .with("REEMBED_CACHE_COMMIT_ROWS", "32")
    }

    /// The same job with all-MiniLM-L6-v2, found as `reembed run` finds it.
    pub fn with_real_model(self) -> Night {
        let files = source::resolve(&real_model().source, &|_| ()).expect("the model");
        self.with_model(&files.directory)
    }

    /// The same job with the model in `directory`.
    pub fn with_model(self, directory: &Path) -> Night {
        Night { model: directory.to_owned(), ..self }
    }

    /// The same job with an environment variable set.
    pub fn with(mut self, variable: &'static str, value: &str) -> Night {
        self.set(variable, value);
        self
    }

    pub fn set(&mut self, variable: &'static str, value: &str) {
        self.settings.insert(variable, value.to_owned());
    }

    /// Writes a new input.
    pub fn set_rows(&self, rows: u64, seed: u64) {
        let rows = sample::task_rows(rows, seed);
        sample::write_tasks(&self.job.input(), rows).expect("an input");
    }

    /// Writes this input, with the output of another input in place; returns the old and the new bytes.
    pub fn with_old_output(&self) -> (Vec<u8>, Vec<u8>) {
        let input = fs::read(self.job.input()).expect("an input");
        let new = self.undisturbed();
        self.set_rows(20, 99);
        let old = self.undisturbed();
        assert!(old != new, "the two outputs are equal");
        fs::write(self.job.input(), input).expect("an input");
        self.put(&old);
        (old, new)
    }

    /// The output of an undisturbed run, made in another directory without a cache.
    pub fn undisturbed(&self) -> Vec<u8> {
        let elsewhere = tempfile::tempdir().expect("a directory");
        let output = elsewhere.path().join("tasks.parquet");
        let run = self
            .command(&["--no-supervise", "--output"])
            .arg(&output)
            .env("REEMBED_CACHE_MODE", "off")
            .output()
            .expect("a child");
        assert!(run.status.success(), "an undisturbed run: {}", err(&run));
        fs::read(output).expect("an output")
    }

    /// `reembed run` in the directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(["run", "--config", "pipeline.toml", "--model-path"])
            .arg(&self.model)
            .args(arguments);
        self.surround(&mut command);
        command
    }

    /// Sets the environment and the directory of the job.
    pub fn surround(&self, command: &mut Command) {
        command
            .env_clear()
            // Reports are off: the faults target the output only.
            .env("REEMBED_REPORT_KEEP", "0")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nowhere")
            .envs(&self.settings)
            .current_dir(self.job.directory())
            .stdin(Stdio::null());
    }

    /// The job, started by a shell after `set_up`.
    pub fn after(&self, set_up: &str) -> Command {
        let inner = self.command(&[]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -c 0; {set_up} && exec \"$0\" \"$@\""));
        command.arg(inner.get_program()).args(inner.get_args());
        self.surround(&mut command);
        command
    }

    pub fn run(&self) -> Ended {
        Ended::of(self.command(&[]).output().expect("a child"))
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    pub fn directory(&self) -> &Path {
        self.job.directory()
    }

    pub fn output(&self) -> PathBuf {
        self.job.output()
    }

    pub fn bytes(&self) -> Option<Vec<u8>> {
        fs::read(self.output()).ok()
    }

    pub fn put(&self, bytes: &[u8]) {
        fs::create_dir_all(self.output().parent().expect("a directory")).expect("a directory");
        fs::write(self.output(), bytes).expect("an output");
    }

    pub fn forget_cache(&self) {
        let _ = fs::remove_file(self.job.cache());
    }

    /// Unexpected files beside the output after a run has ended.
    pub fn left_over(&self) -> Vec<String> {
        let mut names = self.job.beside_output();
        names.retain(|name| name != "tasks.parquet" && !name.starts_with(MAY_STAY));
        names
    }

    /// The phase of a run, derived from the files beside the output.
    pub fn phase(&self, old: &[u8]) -> Phase {
        let names = self.job.beside_output();
        let has = |suffix: &str| names.iter().any(|name| name.ends_with(suffix));
        if self.bytes().is_none_or(|bytes| bytes != old) {
            Phase::Published
        } else if has(".tmp") {
            Phase::Writing
        } else if has(".lock") {
            Phase::Locked
        } else {
            Phase::Start
        }
    }

    /// Checks that the output is one of the two files, complete; that the next run completes with the bytes
    /// of an undisturbed run; and that no file is left over.
    pub fn recovers(&self, old: &[u8], new: &[u8], case: &str) {
        let left = self.bytes();
        let is_whole = left.as_deref() == Some(old) || left.as_deref() == Some(new);
        assert!(is_whole, "{case}: the output is neither the old file nor the new one");
        let next = self.run();
        assert_eq!(next.status.code(), Some(0), "{case}: the next run: {}", next.err);
        assert!(self.bytes().as_deref() == Some(new), "{case}: the next run wrote other bytes");
        assert_eq!(self.left_over(), Vec::<String>::new(), "{case}");
    }
}

/// The phases of a run that are visible from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Arguments, configuration, the input's footer.
    Start,
    /// The output is locked; the model loads.
    Locked,
    /// Rows are processed, or the finished file is read back.
    Writing,
    /// The new file is in place.
    Published,
}

pub const PHASES: [Phase; 4] = [Phase::Start, Phase::Locked, Phase::Writing, Phase::Published];

impl Running {
    pub fn start(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().expect("a child") }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a running process");
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// The worker process, once the supervisor has started it.
    pub fn worker(&mut self) -> Option<Pid> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE && !self.is_over() {
            if let Some(pid) = worker_of(self.pid()) {
                return Some(pid);
            }
            thread::sleep(Duration::from_micros(200));
        }
        None
    }

    /// Waits for the process to exit.
    pub fn end(mut self, within: Duration, case: &str) -> Ended {
        let (mut out, mut err) = (String::new(), String::new());
        let (from_out, from_err) = (self.child.stdout.take(), self.child.stderr.take());
        let mut in_time = true;
        // Drains the pipes: a full pipe would block the process.
        thread::scope(|scope| {
            let reader = scope.spawn(|| from_err.map(|mut pipe| pipe.read_to_string(&mut err)));
            let started = Instant::now();
            while !self.is_over() {
                if in_time && started.elapsed() > within {
                    // The process may exit before its pipes close.
                    let _ = self.child.kill();
                    in_time = false;
                }
                thread::sleep(Duration::from_millis(2));
            }
            from_out.map(|mut pipe| pipe.read_to_string(&mut out));
            reader.join().expect("no panic")
        });
        assert!(in_time, "{case}: no exit within {within:?}: {err}");
        Ended { status: self.child.wait().expect("a child"), out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub fn of(output: Output) -> Ended {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { status: output.status, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The line of the error.
    pub fn error(&self) -> &str {
        self.err.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_default()
    }
}

/// The first child of a process.
pub fn worker_of(parent: Pid) -> Option<Pid> {
    let number = parent.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Polls until the condition holds; false on a timeout.
pub fn wait_for(mut ready: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !ready() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_micros(300));
    }
    true
}

/// Deterministic pseudo-random numbers: splitmix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// The size of a fault test.
pub struct Form {
    pub kills: u64,
    pub faults: u64,
    pub nights: u64,
    pub seed: u64,
}

pub static FORM: LazyLock<Form> = LazyLock::new(|| {
    let set = std::env::var("TEST_FAULTS").unwrap_or_default();
    let (kills, faults) = match set.as_str() {
        "" | "short" => (16, 12),
        "full" => (1000, 2000),
        numbers => numbers
            .split_once(',')
            .and_then(|(kills, faults)| Some((kills.parse().ok()?, faults.parse().ok()?)))
            .expect("TEST_FAULTS is `short`, `full` or `KILLS,FAULTS`"),
    };
    let nights = if kills < 100 { 3 } else { 30 };
    let seed = std::env::var("TEST_FAULTS_SEED").map(|seed| seed.parse().expect("a number"));
    Form { kills, faults, nights, seed: seed.unwrap_or(20_261_124) }
});

/// Prints a figure past the test's output capture.
pub fn figure(text: &str) {
    let _ = writeln!(std::io::stderr(), "\n=== {text} (seed {})", FORM.seed);
}
