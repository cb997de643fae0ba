//! Settings that are one of a few words: an enum owns its words, so a word without a meaning does not compile.

/// Declares an enum and the word of each variant. It gets `WORDS` (every word, in order), `as_str` and `parse`.
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

            /// Its word in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }

            /// The variant of a word.
            pub fn parse(word: &str) -> Option<$name> {
                match word { $( $word => Some($name::$variant), )+ _ => None }
            }
        }
    };
}

words! {
    /// What becomes of a row whose text has no characters.
    pub enum OnEmpty {
        /// It gets a null; the column is then nullable.
        Null = "null",
        /// The empty text is embedded.
        Embed = "embed",
        /// The run fails and names the row.
        Error = "error",
    }
}

words! {
    /// The Arrow type of the vectors.
    pub enum VectorType {
        /// `FixedSizeList<Float32, dim>`.
        FixedSizeList = "fixed_size_list",
        /// `List<Float32>`, for readers that know no fixed size.
        List = "list",
    }
}

words! {
    /// What a run may do with the vector cache.
    pub enum CacheMode {
        /// Take vectors out of it and put new ones in.
        ReadWrite = "read-write",
        /// Take vectors out of it.
        ReadOnly = "read-only",
        /// Go without.
        Off = "off",
    }
}

words! {
    /// Which engine runs the model; a device of its own may leave no choice.
    pub enum EngineChoice {
        /// The packed engine on a CPU, candle on a GPU.
        Auto = "auto",
        /// Our own kernels.
        Packed = "packed",
        /// The reference.
        Candle = "candle",
    }
}

/// What a row's text means to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextUse {
    /// It is embedded.
    Embed,
    /// The row gets no vector.
    Skip,
    /// The run fails and names the row.
    Refuse,
}

impl OnEmpty {
    /// What becomes of a row with this text.
    pub fn use_of(self, text: &str) -> TextUse {
        match (text.is_empty(), self) {
            (false, _) | (true, OnEmpty::Embed) => TextUse::Embed,
            (true, OnEmpty::Null) => TextUse::Skip,
            (true, OnEmpty::Error) => TextUse::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parse_to_the_variant_that_shows_them() {
        assert_eq!(OnEmpty::WORDS, ["null", "embed", "error"]);
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
            (" ", OnEmpty::Null, TextUse::Embed),
            ("a", OnEmpty::Error, TextUse::Embed),
        ] {
            assert_eq!(policy.use_of(text), expected, "{text:?} under {policy:?}");
        }
    }
}
