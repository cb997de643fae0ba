//! The HTML pages in headless Chromium, opened from disk: no console errors or network requests, figures
//! equal to the JSON report, sufficient contrast, no overflow. Screenshots: `target/pages/`.
//!
//! Without Chromium the test prints a skip; `.ci/run` installs it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use reembed_testing::model_directory::ModelDirectory;
use serde_json::{Value, json};

/// Timeout for an answer of the browser.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_report_of_a_run_reads_well_in_a_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let model = ModelDirectory::tiny().max_seq_length(64).write();
    let run = |rows: &str, more: &[&str]| {
        let path = |name: &str| directory.path().join(name);
        let model = model.path().to_str().expect("text");
        let sample = reembed(directory.path(), &["sample", "tasks.parquet", "--rows", rows]);
        assert!(sample.0, "{}", sample.1);
        fs::write(
            path("pipeline.toml"),
            "[input]\npath = \"tasks.parquet\"\n[output]\npath = \"out/tasks.parquet\"\n",
        )
        .expect("a configuration");
        reembed(directory.path(), &[&["run", "--quiet", "--model-path", model], more].concat())
    };
    // An earlier run, a failing run, and the run under test.
    assert!(run("300", &[]).0);
    let (done, said) = run("400", &["--memory-limit", "1"]);
    assert!(!done, "succeeded within one byte: {said}");
    let report = directory.path().join("out/_reembed/reports/tasks.parquet");
    look(&mut browser, &report.join("report.html"), &report.join("report.json"), "report-failed");
    let failed = read(&report.join("report.json"));
    assert_eq!(
        (&failed["outcome"], &failed["error"]["kind"]),
        (&json!("failed"), &json!("OutOfMemory"))
    );
    assert!(run("3000", &[]).0);
    look(&mut browser, &report.join("report.html"), &report.join("report.json"), "report");
    let done = read(&report.join("report.json"));
    assert_eq!(done["earlier"].as_array().map(Vec::len), Some(2));
    // The page of an earlier run exists at its link.
    let links =
        browser.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))");
    for link in links.as_array().expect("links") {
        assert!(report.join(link.as_str().expect("a link")).exists(), "{link}");
    }
    assert_no_text_of_a_row(&report, directory.path());
}

