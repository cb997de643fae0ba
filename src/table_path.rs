//! The path of a table below the root, as JSON: text, or its bytes if it is not UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use reembed_encoder::hash::hex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes { bytes: String },
}

/// Serializes a path.
pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => Written::Text(text.to_owned()),
        None => Written::Bytes { bytes: hex(path.as_os_str().as_bytes()) },
    }
    .serialize(to)
}

/// Deserializes a path.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    match Written::deserialize(from)? {
        Written::Text(text) => Ok(PathBuf::from(text)),
        Written::Bytes { bytes } => {
            let digits = bytes.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes: Option<Vec<u8>> = digits.map(byte).collect();
            let bytes =
                bytes.ok_or_else(|| D::Error::custom("the bytes of a path are not hexadecimal"))?;
            Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
        }
    }
}
