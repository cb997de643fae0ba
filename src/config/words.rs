//! Settings with a fixed set of words. Each is an enum that owns its words, so every word has a
//! meaning.

/// Declares an enum with a word for each variant, and `WORDS` (in order), `as_str` and `parse`.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $( $(#[$variant_attribute:meta])* $variant:ident = $word:literal, )+ }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_attribute])* $variant, )+ }

        impl $name {
            /// Every word, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }

            /// The variant with this word; `None` for an unknown word.
            pub fn parse(word: &str) -> Option<$name> {
                match word { $( $word => Some($name::$variant), )+ _ => None }
            }
        }
    };
}

words! {
    /// How a row with an empty text is treated.
    pub enum OnEmpty {
        /// Its vector is null. The vector column is nullable.
        Null = "null",
        /// The empty text is embedded.
        Embed = "embed",
        /// The run fails and names the row.
        Error = "error",
        /// The row is left out of the output. The vector column is not nullable.
        Drop = "drop",
    }
}

words! {
    /// What becomes of the output of a table that is no longer there.
    pub enum OnMissing {
        /// It stays, and the manifest says that its input is gone.
        Keep = "keep",
        /// It is deleted once the manifest no longer names it.
        Delete = "delete",
    }
}

words! {
    /// What becomes of the chunks of a long text.
    pub enum Pool {
        /// Their vectors have one mean, that of the row.
        Mean = "mean",
    }
}

words! {
    /// What reads the output, which decides defaults of other settings.
    pub enum Preset {
        /// LanceDB.
        Lance = "lance",
        /// Delta Lake.
        Delta = "delta",
        /// Apache Iceberg.
        Iceberg = "iceberg",
        /// The import of Pinecone.
        Pinecone = "pinecone",
        /// PostgreSQL with pgvector.
        Pgvector = "pgvector",
        /// DuckDB.
        Duckdb = "duckdb",
    }
}

words! {
    /// The components of a vector, as the column has them.
    pub enum VectorType {
        /// 32-bit floating point, as the model makes them.
        F32 = "f32",
        /// 16-bit floating point, rounded to the nearest.
        F16 = "f16",
        /// Steps of a calibrated range, -128 to 127.
        Int8 = "int8",
        /// Steps of a calibrated range, 0 to 255.
        Uint8 = "uint8",
        /// One bit each, eight to a signed byte.
        Binary = "binary",
        /// One bit each, eight to an unsigned byte.
        Ubinary = "ubinary",
    }
}

impl VectorType {
    /// Whether components are counted in steps of a range.
    pub fn needs_ranges(self) -> bool {
        matches!(self, VectorType::Int8 | VectorType::Uint8)
    }
}

words! {
    /// The Arrow type of the vector column.
    pub enum VectorLayout {
        /// `FixedSizeList<_, width>`.
        FixedSizeList = "fixed_size_list",
        /// `List<_>`, for readers without fixed-size lists.
        List = "list",
    }
}

words! {
    /// How the columns of the input get into the output.
    pub enum Carry {
        /// Their encoded bytes are copied.
        Copy = "copy",
        /// They are decoded and encoded again, and their values compared.
        Reencode = "reencode",
    }
}

words! {
    /// What happens to a text with more tokens than the maximum.
    pub enum Truncate {
        /// It loses its last tokens.
        End = "end",
        /// It loses its first tokens.
        Start = "start",
        /// The run fails and names the row.
        Error = "error",
    }
}

words! {
    /// How a text that is not UTF-8 is treated.
    pub enum InvalidUtf8 {
        /// The run fails and names the row.
        Error = "error",
        /// Invalid bytes are replaced by U+FFFD in the text that is embedded.
        Replace = "replace",
    }
}

words! {
    /// How a run uses the vector cache.
    pub enum CacheMode {
        /// Reuse cached vectors and store new ones.
        ReadWrite = "read-write",
        /// Reuse cached vectors only.
        ReadOnly = "read-only",
        /// Reuse vectors of published tables, and keep no others.
        Output = "output",
        /// Use no cache.
        Off = "off",
    }
}

words! {
    /// The engine that runs the model.
    pub enum EngineChoice {
        /// `packed` on a CPU, `candle` on a GPU.
        Auto = "auto",
        /// The CPU kernels of `reembed-kernels`.
        Packed = "packed",
        /// The candle library: the reference implementation, and the GPU.
        Candle = "candle",
    }
}

/// What a run does with a row's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextUse {
    /// The text is embedded.
    Embed,
    /// The row gets no vector.
    Skip,
    /// The run fails and names the row.
    Refuse,
}

impl OnEmpty {
    /// What a run does with `text`.
    pub fn use_of(self, text: &str) -> TextUse {
        match (text.is_empty(), self) {
            (false, _) | (true, OnEmpty::Embed) => TextUse::Embed,
            (true, OnEmpty::Null | OnEmpty::Drop) => TextUse::Skip,
            (true, OnEmpty::Error) => TextUse::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parse_to_the_variant_that_shows_them() {
        assert_eq!(OnEmpty::WORDS, ["null", "embed", "error", "drop"]);
        for word in OnEmpty::WORDS {
            assert_eq!(OnEmpty::parse(word).map(OnEmpty::as_str), Some(*word));
        }
        assert_eq!(OnEmpty::parse("Null"), None);
        assert_eq!(CacheMode::parse("read-only"), Some(CacheMode::ReadOnly));
    }

    #[test]
    fn only_a_text_without_characters_is_empty() {
        for (text, policy, expected) in [
            ("", OnEmpty::Null, TextUse::Skip),
            ("", OnEmpty::Embed, TextUse::Embed),
            ("", OnEmpty::Error, TextUse::Refuse),
            ("", OnEmpty::Drop, TextUse::Skip),
            (" ", OnEmpty::Drop, TextUse::Embed),
            (" ", OnEmpty::Null, TextUse::Embed),
            ("a", OnEmpty::Error, TextUse::Embed),
        ] {
            assert_eq!(policy.use_of(text), expected, "{text:?} under {policy:?}");
        }
    }
}
