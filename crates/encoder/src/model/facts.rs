//! What is known about a model before and after its weights are in memory.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::identity::ModelIdentity;
use super::precedent::FollowedPrecision;
use super::precision::PrecisionWarning;
use super::prompt::PromptWarning;

/// What is known about a model, its weights in memory or not.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// What the vectors depend on. The footer of an output holds it.
    pub identity: ModelIdentity,
    /// The first components that sentence-transformers keeps of a vector; `None`: all. The encoder
    /// returns all.
    pub truncate_dim: Option<NonZeroUsize>,
    /// Floating point operations of a token by itself, such as 21 million for all-MiniLM-L6-v2.
    pub token_operations: f64,
    /// The prompts that the model declares, by their names; some may be empty.
    pub prompts: BTreeMap<String, String>,
    /// The hardware, for people: instruction set and threads, or a device. Vectors do not depend on
    /// it.
    pub runs_on: String,
    /// What the user should know about how it was found.
    pub notes: ModelNotes,
}

/// What the user should know about how a model was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelNotes {
    /// The model may need a prompt that it does not get.
    pub prompt: Option<PromptWarning>,
    /// Its precision was chosen for vectors that exist, and might have been another one without.
    pub followed: Option<FollowedPrecision>,
    /// What is not as good as it could be about its precision.
    pub precision: Option<PrecisionWarning>,
}
