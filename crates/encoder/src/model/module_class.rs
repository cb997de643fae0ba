//! The modules of sentence-transformers that reembed runs, by the class in `modules.json`.

/// A module that is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleClass {
    /// A linear layer and its activation.
    Dense,
    /// It changes nothing when a model is used.
    Dropout,
    /// Scales a vector to length 1.
    Normalize,
    /// Makes one vector of the vectors of tokens.
    Pooling,
    /// Token embeddings and their mean.
    StaticEmbedding,
    /// An encoder.
    Transformer,
}

const TABLE: [(ModuleClass, &str); 6] = [
    (ModuleClass::Dense, "Dense"),
    (ModuleClass::Dropout, "Dropout"),
    (ModuleClass::Normalize, "Normalize"),
    (ModuleClass::Pooling, "Pooling"),
    (ModuleClass::StaticEmbedding, "StaticEmbedding"),
    (ModuleClass::Transformer, "Transformer"),
];

/// The key of a module that names its class.
pub const KEY: &str = "type";

impl ModuleClass {
    /// The module of a class. Its path depends on the version of sentence-transformers, its name does not.
    ///
    /// # Errors
    /// What is wrong with the class, as a sentence that begins after the key.
    pub fn judge(class: &str) -> Result<ModuleClass, String> {
        let name = class.rsplit('.').next().unwrap_or("");
        let found = TABLE.iter().find(|(_, known)| *known == name);
        // Other packages, and code that comes with a model, may call something else by the same name.
        let found = found.filter(|_| class.starts_with("sentence_transformers."));
        found.map(|(class, _)| *class).ok_or_else(|| {
            let class = format!("{:?}", class.chars().take(80).collect::<String>());
            let known = TABLE.map(|(_, name)| name).join(", ");
            format!("{class} is not supported; of sentence-transformers {known} are")
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_is_known_by_its_name_in_any_version() {
        for (place, (class, name)) in TABLE.iter().enumerate() {
            assert_eq!((*class as usize, class.as_str()), (place, *name));
        }
        for (class, expected) in [
            ("sentence_transformers.models.Pooling", Some(ModuleClass::Pooling)),
            ("sentence_transformers.base.modules.dense.Dense", Some(ModuleClass::Dense)),
            ("sentence_transformers.models.Router", None),
            ("sentence_transformers.models.CLIPModel", None),
            ("custom_st.Transformer", None),
            ("Pooling", None),
        ] {
            let judged = ModuleClass::judge(class);
            assert_eq!(judged.as_ref().ok(), expected.as_ref(), "{class}");
            if let Err(why) = judged {
                assert!(why.contains(class), "{why}");
            }
        }
    }
}
