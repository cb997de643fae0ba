//! To how many components the vectors of a model may be cut.
//!
//! A model that was trained with Matryoshka representation learning (Kusupati et al., 2022,
//! <https://arxiv.org/abs/2205.13147>) puts what matters most into the first components, so that the
//! others may be left out. The components of any other model are of equal weight.

use super::facts::ModelFacts;

/// Numbers of components that a model was trained for, beside all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainedDims {
    /// None that is known.
    Whole,
    /// These.
    Listed(&'static [usize]),
    /// Any number from this one on.
    From(usize),
}

/// Models on the Hugging Face hub, as their cards describe them.
const KNOWN: &[(&str, TrainedDims)] = &[
    ("Qwen/Qwen3-Embedding-0.6B", TrainedDims::From(32)),
    ("Qwen/Qwen3-Embedding-4B", TrainedDims::From(32)),
    ("Qwen/Qwen3-Embedding-8B", TrainedDims::From(32)),
    ("Snowflake/snowflake-arctic-embed-l-v2.0", TrainedDims::Listed(&[256])),
    ("Snowflake/snowflake-arctic-embed-m-v1.5", TrainedDims::Listed(&[256])),
    ("Snowflake/snowflake-arctic-embed-m-v2.0", TrainedDims::Listed(&[256])),
    ("google/embeddinggemma-300m", TrainedDims::Listed(&[512, 256, 128])),
    ("mixedbread-ai/mxbai-embed-large-v1", TrainedDims::From(1)),
    ("nomic-ai/modernbert-embed-base", TrainedDims::Listed(&[256])),
    ("nomic-ai/nomic-embed-text-v1.5", TrainedDims::Listed(&[512, 256, 128, 64])),
];

impl TrainedDims {
    /// Those of the model with this name on the hub.
    pub fn of_known_model(id: &str) -> TrainedDims {
        let known = KNOWN.iter().find(|(known, _)| *known == id);
        known.map_or(TrainedDims::Whole, |(_, trained)| *trained)
    }

    /// Whether the model was trained for `dims` components.
    pub fn contains(self, dims: usize) -> bool {
        match self {
            TrainedDims::Whole => false,
            TrainedDims::Listed(listed) => listed.contains(&dims),
            TrainedDims::From(least) => dims >= least,
        }
    }
}

impl ModelFacts {
    /// Components of a vector as sentence-transformers returns it: `truncate_dim` of the model's
    /// configuration, or all.
    pub fn default_dims(&self) -> usize {
        let all = self.identity.dimension;
        self.truncate_dim.map_or(all, |dims| dims.get().min(all))
    }

    /// Whether the first `dims` components of a vector are a vector that the model was trained to
    /// make.
    pub fn is_trained_for(&self, dims: usize) -> bool {
        let all = self.identity.dimension;
        let listed = || TrainedDims::of_known_model(&self.identity.id).contains(dims);
        dims == all || (dims > 0 && dims < all && (dims == self.default_dims() || listed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_allow_the_dims_of_their_cards() {
        for (id, dims, allowed) in [
            ("nomic-ai/nomic-embed-text-v1.5", 128, true),
            ("nomic-ai/nomic-embed-text-v1.5", 100, false),
            ("nomic-ai/nomic-embed-text-v1", 128, false),
            ("Qwen/Qwen3-Embedding-0.6B", 32, true),
            ("Qwen/Qwen3-Embedding-0.6B", 777, true),
            ("Qwen/Qwen3-Embedding-0.6B", 31, false),
            ("sentence-transformers/all-MiniLM-L6-v2", 256, false),
        ] {
            assert_eq!(TrainedDims::of_known_model(id).contains(dims), allowed, "{id}, {dims}");
        }
        assert!(KNOWN.is_sorted_by_key(|(id, _)| *id));
    }
}
