//! The Hugging Face hub over HTTP: `GET {endpoint}/{id}/resolve/{revision}/{file}`.
//!
//! Why ureq, and why redirects are followed here: docs/decisions/0002-hub-client.md.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ureq::http::Response;
use ureq::http::header::{AUTHORIZATION, IF_RANGE, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::uri::{Authority, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::config::SourceConfig;
use super::proxy::{Proxies, ProxySetting};
use super::reason::Reason;
use super::retry::{Answer, Tries, parse_retry_after, pause_before_retry};
use super::secret::redact_credentials;
use super::token::{self, Token};
use crate::stop::Stop;

/// The hub redirects once or twice.
const MAX_REDIRECTS: usize = 8;

/// What helps where no connection is made.
pub(super) const OPEN_NETWORK: &str = "open the network to the hub or PyPI";

/// The timeouts of a request. The download of a file has none, as long as bytes arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// To resolve the name of a host.
    pub(super) resolve: Duration,
    /// To connect, TLS included.
    pub(super) connect: Duration,
    /// To receive or send the next bytes.
    pub(super) idle: Duration,
    /// The wait before a request is sent for the second time.
    pub(super) first_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            resolve: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            idle: Duration::from_secs(30),
            first_pause: Duration::from_secs(1),
        }
    }
}

/// Receives why a request is sent again, and after how long.
pub(super) type OnRetry<'a> = &'a dyn Fn(&Reason, Duration);

/// A model on the hub.
pub(super) struct Hub<'a> {
    timeouts: Timeouts,
    stop: &'a Stop,
    pub(super) on_retry: OnRetry<'a>,
    proxies: Proxies,
    /// The clients, by the variable of their proxy.
    agents: BTreeMap<Option<String>, Agent>,
    endpoint: Uri,
    /// The URL of the model without the revision.
    model: String,
    /// The revision; after the first response, its commit: a branch may move between two files.
    revision: String,
    token: Option<Token>,
    /// Whether the hub answered a request.
    is_known: bool,
    /// The sum of the waits between requests.
    waited: Duration,
}

/// A request without a response.
struct Failure {
    reason: Reason,
    /// Whether the connection failed, and not the request.
    is_connection: bool,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Failure {
        Failure { reason, is_connection: false }
    }
}

impl<'a> Hub<'a> {
    /// # Errors
    /// An endpoint that is no URL; a token that cannot be read.
    pub(super) fn new(
        config: &SourceConfig,
        timeouts: Timeouts,
        stop: &'a Stop,
        on_retry: OnRetry<'a>,
    ) -> Result<Hub<'a>, Reason> {
        let endpoint = config.endpoint.trim().trim_end_matches('/');
        let model = format!("{endpoint}/{}/resolve", config.hub_id());
        Ok(Hub {
            timeouts,
            stop,
            on_retry,
            proxies: config.proxies.clone(),
            agents: BTreeMap::new(),
            endpoint: parse_endpoint(config.endpoint.trim())?,
            model,
            revision: config.revision.clone(),
            token: token::find(config)?,
            is_known: false,
            waited: Duration::ZERO,
        })
    }

    /// Requests a file from the byte `from` on, and again while the answer is a temporary one.
    /// `count` is the number of requests for the file so far.
    pub(super) fn request(
        &mut self,
        file: &str,
        from: u64,
        tag: Option<&str>,
        count: &mut u32,
    ) -> Result<Response<Body>, Reason> {
        loop {
            let revision = percent_encoded(&self.revision, "");
            let address = format!("{}/{revision}/{}", self.model, percent_encoded(file, "/"));
            let outcome = self.get(&address, from, tag);
            *count += 1;
            let answer = match &outcome {
                Ok(response) => Answer::Status {
                    code: response.status().as_u16(),
                    retry_after: retry_after(response),
                },
                Err(Failure { is_connection: true, .. }) => {
                    Answer::None { hub_is_known: self.is_known }
                }
                Err(_) => return outcome.map_err(|failure| failure.reason),
            };
            self.is_known |= outcome.is_ok();
            let told = || match &outcome {
                Ok(response) => self.refusal(response),
                Err(failure) => failure.reason.clone(),
            };
            let Some(pause) = self.pause(*count, answer) else {
                return outcome.map_err(|failure| failure.reason);
            };
            (self.on_retry)(&told().in_file(file), pause);
            self.wait(pause)?;
        }
    }

    pub(super) fn pause(&self, count: u32, answer: Answer) -> Option<Duration> {
        let tries = Tries { count, waited: self.waited };
        pause_before_retry(tries, answer, self.timeouts.first_pause)
    }

    /// Waits, unless a stop is requested.
    pub(super) fn wait(&mut self, pause: Duration) -> Result<(), Reason> {
        self.waited = self.waited.saturating_add(pause);
        match self.stop.wait(pause) {
            Some(_) => Err("stopped".into()),
            None => Ok(()),
        }
    }

    /// Sends a GET request and follows redirects. Only the endpoint receives the token.
    fn get(
        &mut self,
        address: &str,
        from: u64,
        tag: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut address: Uri =
            address.parse().map_err(|e| Reason::from(format!("invalid URL: {e}")))?;
        for _ in 0..=MAX_REDIRECTS {
            let proxy = self.proxies.for_address(&address).cloned();
            let mut request = self.agent(proxy.as_ref())?.get(&address);
            let is_endpoint = http_origin(&address) == http_origin(&self.endpoint);
            if let (Some(token), true) = (&self.token, is_endpoint) {
                request = request.header(AUTHORIZATION, &token.header);
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
                if let Some(tag) = tag {
                    request = request.header(IF_RANGE, tag);
                }
            }
            let response =
                request.call().map_err(|error| connection_failure(&error, proxy.as_ref()))?;
            if is_endpoint {
                self.pin_commit(&response);
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            address = redirect_target(&address, &response)?;
        }
        Err(Reason::from(format!("more than {MAX_REDIRECTS} redirects")).into())
    }

    /// The client for a proxy, or for none. It keeps its connections.
    fn agent(&mut self, proxy: Option<&ProxySetting>) -> Result<&Agent, Reason> {
        let key = proxy.map(|proxy| proxy.variable.clone());
        if !self.agents.contains_key(&key) {
            let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
            let Timeouts { resolve, connect, idle, .. } = self.timeouts;
            let agent = Agent::config_builder()
                .tls_config(tls)
                .proxy(proxy.map(ProxySetting::parse).transpose()?)
                .user_agent(concat!("reembed/", env!("CARGO_PKG_VERSION")))
                .max_redirects(0)
                .http_status_as_error(false)
                .timeout_resolve(Some(resolve))
                .timeout_connect(Some(connect))
                .timeout_recv_response(Some(idle))
                .timeout_per_read(Some(idle))
                .timeout_per_write(Some(idle))
                .build()
                .new_agent();
            self.agents.insert(key.clone(), agent);
        }
        self.agents.get(&key).ok_or_else(|| Reason::from("no HTTP client"))
    }

    /// Replaces the revision by the commit of a response.
    fn pin_commit(&mut self, response: &Response<Body>) {
        let commit = header(response, "x-repo-commit");
        if commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            self.revision = commit.to_owned();
        }
    }

    /// Why a response is not the file.
    pub(super) fn refusal(&self, response: &Response<Body>) -> Reason {
        let (status, code) = (response.status(), header(response, "x-error-code"));
        let because = |why: &str| Reason::from(format!("{status}: {why}"));
        let get_token = || match &self.token {
            None => "set HF_TOKEN, or log in with `hf auth login`".to_owned(),
            Some(token) => format!("check {}", token.place),
        };
        match (status.as_u16(), code) {
            (401 | 403, "GatedRepo") => because("the model is gated").or_cure(format!(
                "accept its conditions on its page at the hub, then {}",
                get_token()
            )),
            (401 | 404, "RepoNotFound") | (401 | 403, _) => because(
                "the model does not exist, or it is private or gated",
            )
            .or_cure(format!("check `model.id`; for a private or gated model {}", get_token())),
            (404, "RevisionNotFound") => {
                because("the model has no such revision").or_cure("check `model.revision`")
            }
            (407, _) => because("the proxy wants a user and a password"),
            (408 | 429 | 500..=599, _) => {
                let asked = retry_after(response)
                    .map(|wait| format!("; the hub asks to wait {} s", wait.as_secs()));
                Reason::from(format!("{status}{}", asked.unwrap_or_default()))
                    .or_cure("the hub is busy or broken: run again later")
            }
            _ => Reason::from(format!("{status} {code}").trim_end().to_owned()),
        }
    }
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    parse_retry_after(header(response, RETRY_AFTER.as_str()), now)
}

