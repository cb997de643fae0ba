//! The values that the directories of a Hive layout hold: `dt=2026-11-01/country=de`.

use std::path::{Component, Path};

/// The directory of rows without a value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// The partitions of a table by its path below the root, outermost first: names and values, without their
/// percent encoding. A value is `None` where rows have none.
pub fn partitions(below: &Path) -> Vec<(String, Option<String>)> {
    let directories = below.parent().into_iter().flat_map(Path::components);
    let partition = |component: Component<'_>| {
        let Component::Normal(name) = component else { return None };
        let (name, value) = name.to_str()?.split_once('=')?;
        let value = (value != NO_VALUE).then(|| decode(value));
        (!name.is_empty()).then(|| (decode(name), value))
    };
    directories.filter_map(partition).collect()
}

/// Replaces `%3A` by the byte that it stands for. What is no encoding of UTF-8 stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_names_without_one_are_no_partition() {
        for (below, expected) in [
            ("a.parquet", &[][..]),
            ("dt=2026-11-01/a=b.parquet", &[("dt", Some("2026-11-01"))]),
            ("x/dt=1/y/c=d=e/t", &[("dt", Some("1")), ("c", Some("d=e"))]),
            ("t=12%3A30%2F1/t", &[("t", Some("12:30/1"))]),
            ("t=%zz%4/t", &[("t", Some("%zz%4"))]),
            ("t=%FF/t", &[("t", Some("%FF"))]),
            ("a%20b=/t", &[("a b", Some(""))]),
            ("dt=__HIVE_DEFAULT_PARTITION__/t", &[("dt", None)]),
            ("=1/t", &[]),
        ] {
            let found = partitions(Path::new(below));
            let found: Vec<(&str, Option<&str>)> =
                found.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            assert_eq!(found, expected, "{below}");
        }
    }
}
