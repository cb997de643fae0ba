//! The Hugging Face hub over HTTP: `GET {endpoint}/{id}/resolve/{revision}/{file}`.
//!
//! Why ureq, and why redirects are followed here: docs/decisions/0002-hub-client.md.

use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, HeaderValue, LOCATION};
use ureq::http::uri::{Authority, Uri};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::config::SourceConfig;
use super::fetcher::{FileSource, OpenFile};
use super::reason::Reason;

/// The hub redirects once or twice.
const MAX_REDIRECTS: usize = 8;

/// The timeouts of a request. The download of a file has none, as long as bytes arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// To resolve the name of a host.
    pub(super) resolve: Duration,
    /// To connect, TLS included.
    pub(super) connect: Duration,
    /// To receive or send the next bytes.
    pub(super) idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            resolve: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            idle: Duration::from_secs(30),
        }
    }
}

/// A model on the hub.
pub(super) struct Hub {
    agent: Agent,
    endpoint: Uri,
    /// The URL of the model without the revision.
    model: String,
    /// The revision; after the first response, its commit: a branch may move between two files.
    revision: String,
    authorization: Option<HeaderValue>,
}

impl Hub {
    pub(super) fn new(config: &SourceConfig, timeouts: Timeouts) -> Result<Hub, Reason> {
        let endpoint = config.endpoint.trim_end_matches('/');
        let model = format!("{endpoint}/{}/resolve", config.hub_id());
        let endpoint: Uri = endpoint.parse().map_err(|e| format!("invalid URL: {e}"))?;
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy(config)?)
            .user_agent(concat!("reembed/", env!("CARGO_PKG_VERSION")))
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(timeouts.resolve))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.idle))
            .timeout_per_read(Some(timeouts.idle))
            .timeout_per_write(Some(timeouts.idle))
            .build()
            .new_agent();
        let authorization = config
            .token
            .as_ref()
            .map(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())))
            .transpose()
            .map_err(|_| "HF_TOKEN has characters that HTTP does not allow".to_owned())?;
        Ok(Hub { agent, endpoint, model, revision: config.revision.clone(), authorization })
    }

    /// Sends a GET request and follows redirects. Only the endpoint receives the token.
    fn get(&mut self, address: &str) -> Result<Response<Body>, Reason> {
        let mut address: Uri = address.parse().map_err(|e| format!("invalid URL: {e}"))?;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&address);
            if let Some(authorization) = &self.authorization
                && http_origin(&address) == http_origin(&self.endpoint)
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.call().map_err(|e| e.to_string())?;
            if http_origin(&address) == http_origin(&self.endpoint) {
                self.pin_commit(&response);
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            address = redirect_target(&address, &response)?;
        }
        Err(format!("more than {MAX_REDIRECTS} redirects"))
    }

    /// Replaces the revision by the commit of a response.
    fn pin_commit(&mut self, response: &Response<Body>) {
        let commit = header(response, "x-repo-commit");
        if commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            self.revision = commit.to_owned();
        }
    }
}

impl FileSource for Hub {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let revision = percent_encoded(&self.revision, "");
        let address = format!("{}/{revision}/{}", self.model, percent_encoded(file, "/"));
        let response = self.get(&address).map_err(|reason| format!("{file}: {reason}"))?;
        // `EntryNotFound` is a missing file; other codes are a missing model or revision.
        let code = header(&response, "x-error-code");
        match response.status() {
            StatusCode::OK => {
                let body = response.into_body();
                let length = body.content_length();
                Ok(Some(OpenFile { body: Box::new(body.into_reader()), length }))
            }
            StatusCode::NOT_FOUND if code.is_empty() || code == "EntryNotFound" => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
                "{file}: {}: the model does not exist, or it is private or gated and requires a different HF_TOKEN",
                response.status()
            )),
            status => Err(format!("{file}: {status} {code}")),
        }
    }
}

/// Removes user name and password from the URL of the endpoint.
pub(super) fn redact_credentials(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let path = path.trim_end_matches('/');
            format!("{scheme}://{host}{}{path}", if path.is_empty() { "" } else { "/" })
        }
        None => endpoint.to_owned(),
    }
}

fn proxy(config: &SourceConfig) -> Result<Option<ureq::Proxy>, Reason> {
    let Some(url) = &config.proxy else { return Ok(None) };
    let build = || {
        let url = ureq::Proxy::new(url.reveal())?;
        let mut proxy = ureq::Proxy::builder(url.protocol()).host(url.host()).port(url.port());
        if let Some(name) = url.username() {
            proxy = proxy.username(name);
        }
        if let Some(password) = url.password() {
            proxy = proxy.password(password);
        }
        config.no_proxy.iter().fold(proxy, |proxy, host| proxy.no_proxy(host)).build()
    };
    build().map(Some).map_err(|_: ureq::Error| "the URL of the proxy is invalid".to_owned())
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
    let to: Uri =
        address.parse().map_err(|_| format!("a redirect without a valid {LOCATION} header"))?;
    match to.scheme_str() {
        Some("https") => Ok(to),
        Some("http") if scheme == "http" => Ok(to),
        _ => Err("a redirect from https to http, which is refused".to_owned()),
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

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
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
