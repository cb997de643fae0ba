//! What a path looks like, before anything is opened or made at it.

use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::blocks::key_in_block;
use super::layers::RawConfig;
use super::origin::Origin;
use super::settings::{SETTINGS, Setting};
use super::values::Value;

/// Settings that name a file and never a directory.
const FILES: [&str; 3] = ["input.files_from", "cache.path", "vector.ranges"];

/// What is wrong with a path, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    message: String,
    advice: &'static str,
}

/// Checks that an argument of a command is the path of a local file or directory.
///
/// # Errors
/// `Config`, when it is the address of a remote file, standard input or output, or begins with `~`.
pub fn check_local_path(path: &Path) -> Result<()> {
    local_problem(path).map_or(Ok(()), |problem| {
        let message = format!("the path {}", problem.message);
        Err(Error::new(ErrorKind::Config, message).advice(problem.advice))
    })
}

impl RawConfig {
    /// Checks the paths of all settings, or of those in `tables`.
    ///
    /// # Errors
    /// `Config`, naming every key and where it was set.
    pub(super) fn check_paths(&self, tables: Option<&[&str]>) -> Result<()> {
        let is_asked =
            |setting: &&Setting| tables.is_none_or(|tables| tables.contains(&setting.table()));
        let mut faults = Vec::new();
        for setting in SETTINGS.iter().filter(is_asked) {
            let layers = std::iter::once(&self.values).chain(self.blocks.iter().map(|b| &b.values));
            for (value, origin) in layers.filter_map(|values| values.get(setting.key)) {
                let Some(problem) = problem_of(setting.key, value) else { continue };
                let key = match origin {
                    Origin::Block(..) => key_in_block(setting).unwrap_or(setting.key),
                    _ => setting.key,
                };
                let message = format!("{origin}: `{key}` {}", problem.message);
                faults.push(Error::new(ErrorKind::Config, message).advice(problem.advice));
            }
        }
        Error::all(faults).map_or(Ok(()), Err)
    }
}

fn problem_of(key: &str, value: &Value) -> Option<Problem> {
    match value {
        Value::Path(path) => {
            local_problem(path).or_else(|| FILES.contains(&key).then(|| directory_problem(path))?)
        }
        Value::Text(id) if key == "model.id" => scheme(id.as_bytes()).map(|_| Problem {
            message: format!("is {id:?}, but the name of a model on the hub has no scheme"),
            advice: "write its name, such as `sentence-transformers/all-MiniLM-L6-v2`, or set `model.path` to a local \
                     directory",
        }),
        _ => None,
    }
}

/// What is wrong with a path that has to be local.
fn local_problem(path: &Path) -> Option<Problem> {
    let text = path.as_os_str().as_encoded_bytes();
    if let Some(scheme) = scheme(text) {
        return Some(Problem {
            message: format!("is {path:?}, but `{scheme}://` is not supported: files are local"),
            advice: match scheme {
                "file" => "write the path alone, without `file://`",
                _ => "name a local file or directory; copy the file with the tool of its store",
            },
        });
    }
    if text == b"-" {
        return Some(Problem {
            message: "is \"-\", but standard input and output are not supported".to_owned(),
            advice: "name a file; `./-` is the file of that name",
        });
    }
    let of_user =
        |first: &[u8]| first == b"~" || first.starts_with(b"~") && first.len() < text.len();
    let first = text.split(|byte| *byte == b'/').next().unwrap_or(text);
    of_user(first).then(|| Problem {
        message: format!("is {path:?}, but `~` is not expanded"),
        advice: "write the path in full; `./~` is the file of that name",
    })
}

/// What is wrong with the path of a file that is written like that of a directory.
fn directory_problem(path: &Path) -> Option<Problem> {
    let text = path.as_os_str().as_encoded_bytes();
    let names_directory = [".", ".."].iter().any(|name| path.as_os_str() == *name)
        || ["/", "/.", "/.."].iter().any(|end| text.ends_with(end.as_bytes()));
    names_directory.then(|| Problem {
        message: format!("is {path:?}, which names a directory"),
        advice: "name a file, such as `out/tasks.parquet`",
    })
}

/// The scheme of an address such as `s3://bucket/file`.
fn scheme(text: &[u8]) -> Option<&str> {
    let end = text.windows(3).position(|part| part == b"://")?;
    let scheme = std::str::from_utf8(&text[..end]).ok()?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some(scheme)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn only_local_paths_pass() {
        for (path, expected) in [
            (&b"s3://bucket/t.parquet"[..], Some("`s3://` is not supported")),
            (b"gs://bucket", Some("`gs://`")),
            (b"az://container/t", Some("`az://`")),
            (b"abfss://a@b.c/t", Some("`abfss://`")),
            (b"https://host/t", Some("`https://`")),
            (b"hf://org/name", Some("`hf://`")),
            (b"file:///tmp/t", Some("`file://`")),
            (b"S3A://bucket", Some("`S3A://`")),
            (b"x+y-1.z://a", Some("`x+y-1.z://`")),
            (b"-", Some("standard input")),
            (b"~", Some("not expanded")),
            (b"~/t", Some("not expanded")),
            (b"~me/t", Some("not expanded")),
            (b"~t.parquet", None),
            (b"./-", None),
            (b"./~", None),
            (b"-t", None),
            (b"out/t", None),
            (b"/out/t", None),
            (b"s3:/t", None),
            (b"a:b", None),
            (b"://t", None),
            (b"1a://t", None),
            (b"./s3://t", None),
            (b"a b://t", None),
            (b"\xff://t", None),
            (b"\xff", None),
        ] {
            let problem = local_problem(Path::new(OsStr::from_bytes(path)));
            let message = problem.map(|problem| problem.message);
            match expected {
                None => assert_eq!(message, None, "{path:?}"),
                Some(part) => {
                    assert!(message.as_ref().is_some_and(|m| m.contains(part)), "{message:?}")
                }
            }
        }
    }

    #[test]
    fn path_of_a_file_does_not_end_like_a_directory() {
        for (path, expected) in [
            ("out/", true),
            ("/", true),
            (".", true),
            ("..", true),
            ("out/.", true),
            ("out/..", true),
            ("out/t", false),
            ("out/.t", false),
            ("out/t.", false),
        ] {
            assert_eq!(directory_problem(Path::new(path)).is_some(), expected, "{path}");
        }
    }
}
