//! The token for private and gated models: from the environment, or from the file of `hf auth login`.

use std::fs;
use std::io::ErrorKind;

use ureq::http::HeaderValue;

use super::config::SourceConfig;
use super::reason::Reason;
use super::secret::Secret;

/// The token, and where it is from.
pub(super) struct Token {
    /// The value of the header `Authorization`.
    pub(super) header: HeaderValue,
    /// A variable or a file.
    pub(super) place: String,
}

/// The token of the configuration, else that of its file, which may be missing.
pub(super) fn find(config: &SourceConfig) -> Result<Option<Token>, Reason> {
    let place = "HF_TOKEN".to_owned();
    if let Some(token) = &config.token {
        return from_text(token.reveal(), place);
    }
    let Some(path) = &config.token_file else { return Ok(None) };
    let place = format!("the token in {}", path.display());
    match fs::read_to_string(path) {
        Ok(text) => from_text(Secret::new(text).reveal(), place),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Reason::from_io(&place, &error)
            .or_cure("write the token alone into that file, or set HF_TOKEN")),
    }
}

/// Cuts the white space that shells, secrets and editors add.
fn from_text(text: &str, place: String) -> Result<Option<Token>, Reason> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let is_valid = text.bytes().all(|byte| byte.is_ascii_graphic());
    let header = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| is_valid);
    match header {
        Some(mut header) => {
            header.set_sensitive(true);
            Ok(Some(Token { header, place }))
        }
        None => Err(Reason::from(format!("{place} has a character that no token has"))
            .or_cure(format!("set {place} again, to the token alone"))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::fixtures::Home;
    use super::*;

    #[test]
    fn white_space_around_a_token_is_cut() {
        for (text, expected) in [
            ("hf_abc", Ok(Some("Bearer hf_abc"))),
            ("hf_abc\n", Ok(Some("Bearer hf_abc"))),
            (" hf_abc \r\n", Ok(Some("Bearer hf_abc"))),
            (" \n", Ok(None)),
            ("hf_a\nbc", Err(())),
            ("hf_a bc", Err(())),
            ("hf_ä", Err(())),
        ] {
            let mut home = Home::new();
            home.config.token = Some(Secret::new(text));
            let found = find(&home.config).map_err(|reason| {
                assert_eq!(reason.text(), "HF_TOKEN has a character that no token has");
            });
            let header = found
                .map(|token| token.map(|token| token.header.to_str().expect("text").to_owned()));
            assert_eq!(header, expected.map(|header| header.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn file_is_read_where_no_token_is_set() {
        let mut home = Home::new();
        let path: PathBuf = home.directory.path().join("token");
        home.config.token_file = Some(path.clone());
        fs::write(&path, "hf_kept\n").expect("a file");
        let header = |home: &Home| find(&home.config).expect("a token").map(|token| token.header);
        assert_eq!(header(&home).expect("a token"), "Bearer hf_secret");
        home.config.token = None;
        assert_eq!(header(&home).expect("a token"), "Bearer hf_kept");
        fs::remove_file(&path).expect("a file");
        assert!(header(&home).is_none());
        fs::create_dir(&path).expect("a directory");
        let reason = find(&home.config).err().expect("it is no file");
        assert!(reason.text().starts_with("the token in "), "{reason}");
        assert!(!reason.text().contains("hf_"), "{reason}");
    }
}