#[test]
fn the_bench_reads_well_in_a_browser() {
    let Some(mut browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let model = ModelDirectory::tiny().max_seq_length(64).write();
    let model = model.path().to_str().expect("text");
    let (done, said) = reembed(
        directory.path(),
        &["bench", "--tasks", "64", "--repeats", "3", "--time", "20", "--model-path", model],
    );
    assert!(done, "{said}");
    let report = directory.path().join("out/_reembed/reports/bench");
    look(&mut browser, &report.join("bench.html"), &report.join("bench.json"), "bench");
    let bench = read(&report.join("bench.json"));
    let names: Vec<&str> = bench["subjects"]
        .as_array()
        .expect("engines")
        .iter()
        .filter_map(|subject| subject["engine"].as_str())
        .collect();
    assert_eq!((names.first(), names.last()), (Some(&"packed"), Some(&"candle")));
    assert!(
        bench["memory"].as_array().is_some_and(|lines| lines.len() == 6),
        "{}",
        bench["memory"]
    );
    for subject in bench["subjects"].as_array().expect("engines") {
        for way in subject["ways"].as_array().expect("ways") {
            assert_eq!(way["seconds"].as_array().map(Vec::len), Some(3), "{way}");
            let alone = way["name"] == "one at a time";
            assert!(!alone || way["speed_up"] == json!(1.0), "{way}");
        }
    }
}

/// Opens a page on wide and phone screens, light, dark and in print, checks it, and stores a screenshot of
/// each.
fn look(browser: &mut Browser, page: &Path, document: &Path, name: &str) {
    let document = read(document);
    let pictures = reembed_testing::repository().join("target/pages");
    fs::create_dir_all(&pictures).expect("a directory for pictures");
    for (screen, width) in [("wide", 1200), ("phone", 390)] {
        for scheme in ["light", "dark"] {
            browser.screen(width, scheme);
            browser.open(page);
            let place = format!("{name}, {screen}, {scheme}");
            check_figures(browser, &document, &place);
            check_reading(browser, width, &place);
            browser.picture(&pictures.join(format!("{name}-{screen}-{scheme}.png")));
        }
    }
    browser.print(&pictures.join(format!("{name}.pdf")));
    assert_eq!(browser.complaints, Vec::<String>::new(), "{name}: console messages");
    let foreign: Vec<&String> = browser
        .requests
        .iter()
        .filter(|url| !url.starts_with("file:") && !url.starts_with("data:"))
        .collect();
    assert!(foreign.is_empty(), "{name} requests {foreign:?}");
}

/// Each figure on the page names its JSON pointer: the value there must equal the displayed number.
fn check_figures(browser: &mut Browser, document: &Value, place: &str) {
    let figures = browser.evaluate(
        "[...document.querySelectorAll('data')].map(d => [d.dataset.json, d.value, d.textContent])",
    );
    let figures = figures.as_array().expect("figures");
    assert!(figures.len() > 20, "{place}: only {} figures", figures.len());
    for figure in figures {
        let [pointer, value, shown] = [0, 1, 2].map(|at| figure[at].as_str().expect("text"));
        let number = document.pointer(pointer).unwrap_or_else(|| panic!("{place}: no {pointer}"));
        assert_eq!(value, number.to_string(), "{place}: {pointer}");
        let number = number.as_f64().expect("a number");
        let read = number_of(shown);
        // Displayed with at least two digits, or rounded to three decimals.
        let allowed = (0.051 * number.abs()).max(0.0051);
        assert!(
            (read - number).abs() <= allowed,
            "{place}: {pointer} is {number}, shown {shown:?}"
        );
    }
}

/// Parses a displayed number such as `1,234`, `90.9 MB`, `97 %`, `12 min 5 s` or `2.6e-7`.
fn number_of(shown: &str) -> f64 {
    let mut sum = 0.0;
    let mut words = shown.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let number: f64 = word.replace(',', "").parse().unwrap_or_else(|_| panic!("{shown:?}"));
        sum += number
            * match words.next() {
                None | Some("s" | "bytes" | "×") => 1.0,
                Some("KB") => 1e3,
                Some("MB") => 1e6,
                Some("GB") => 1e9,
                Some("%") => 0.01,
                Some("min") => 60.0,
                Some("h") => 3600.0,
                Some(unit) => panic!("{shown:?}: {unit}"),
            };
    }
    sum
}

/// Visible text has a contrast of at least 4.5, the page fits the width of the screen, and every image has a
/// text alternative.
fn check_reading(browser: &mut Browser, width: u32, place: &str) {
    let faint = browser.evaluate(
        r#"(() => {
  const rgb = text => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('svg')) continue;
    seen += 1;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)}: ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return { faint, seen };
})()"#,
    );
    assert!(faint["seen"].as_u64().is_some_and(|seen| seen > 50), "{place}: {faint}");
    assert_eq!(faint["faint"], json!([]), "{place}: low contrast");
    let wide = browser.evaluate("document.documentElement.scrollWidth");
    assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{place}: {wide} wide");
    let pictures = browser.evaluate(
        "[...document.querySelectorAll('[role=img]')].map(picture => picture.getAttribute('aria-label'))",
    );
    let pictures = pictures.as_array().expect("pictures");
    assert!(!pictures.is_empty(), "{place}: no chart");
    for label in pictures {
        assert!(label.as_str().is_some_and(|label| label.len() > 10), "{place}: {label}");
    }
    let structure = browser.evaluate(
        "[document.querySelectorAll('h1').length, document.documentElement.lang, document.title.length > 5, \
         [...document.querySelectorAll('table')].every(table => table.caption && table.querySelector('th[scope]'))]",
    );
    assert_eq!(structure, json!([1, "en", true, true]), "{place}");
}

