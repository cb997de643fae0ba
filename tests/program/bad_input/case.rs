//! A case, its resource limits, and the checks after its run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader, SerializedFileReader};
use reembed_testing::model_directory::ModelDirectory;

/// Maximum time of a case; the slowest takes a tenth of it.
pub const MOST_SECONDS: u64 = 60;
/// Maximum resident memory of a case.
pub const MOST_RESIDENT: u64 = 768 << 20;
/// Maximum address space of a case; an allocation beyond it aborts the process.
pub const MOST_ADDRESSES: u64 = 4 << 30;

const OLD_OUTPUT: &[u8] = b"the file of the night before";

/// A bad or unusual input for `reembed run`.
pub struct Case {
    pub name: &'static str,
    /// How the input is made, for the table.
    pub made: &'static str,
    pub expect: Expect,
    /// The file that the error must name.
    file: &'static str,
    /// Settings as environment variables.
    settings: Vec<(&'static str, &'static str)>,
    setup: Box<dyn Fn(&Site) -> Job + Send + Sync>,
}

#[derive(Clone, Copy)]
pub enum Expect {
    Succeeds {
        rows: i64,
    },
    /// The exit code, and the substrings of the error.
    Fails {
        exit: i32,
        says: &'static [&'static str],
    },
    /// Either result, with no panic, crash or hang.
    Either,
}

/// The directory of a case, and a good model.
pub struct Site {
    pub root: PathBuf,
    pub model: PathBuf,
}

/// The arguments of `reembed run`.
pub struct Job {
    pub config: PathBuf,
    pub input: PathBuf,
    pub output: PathBuf,
    pub model: PathBuf,
    /// Additional arguments.
    pub arguments: Vec<OsString>,
    /// The working directory of the program.
    pub start: PathBuf,
}

/// The observed result.
pub struct Observed {
    pub name: &'static str,
    pub made: &'static str,
    /// `succeeds, 3 rows` or `exit 2`.
    pub outcome: String,
    /// The error with directories removed.
    pub message: String,
    /// Violations of the requirements.
    pub problems: Vec<String>,
    pub peak: u64,
    pub elapsed: Duration,
}

/// A case with these bytes as `tasks.parquet`.
pub fn input(
    name: &'static str,
    made: &'static str,
    expect: Expect,
    bytes: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Case {
    site(name, made, expect, move |site| {
        let job = site.job();
        fs::write(&job.input, bytes()).expect("the input");
        job
    })
}

/// A case that sets up more than an input.
pub fn site(
    name: &'static str,
    made: &'static str,
    expect: Expect,
    setup: impl Fn(&Site) -> Job + Send + Sync + 'static,
) -> Case {
    let setup = Box::new(setup);
    Case { name, made, expect, file: "tasks.parquet", settings: Vec::new(), setup }
}

/// All rows are processed.
pub fn succeeds(rows: i64) -> Expect {
    Expect::Succeeds { rows }
}

/// Fails before any work starts.
pub fn refused(says: &'static [&'static str]) -> Expect {
    Expect::Fails { exit: 2, says }
}

/// Fails while the input is read.
pub fn fails(says: &'static [&'static str]) -> Expect {
    Expect::Fails { exit: 1, says }
}

impl Case {
    /// Sets the file that the error must name, if it is not the input.
    pub fn names(mut self, file: &'static str) -> Self {
        self.file = file;
        self
    }

    /// Sets a `REEMBED_…` variable for the run and its verification.
    pub fn set(mut self, variable: &'static str, value: &'static str) -> Self {
        self.settings.push((variable, value));
        self
    }

