//! The proxies of the environment, and which one an address is reached through.

use std::fmt;

use ureq::http::Uri;

use super::no_proxy::is_direct;
use super::reason::Reason;
use super::secret::{Secret, redact_credentials};
use crate::environment::Environment;

/// The proxies for `http://` and `https://`, and the hosts that are reached without them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<ProxySetting>,
    /// For `https://`.
    pub https: Option<ProxySetting>,
    /// The patterns of NO_PROXY: `host`, `.domain`, an address, a range such as `10.0.0.0/8`, or `*`.
    pub direct: Vec<String>,
}

/// The URL of a proxy, and the variable that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySetting {
    /// The name of the variable.
    pub variable: String,
    /// `http://user:password@host:port`; also with `https`, `socks4`, `socks4a`, `socks5`, `socks5h`.
    pub url: Secret,
}

impl Proxies {
    /// The proxies that the environment names, as curl finds them.
    pub fn from_environment(environment: &Environment) -> Proxies {
        let setting = |scheme| {
            let (variable, url) = environment.proxy(scheme)?;
            Some(ProxySetting { variable: variable.to_owned(), url: Secret::new(url.trim()) })
        };
        Proxies { http: setting("http"), https: setting("https"), direct: environment.no_proxy() }
    }

    /// The proxy for an address; `None`: it is reached directly.
    pub(super) fn for_address(&self, address: &Uri) -> Option<&ProxySetting> {
        let (setting, default_port) = match address.scheme_str() {
            Some("http") => (self.http.as_ref()?, 80),
            _ => (self.https.as_ref()?, 443),
        };
        let port = address.port_u16().unwrap_or(default_port);
        let is_direct = is_direct(&self.direct, address.host()?, Some(port));
        (!is_direct).then_some(setting)
    }
}

impl ProxySetting {
    /// The proxy as the HTTP client takes it.
    pub(super) fn parse(&self) -> Result<ureq::Proxy, Reason> {
        // A password with a slash would end the host: the rest would be taken for a path.
        let has_path_with_user = |proxy: &ureq::Proxy| proxy.uri().path().contains('@');
        let parsed = ureq::Proxy::new(self.url.reveal()).ok();
        parsed.filter(|proxy| !has_path_with_user(proxy)).ok_or_else(|| {
            Reason::from(format!("{} is not the URL of a proxy", self.variable)).or_cure(format!(
                "set {} to http://user:password@host:port (or https, socks4, socks4a, socks5, \
                 socks5h), with %XX for special characters of the password",
                self.variable
            ))
        })
    }
}

/// The proxy without its password.
impl fmt::Display for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} ({})", redact_credentials(self.url.reveal()), self.variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_for(variables: &[(&str, &str)], address: &str) -> Option<String> {
        let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let proxies = Proxies::from_environment(&Environment::new(owned));
        let address = address.parse().expect("an address");
        proxies.for_address(&address).map(|setting| setting.variable.clone())
    }

    #[test]
    fn each_scheme_has_its_variables_and_no_proxy_wins() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>);
        let (http, https) = ("http://127.0.0.1:80/x", "https://huggingface.co/x");
        let cases: [Case<'_>; 14] = [
            (&[("HTTPS_PROXY", "p")], https, Some("HTTPS_PROXY")),
            (&[("HTTPS_PROXY", "p")], http, None),
            (&[("HTTP_PROXY", "p")], http, Some("HTTP_PROXY")),
            (&[("HTTP_PROXY", "p")], https, None),
            (&[("ALL_PROXY", "p")], https, Some("ALL_PROXY")),
            (&[("all_proxy", "p")], http, Some("all_proxy")),
            (&[("ALL_PROXY", "p"), ("https_proxy", "p")], https, Some("https_proxy")),
            (&[("HTTPS_PROXY", "p"), ("https_proxy", "p")], https, Some("https_proxy")),
            (&[("HTTPS_PROXY", ""), ("ALL_PROXY", "p")], https, Some("ALL_PROXY")),
            // In a CGI script it is a header of the client.
            (&[("HTTP_PROXY", "p"), ("REQUEST_METHOD", "GET")], http, None),
            (&[("http_proxy", "p"), ("REQUEST_METHOD", "GET")], http, Some("http_proxy")),
            (&[("HTTP_PROXY", "p"), ("NO_PROXY", "localhost 127.0.0.0/8")], http, None),
            (&[("HTTPS_PROXY", "p"), ("no_proxy", "a.org,huggingface.co")], https, None),
            (
                &[("HTTPS_PROXY", "p"), ("NO_PROXY", "huggingface.co:80")],
                https,
                Some("HTTPS_PROXY"),
            ),
        ];
        for (variables, address, expected) in cases {
            assert_eq!(
                proxy_for(variables, address).as_deref(),
                expected,
                "{variables:?} {address}"
            );
        }
    }

    #[test]
    fn url_of_a_proxy_is_parsed_and_shown_without_password() {
        for (url, shown) in [
            ("http://me:hush@proxy:3128", Some("http://proxy:3128")),
            ("me:hush@proxy:3128", Some("proxy:3128")),
            ("socks5h://127.0.0.1:9", Some("socks5h://127.0.0.1:9")),
            ("ftp://proxy", None),
            ("http://me:hu/sh@proxy", None),
        ] {
            let (variable, url) = ("HTTPS_PROXY".to_owned(), Secret::new(url));
            let setting = ProxySetting { variable, url };
            match (setting.parse(), shown) {
                (Ok(_), Some(shown)) => {
                    assert_eq!(setting.to_string(), format!("the proxy {shown} (HTTPS_PROXY)"));
                }
                (Err(reason), None) => {
                    assert_eq!(reason.text(), "HTTPS_PROXY is not the URL of a proxy");
                }
                (parsed, _) => panic!("{shown:?}: {parsed:?}"),
            }
            assert!(!format!("{setting} {setting:?}").contains("hu"), "{setting}");
        }
    }
}