/// No word of eight letters or more from a title appears in the stored reports.
fn assert_no_text_of_a_row(report: &Path, directory: &Path) {
    let input = fs::File::open(directory.join("tasks.parquet")).expect("an input");
    let rows = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(input)
        .and_then(|builder| builder.build())
        .expect("rows");
    let kept: String = ["report.json", "report.html", "report.prom"]
        .iter()
        .map(|name| fs::read_to_string(report.join(name)).expect("a file"))
        .collect();
    let mut looked = 0;
    for batch in rows {
        let batch = batch.expect("a batch");
        let titles = batch.column_by_name("title").expect("titles").clone();
        let titles =
            arrow::compute::cast(&titles, &arrow::datatypes::DataType::Utf8).expect("strings");
        let titles = arrow::array::AsArray::as_string::<i32>(&titles);
        for title in titles.iter().flatten().filter(|title| title.len() > 20) {
            looked += 1;
            assert!(!kept.contains(title), "{title:?}");
        }
    }
    assert!(looked > 1000, "only {looked} titles");
}

fn reembed(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reembed"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", "/nowhere")
        .output()
        .expect("the program starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn read(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Headless Chromium, controlled through the DevTools protocol over a pipe.
struct Browser {
    child: Child,
    answers: Receiver<Value>,
    next: u64,
    session: Option<String>,
    /// Console errors and warnings, exceptions, and violations of the page's content security policy.
    complaints: Vec<String>,
    /// Every request of the page.
    requests: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Option<Browser> {
        let Some(program) = program() else {
            eprintln!("SKIPPED: Chromium is not installed (apt-get install chromium)");
            assert!(std::env::var_os("TEST_NO_SKIPS").is_none(), "skips are disabled");
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        // The protocol uses file descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium starts");
        let (sender, answers) = channel();
        let mut pipe = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while pipe.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let value = serde_json::from_slice(&message);
                if value.is_ok_and(|value| sender.send(value).is_err()) {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Browser {
            child,
            answers,
            next: 0,
            session: None,
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn screen(&mut self, width: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": "screen", "features": features}));
    }

    fn open(&mut self, page: &Path) {
        let url = format!("file://{}", page.canonicalize().expect("a page").display());
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{opened}");
        let started = Instant::now();
        while self.evaluate("document.readyState") != json!("complete") {
            assert!(started.elapsed() < PATIENCE, "timeout while the page loads");
        }
        assert_eq!(self.evaluate("location.href"), json!(url));
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let call = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", call);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    fn picture(&mut self, path: &Path) {
        let size = self.evaluate(
            "[document.documentElement.clientWidth, document.documentElement.scrollHeight]",
        );
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1});
        let whole = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.call("Page.captureScreenshot", whole);
        fs::write(path, decoded(picture["data"].as_str().expect("a picture"))).expect("a file");
    }

    fn print(&mut self, path: &Path) {
        let page = self.call(
            "Page.printToPDF",
            json!({"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": false}),
        );
        let page = decoded(page["data"].as_str().expect("a document"));
        assert!(page.starts_with(b"%PDF-"), "not a PDF");
        fs::write(path, page).expect("a file");
    }

    /// Sends a request and waits for the answer; records the events that arrive meanwhile.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let pipe = self.child.stdin.as_mut().expect("a pipe");
        pipe.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).expect("the browser answers");
            if answer["id"] == json!(self.next) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters.to_string()),
            Some("Runtime.consoleAPICalled") => self.complaints.push(parameters.to_string()),
            Some("Log.entryAdded") => self.complaints.push(parameters["entry"].to_string()),
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or("?");
                self.requests.push(url.to_owned());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The child process of this test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&directories)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|path| path.is_file())
}

/// Decodes Base64.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
