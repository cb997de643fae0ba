//! What `output.for` stands for: defaults of other settings, and what the reader cannot do without.
//!
//! docs/presets.md says which reader was seen with each.

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::words::Preset;

impl Preset {
    /// The defaults that it sets: keys, and their values as text. What the user sets comes first.
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // LanceDB keeps fixed-size lists, and refuses a null among the vectors.
            Preset::Lance => &[("output.on_empty", "embed"), ("vector.layout", "fixed_size_list")],
            // Delta, Iceberg and PostgreSQL have no list of a fixed size, and keep nulls.
            Preset::Delta | Preset::Iceberg | Preset::Pgvector => {
                &[("output.on_empty", "null"), ("vector.layout", "list")]
            }
            Preset::Duckdb => &[("output.on_empty", "null"), ("vector.layout", "fixed_size_list")],
            // Each record has to have its values.
            Preset::Pinecone => &[
                ("output.column", "values"),
                ("output.on_empty", "embed"),
                ("vector.layout", "list"),
            ],
        }
    }

    /// The columns that the output must have: their names, and whether they hold strings.
    pub fn required_columns(self) -> &'static [(&'static str, bool)] {
        match self {
            Preset::Pinecone => &[("id", true), ("values", false)],
            _ => &[],
        }
    }

    /// Checks that it can keep vectors of so many components.
    ///
    /// # Errors
    /// `Config`, naming the most components.
    pub fn check_width(self, width: usize) -> Result<()> {
        let most = match self {
            Preset::Pgvector => 16_000,
            _ => usize::MAX,
        };
        match width <= most {
            true => Ok(()),
            false => {
                let word = self.as_str();
                let message = format!(
                    "the vectors have {width} components, more than the {most} of output.for = {word:?}"
                );
                Err(Error::new(ErrorKind::Config, message)
                    .advice("set `vector.dims`, or remove `output.for`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kind, Setting};

    #[test]
    fn presets_set_known_words_of_known_keys() {
        for word in Preset::WORDS {
            let preset = Preset::parse(word).expect("a preset");
            for (key, value) in preset.defaults() {
                let setting = Setting::find(key).expect(key);
                match setting.kind {
                    Kind::Word(words) => assert!(words.contains(value), "{word}: {key} = {value}"),
                    kind => assert_eq!(kind, Kind::Text, "{word}: {key}"),
                }
            }
        }
    }

    #[test]
    fn only_pgvector_has_a_greatest_width() {
        for (preset, width, fits) in [
            (Preset::Pgvector, 16_000, true),
            (Preset::Pgvector, 16_001, false),
            (Preset::Lance, 16_001, true),
        ] {
            let checked = preset.check_width(width);
            assert_eq!(checked.is_ok(), fits, "{preset:?} {width}");
            if let Err(error) = checked {
                assert!(
                    error.to_string().contains("16000 of output.for = \"pgvector\""),
                    "{error}"
                );
            }
        }
    }
}
