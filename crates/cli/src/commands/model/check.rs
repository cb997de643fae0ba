//! `reembed model check`: compares the vectors of a model with those of sentence-transformers.

mod texts;

use std::borrow::Cow;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use reembed::{Embedder, Error, ErrorKind, ModelConfig, Stop};
use reembed_encoder::model;
use reembed_encoder::model::config::TextOptions;
use reembed_kernels::Precision;

use super::named::resolve_named;
use crate::cli::{CheckArgs, Logging};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::text::{printable, table};

/// The largest difference of a component that rounding in f32 explains, for vectors of length 1.
const TOLERANCE: f64 = 2e-5;

/// The other library, as a script.
const SCRIPT: &str = include_str!("check.py");

/// The first characters of a text that the result shows.
const SHOWN_CHARS: usize = 60;

/// `reembed model check`. Both libraries follow the directory of the model alone, its own prompt and length included:
/// what the configuration says about texts is not compared.
pub fn check(args: &CheckArgs, logging: &Logging) -> Result<Exit> {
    let (config, files) = resolve_named(&args.model, logging)?;
    let progress = Progress::new(logging);
    let texts = texts::take(args.texts.get());
    progress.step("embedding with sentence-transformers");
    let theirs = with_sentence_transformers(&files.directory, &config, &texts)?;
    progress.step("embedding");
    // The script knows neither the prompt nor the length of the configuration, and computes in f32, whatever
    // this machine would choose.
    let config =
        ModelConfig { text: TextOptions::default(), precision: Some(Precision::F32), ..config };
    let embedder = Embedder::new(model::load(&config, &|_| ())?);
    let rows = rows_with_tokens(&embedder, &texts)?;
    let compared: Vec<&str> = rows.iter().map(|row| texts[*row].as_str()).collect();
    let ours = embedder.embed(&compared)?;
    progress.finish();
    // After `truncate_dim` of the model, which both follow: neither scales a vector again.
    let dimension = embedder.dim();
    let refuse = |message: String| {
        Error::new(ErrorKind::Model, message)
            .in_file(&files.directory)
            .advice("please report this model as a bug")
    };
    if theirs.len() != texts.len() * dimension {
        let found = theirs.len() / texts.len().max(1);
        let message =
            format!("a vector has {dimension} components, that of sentence-transformers {found}");
        return Err(refuse(message).into());
    }
    let pairs = rows
        .iter()
        .enumerate()
        .map(|(at, row)| (ours.row(at), &theirs[row * dimension..][..dimension]));
    let worst = Worst::among(pairs);
    let Some(&row) = rows.get(worst.text) else {
        return Err(refuse("the tokenizer returns no token for any text".to_owned()).into());
    };
    let verdict = if worst.is_equal() { "equal" } else { "DIFFERENT" };
    let left_out = match texts.len() - rows.len() {
        0 => String::new(),
        count => format!(", and {count} without a token, which reembed refuses"),
    };
    let mut lines = vec![
        ("model", printable(files.label.as_str())),
        ("texts", format!("{}{left_out}", rows.len())),
        ("prompt", format!("{:?}, the model's own", embedder.identity().prompt)),
        ("components", dimension.to_string()),
        (
            "worst component",
            format!("{:.1e} of a vector of length 1 (text {})", worst.difference, row + 1),
        ),
        ("least cosine", format!("{:.7}", worst.cosine)),
        ("verdict", format!("{verdict}; up to {TOLERANCE:.0e} is rounding")),
    ];
    if !worst.is_equal() {
        let start: String = texts[row].chars().take(SHOWN_CHARS).collect();
        lines.push(("the text begins", format!("{start:?}")));
    }
    print::result(&table(&lines))?;
    Ok(if worst.is_equal() { Exit::Done } else { Exit::Failed })
}

/// The texts that have a token. A tokenizer without special tokens may leave none of a text: sentence-transformers
/// then has a vector of zeros, and reembed refuses the text.
fn rows_with_tokens(embedder: &Embedder, texts: &[String]) -> Result<Vec<usize>> {
    let text = |row: usize| Some(Cow::Borrowed(texts[row].as_str()));
    let tokens = embedder.count_positions(texts.len(), text, &Stop::new())?;
    Ok((0..texts.len()).filter(|row| tokens[*row] > 0).collect())
}

/// The vectors of texts, row-major.
fn with_sentence_transformers(
    directory: &Path,
    config: &ModelConfig,
    texts: &[String],
) -> Result<Vec<f32>> {
    let work = tempfile::tempdir().context("cannot create a temporary directory")?;
    let (script, input) = (work.path().join("check.py"), work.path().join("texts.json"));
    let output = work.path().join("vectors");
    std::fs::write(&script, SCRIPT).context("cannot write the script")?;
    std::fs::write(&input, serde_json::to_string(texts)?).context("cannot write the texts")?;
    let python = &config.source.python;
    let done = Command::new(python)
        .arg(&script)
        .args([directory, &input, &output])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", python.display()))?;
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        let last =
            told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(Error::new(ErrorKind::Model, format!("sentence-transformers failed: {last}"))
            .in_file(directory)
            .advice("REEMBED_PYTHON names the Python that has sentence-transformers")
            .into());
    }
    let bytes = std::fs::read(&output).context("cannot read the vectors")?;
    let number = |bytes: &[u8]| bytes.try_into().map(f32::from_le_bytes).unwrap_or(f32::NAN);
    Ok(bytes.chunks_exact(4).map(number).collect())
}

/// The largest differences among pairs of vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Worst {
    /// Of a component, after both were divided by the length of the second; NaN if there is one.
    difference: f64,
    /// The number of its pair.
    text: usize,
    cosine: f64,
}

impl Worst {
    fn among<'v>(pairs: impl Iterator<Item = (&'v [f32], &'v [f32])>) -> Worst {
        let mut worst = Worst { difference: 0.0, text: 0, cosine: 1.0 };
        for (text, (ours, theirs)) in pairs.enumerate() {
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            let (own, length) = (dot(ours, ours).sqrt(), dot(theirs, theirs).sqrt());
            let differences = ours.iter().zip(theirs);
            let difference = differences
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs() / length)
                .fold(0.0, |most: f64, one| if one.is_nan() || one > most { one } else { most });
            // NaN is worse than any number, and the first one stays.
            if difference > worst.difference || difference.is_nan() && !worst.difference.is_nan() {
                (worst.difference, worst.text) = (difference, text);
            }
            worst.cosine = worst.cosine.min(dot(ours, theirs) / (own * length));
        }
        worst
    }

    fn is_equal(&self) -> bool {
        self.difference <= TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_component_is_found_with_its_text() {
        let equal = ([3.0_f32, 4.0], [3.0_f32, 4.0]);
        let other = ([0.6_f32, 0.8], [0.6_f32, 0.7]);
        let nan = ([f32::NAN, 0.0], [1.0_f32, 0.0]);
        let among = |pairs: &[([f32; 2], [f32; 2])]| {
            Worst::among(pairs.iter().map(|(ours, theirs)| (&ours[..], &theirs[..])))
        };
        assert!(among(&[equal]).is_equal());
        let worst = among(&[equal, other, equal]);
        assert!(!worst.is_equal() && worst.text == 1 && worst.cosine < 0.9999);
        assert!((worst.difference - 0.1 / 0.85_f64.sqrt()).abs() < 1e-6);
        let worst = among(&[other, nan, equal]);
        assert!(!worst.is_equal() && worst.difference.is_nan());
    }
}