    /// Runs the case and checks the files that it leaves.
    pub fn observe(&self, model: &Path) -> Observed {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a directory");
        fs::create_dir(root.join("out")).expect("a directory");
        fs::write(root.join("out/result.parquet"), OLD_OUTPUT).expect("an old output");
        let site = Site { root, model: model.to_owned() };
        let job = (self.setup)(&site);
        let before = files_below(&site.root);
        let old = content(&job.output);

        let run = bounded(self.command(&job).args(job.arguments()));
        let mut problems = run.problems("run");
        let message = run.stderr.clone();
        let expect = match (self.expect, run.code()) {
            // `Either` accepts any number of rows.
            (Expect::Either, Some(0)) => Expect::Either,
            (Expect::Either, code) => Expect::Fails { exit: code.unwrap_or(1), says: &[] },
            (expect, _) => expect,
        };
        let outcome = match expect {
            Expect::Either => "succeeds".to_owned(),
            Expect::Fails { exit, says } => {
                if run.code() != Some(exit) || !(1..=2).contains(&exit) {
                    problems.push(format!("it ended with {:?}, not {exit}", run.code()));
                }
                problems.extend(self.faults_of(&message, says));
                if content(&job.output) != old {
                    problems.push("the target is not as it was".to_owned());
                }
                if files_below(&site.root) != before {
                    problems.push(format!("it left files: {:?}", files_below(&site.root)));
                }
                format!("exit {exit}")
            }
            Expect::Succeeds { rows } => {
                if run.code() != Some(0) {
                    problems.push(format!("it ended with {:?}: {message}", run.code()));
                } else {
                    problems.extend(self.faults_of_output(&site, &job, rows, before));
                }
                format!("succeeds, {rows} rows")
            }
        };
        let places = [site.root.as_path(), model].map(|place| place.display().to_string());
        let message = places.iter().fold(message, |text, place| {
            text.replace(&format!("{place}/"), "").replace(place.as_str(), "the model's directory")
        });
        Observed {
            name: self.name,
            made: self.made,
            outcome,
            message: message.trim_end().trim_start_matches("error: ").to_owned(),
            problems,
            peak: run.peak,
            elapsed: run.elapsed,
        }
    }

    fn command(&self, job: &Job) -> Command {
        // The limit turns a bug into a failed test instead of an exhausted machine.
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -v {}; exec \"$0\" \"$@\"", MOST_ADDRESSES >> 10)])
            .arg(env!("CARGO_BIN_EXE_reembed"))
            .env_clear()
            .env("HOME", &job.start)
            // The model is tiny: more threads would only wait for each other.
            .env("REEMBED_COMPUTE_THREADS", "1")
            // The old file at the target is not an output of reembed, and may be replaced.
            .env("REEMBED_RUN_REPLACE", "true")
            // Reports have their own tests.
            .env("REEMBED_REPORT_KEEP", "0")
            .envs(self.settings.iter().copied())
            .current_dir(&job.start);
        command
    }

    /// Violations in an error.
    fn faults_of(&self, message: &str, says: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        let line = message.strip_suffix('\n').unwrap_or(message);
        if !line.starts_with("error: ") {
            faults.push("the refusal does not begin with `error: `".to_owned());
        }
        if line.chars().any(|c| c.is_control()) {
            faults.push("the refusal is not one line without control characters".to_owned());
        }
        if !line.ends_with(')') {
            faults.push("the refusal does not end with what to do".to_owned());
        }
        for wanted in says.iter().chain([&self.file]) {
            if !line.contains(wanted) {
                faults.push(format!("the refusal does not say {wanted:?}"));
            }
        }
        if !faults.is_empty() {
            faults.push(format!("it says {message:?}"));
        }
        faults
    }

    fn faults_of_output(
        &self,
        site: &Site,
        job: &Job,
        rows: i64,
        mut before: BTreeSet<PathBuf>,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        let output = job.start.join(&job.output);
        before.insert(output.clone());
        if files_below(&site.root) != before {
            faults.push(format!("it left files: {:?}", files_below(&site.root)));
        }
        let read = File::open(&output)
            .map_err(|cause| cause.to_string())
            .and_then(|file| SerializedFileReader::new(file).map_err(|cause| cause.to_string()));
        match read {
            Ok(file) => {
                let found = file.metadata().file_metadata().num_rows();
                if found != rows {
                    faults.push(format!("the output has {found} rows, not {rows}"));
                }
            }
            Err(cause) => faults.push(format!("the output cannot be read: {cause}")),
        }
        let verify = bounded(self.command(job).args(job.verification()));
        faults.extend(verify.problems("verify"));
        if verify.code() != Some(0) {
            let Ended { stdout, stderr, .. } = &verify;
            faults.push(format!("verify ended with {:?}: {stdout}{stderr}", verify.code()));
        }
        faults
    }
}