fn parse_endpoint(endpoint: &str) -> Result<Uri, Reason> {
    let shown = redact_credentials(endpoint);
    let is_url =
        |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    endpoint.parse().ok().filter(is_url).ok_or_else(|| {
        let example = match endpoint.contains("://") {
            true => "https://huggingface.co".to_owned(),
            false => format!("https://{shown}"),
        };
        let reason = match endpoint.contains("://") {
            true => "HF_ENDPOINT is not a URL of http or https".to_owned(),
            false => format!("HF_ENDPOINT is `{shown}`, which has no https:// in front"),
        };
        Reason::from(reason).or_cure(format!("set HF_ENDPOINT to a URL such as {example}"))
    })
}

fn connection_failure(error: &ureq::Error, proxy: Option<&ProxySetting>) -> Failure {
    let reason = match proxy {
        None => Reason::from(error.to_string()).or_cure(OPEN_NETWORK),
        Some(proxy) => Reason::from(format!("through {proxy}: {error}"))
            .or_cure(format!("check the proxy in {}, or add the host to NO_PROXY", proxy.variable)),
    };
    Failure { reason, is_connection: true }
}

fn redirect_target(from: &Uri, response: &Response<Body>) -> Result<Uri, Reason> {
    let (scheme, authority) = (from.scheme_str().unwrap_or_default(), from.authority());
    let location = header(response, "location");
    let address = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", authority.map_or("", Authority::as_str))
    } else {
        location.to_owned()
    };
    // URLs of the storage host are signed, so messages do not quote them.
    let to: Uri = address
        .parse()
        .map_err(|_| Reason::from(format!("a redirect without a valid {LOCATION} header")))?;
    match to.scheme_str() {
        Some("https") => Ok(to),
        Some("http") if scheme == "http" => Ok(to),
        _ => Err("a redirect from https to http, which is refused".into()),
    }
}

/// The origin of a URL in the sense of HTTP: scheme, host and port.
fn http_origin(address: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let default_port = match address.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let host = address.host().map(str::to_ascii_lowercase);
    (address.scheme_str(), host, address.port_u16().or(default_port))
}

/// A header, or the empty string.
pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn percent_encoded(text: &str, keep: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~".contains(letter) || keep.contains(letter) {
            encoded.push(letter);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
