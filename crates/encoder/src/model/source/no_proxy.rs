//! Which hosts are reached without a proxy: the patterns of NO_PROXY, as curl reads them.

use std::net::IpAddr;

/// Whether one of the patterns names the host: `*`, a domain with everything below it, an address,
/// a range of addresses, or the beginning of an address (`10.1.*`). A pattern may end with a port.
///
/// A name is not resolved, so a range names only hosts that are given as addresses.
pub(super) fn is_direct(patterns: &[String], host: &str, port: Option<u16>) -> bool {
    let host = without_brackets(host.trim_end_matches('.')).to_ascii_lowercase();
    let address = host.parse().ok().map(|address: IpAddr| address.to_canonical());
    patterns.iter().any(|pattern| {
        let (pattern, its_port) = split_port(pattern.trim());
        let named = match (pattern, address) {
            ("*", _) => true,
            (pattern, None) => is_in_domain(&host, pattern),
            (pattern, Some(address)) => names_address(pattern, address, &host),
        };
        named && its_port.is_none_or(|its_port| Some(its_port) == port)
    })
}

fn is_in_domain(host: &str, pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let domain = pattern.strip_prefix('*').unwrap_or(&pattern);
    let domain = domain.trim_start_matches('.').trim_end_matches('.');
    let rest = host.strip_suffix(domain).filter(|_| !domain.is_empty());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn names_address(pattern: &str, address: IpAddr, host: &str) -> bool {
    if let Some(beginning) = pattern.strip_suffix('*').filter(|rest| rest.ends_with('.')) {
        return host.starts_with(beginning);
    }
    let (first, bits) = match pattern.split_once('/') {
        Some((first, bits)) => (first, bits.parse().ok()),
        None => (pattern, Some(u32::MAX)),
    };
    let (Ok(first), Some(bits)) = (without_brackets(first).parse::<IpAddr>(), bits) else {
        return false;
    };
    let width = if first.is_ipv4() { 32 } else { 128 };
    let is_valid = bits <= width || bits == u32::MAX;
    first.is_ipv4() == address.is_ipv4()
        && is_valid
        && network(first, bits.min(width)) == network(address, bits.min(width))
}

/// The first `bits` bits of an address.
fn network(address: IpAddr, bits: u32) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    value.checked_shr(width - bits).unwrap_or(0)
}

/// Splits `host:port` and `[address]:port`. Other colons belong to an address.
fn split_port(pattern: &str) -> (&str, Option<u16>) {
    match pattern.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (pattern, None),
        },
        _ => (pattern, None),
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_hosts_as_in_curl() {
        for (pattern, host, expected) in [
            ("*", "huggingface.co", true),
            ("*", "10.0.0.1", true),
            ("huggingface.co", "huggingface.co", true),
            ("huggingface.co", "HuggingFace.CO", true),
            ("huggingface.co", "huggingface.co.", true),
            ("huggingface.co", "cdn.huggingface.co", true),
            ("huggingface.co", "myhuggingface.co", false),
            (".huggingface.co", "huggingface.co", true),
            (".huggingface.co", "cdn.huggingface.co", true),
            ("*.huggingface.co", "cdn.huggingface.co", true),
            ("co.", "huggingface.co", true),
            ("", "huggingface.co", false),
            (".", "huggingface.co", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.10", false),
            ("0.0.1", "127.0.0.1", false),
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("10.1.2.3/16", "10.1.255.1", true),
            ("10.1.2.3/16", "10.2.2.3", false),
            ("10.0.0.0/0", "192.168.0.1", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("10.0.0.0/8", "ten.example.com", false),
            ("10.1.*", "10.1.2.3", true),
            ("10.1.*", "10.11.2.3", false),
            ("::1", "[::1]", true),
            ("[::1]", "[::1]", true),
            ("fe80::/10", "[fe80::1]", true),
            ("fe80::/10", "[::1]", false),
            ("::/0", "127.0.0.1", false),
            ("127.0.0.1", "[::ffff:127.0.0.1]", true),
        ] {
            assert_eq!(
                is_direct(&[pattern.to_owned()], host, Some(443)),
                expected,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn port_of_a_pattern_has_to_agree() {
        for (pattern, host, expected) in [
            ("mirror.org:8443", "mirror.org", true),
            ("mirror.org:443", "mirror.org", false),
            ("[::1]:8443", "[::1]", true),
            ("[::1]:443", "[::1]", false),
            ("::1", "[::1]", true),
        ] {
            assert_eq!(is_direct(&[pattern.to_owned()], host, Some(8443)), expected, "{pattern}");
        }
        let patterns = ["a.org", "mirror.org"].map(str::to_owned);
        assert!(is_direct(&patterns, "mirror.org", None));
        assert!(!is_direct(&[], "mirror.org", None));
    }
}
