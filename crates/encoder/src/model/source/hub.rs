//! The hub by HTTP: `GET {endpoint}/{id}/resolve/{revision}/{file}`.

use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, HeaderValue, LOCATION};
use ureq::http::uri::{Authority, Uri};
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::shelf::{OpenFile, Shelf};
use super::{Reason, SourceConfig};

/// The hub redirects once or twice.
const MOST_REDIRECTS: usize = 8;

/// How long a silent network is believed in. A whole download may take any time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// To find the address of a host.
    pub(super) look_up: Duration,
    /// To connect, encryption included.
    pub(super) connect: Duration,
    /// To say anything more.
    pub(super) stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            look_up: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            stall: Duration::from_secs(30),
        }
    }
}

pub(super) struct Hub {
    agent: Agent,
    home: Uri,
    /// The address of the model without the revision.
    model: String,
    /// What was asked for, then the commit that it turned out to be: a branch may move between two files.
    revision: String,
    authorization: Option<HeaderValue>,
}

impl Hub {
    pub(super) fn new(config: &SourceConfig, patience: Patience) -> Result<Hub, Reason> {
        let endpoint = config.endpoint.trim_end_matches('/');
        let home: Uri = endpoint.parse().map_err(|e| format!("not an address: {e}"))?;
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy(config)?)
            .user_agent(concat!("reembed/", env!("CARGO_PKG_VERSION")))
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.look_up))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.stall))
            .timeout_per_read(Some(patience.stall))
            .timeout_per_write(Some(patience.stall))
            .build()
            .new_agent();
        let authorization = config
            .token
            .as_ref()
            .map(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())))
            .transpose()
            .map_err(|_| "the token has characters that cannot be sent".to_owned())?;
        Ok(Hub {
            agent,
            home,
            model: format!("{endpoint}/{}/resolve", config.id),
            revision: config.revision.clone(),
            authorization,
        })
    }

    /// Follows redirects, and leaves the token behind where they leave the hub.
    fn get(&mut self, address: &str) -> Result<Response<Body>, Reason> {
        let mut address: Uri = address.parse().map_err(|e| format!("not an address: {e}"))?;
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(&address);
            if let Some(authorization) = &self.authorization
                && origin(&address) == origin(&self.home)
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.call().map_err(|e| e.to_string())?;
            if origin(&address) == origin(&self.home) {
                self.settle_on_commit(&response);
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            address = redirected(&address, &response)?;
        }
        Err(format!("more than {MOST_REDIRECTS} redirects"))
    }

    fn settle_on_commit(&mut self, response: &Response<Body>) {
        let commit = header(response, "x-repo-commit");
        if commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()) {
            self.revision = commit.to_owned();
        }
    }
}

impl Shelf for Hub {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let revision = percent_encoded(&self.revision, "");
        let address = format!("{}/{revision}/{}", self.model, percent_encoded(file, "/"));
        let response = self.get(&address).map_err(|reason| format!("{file}: {reason}"))?;
        // Of a missing model or revision the hub says so here; of a missing file, `EntryNotFound`.
        let code = header(&response, "x-error-code");
        match response.status() {
            StatusCode::OK => {
                let body = response.into_body();
                let length = body.content_length();
                Ok(Some(OpenFile { body: Box::new(body.into_reader()), length }))
            }
            StatusCode::NOT_FOUND if code.is_empty() || code == "EntryNotFound" => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
                "{file}: {}: no such model, or a private or gated one that wants another HF_TOKEN",
                response.status()
            )),
            status => Err(format!("{file}: {status} {code}")),
        }
    }
}

/// The endpoint without the name and password that it may carry.
pub(super) fn shown(endpoint: &str) -> String {
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
    build()
        .map(Some)
        .map_err(|_: ureq::Error| "the proxy's address cannot be understood".to_owned())
}

fn redirected(from: &Uri, response: &Response<Body>) -> Result<Uri, Reason> {
    let (scheme, authority) = (from.scheme_str().unwrap_or_default(), from.authority());
    let location = header(response, "location");
    let address = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", authority.map_or("", Authority::as_str))
    } else {
        location.to_owned()
    };
    // Addresses of storage are signed: none of this is quoted.
    let to: Uri = address.parse().map_err(|_| format!("a redirect without a usable {LOCATION}"))?;
    match to.scheme_str() {
        Some("https") => Ok(to),
        Some("http") if scheme == "http" => Ok(to),
        _ => Err("a redirect to an address that is not protected".to_owned()),
    }
}

/// Scheme, host and port: who a token is shown to.
fn origin(address: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let usual = match address.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let host = address.host().map(str::to_ascii_lowercase);
    (address.scheme_str(), host, address.port_u16().or(usual))
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