impl Site {
    /// An ordinary job in the case's directory, whose input does not exist yet.
    pub fn job(&self) -> Job {
        let job = Job {
            config: self.root.join("pipeline.toml"),
            input: self.root.join("tasks.parquet"),
            output: self.root.join("out/result.parquet"),
            model: self.model.clone(),
            arguments: Vec::new(),
            start: self.root.clone(),
        };
        fs::write(&job.config, "[batch]\nstart = 8\n").expect("a configuration");
        job
    }
}

impl Job {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["run".into(), "--quiet".into()];
        for (flag, path) in [
            ("--config", &self.config),
            ("--input", &self.input),
            ("--output", &self.output),
            ("--model-path", &self.model),
        ] {
            // A single argument, so that a path may begin with a dash.
            let mut argument = OsString::from(format!("{flag}="));
            argument.push(path);
            arguments.push(argument);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    fn verification(&self) -> Vec<OsString> {
        let flag = |flag: &str, path: &Path| {
            let mut argument = OsString::from(format!("{flag}="));
            argument.push(path);
            argument
        };
        vec![
            "verify".into(),
            "--quiet".into(),
            "--sample=4".into(),
            flag("--config", &self.config),
            flag("--input", &self.input),
            flag("--model-path", &self.model),
            "--".into(),
            self.output.clone().into(),
        ]
    }
}

/// The bytes of a regular file; anything else has none, since reading a FIFO would block.
fn content(path: &Path) -> Option<Vec<u8>> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::read(path).ok()
}

/// Every file below a directory, except the vector cache, which a failed run keeps too.
fn files_below(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if ![".cache", ".keys"].iter().any(|own| name.ends_with(own)) {
                found.insert(entry.path());
            }
        }
    }
    found
}

/// How a child process ended.
pub struct Ended {
    status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
    /// The highest memory seen.
    peak: u64,
    elapsed: Duration,
}

impl Ended {
    fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    fn problems(&self, what: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let seconds = self.elapsed.as_secs();
        match self.status {
            None => problems.push(format!("{what}: it was stopped after {seconds} s")),
            Some(status) if status.signal().is_some() => {
                problems.push(format!("{what}: it died: {status}: {}", self.stderr));
            }
            Some(status) if status.code() == Some(101) => {
                problems.push(format!("{what}: it panicked: {}", self.stderr));
            }
            Some(_) => {}
        }
        if self.stderr.contains("panicked") {
            problems.push(format!("{what}: it speaks of a panic: {}", self.stderr));
        }
        if self.peak > MOST_RESIDENT {
            problems.push(format!("{what}: it held {} MiB", self.peak >> 20));
        }
        problems
    }
}

/// Runs a child process until it exits or the time limit expires.
pub fn bounded(command: &mut Command) -> Ended {
    let directory = tempfile::tempdir().expect("a directory");
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    let started = Instant::now();
    let mut child = command
        .stdout(File::create(&out).expect("a file"))
        .stderr(File::create(&err).expect("a file"))
        .spawn()
        .expect("a child");
    let memory = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if started.elapsed() > Duration::from_secs(MOST_SECONDS) {
            child.kill().expect("a child");
            child.wait().expect("a child");
            break None;
        }
        peak = peak.max(high_water(&memory).unwrap_or(0));
        thread::sleep(Duration::from_millis(3));
    };
    let elapsed = started.elapsed();
    let text = |path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned();
    Ended { status, stdout: text(&out), stderr: text(&err), peak, elapsed }
}

/// `VmHWM` of a process in bytes: the kernel keeps the maximum, so that rare polling is enough.
fn high_water(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Runs the cases of a topic with one good model.
pub fn observe_all(cases: &[Case]) -> Vec<Observed> {
    let model = ModelDirectory::tiny().write();
    cases.iter().map(|case| case.observe(model.path())).collect()
}
