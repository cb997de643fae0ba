//! The shape of a BERT model for the forward pass, and the errors of a model or a batch.

use std::fmt;

use reembed_kernels::{Activation, AllocationError, Heads};

use crate::model::description::{ModelDescription, Pooling};

/// The shape of a BERT model and its pooling: what the forward pass needs of a description.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedShape {
    /// Components of a token vector; a multiple of `attention_heads`.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of attention heads of a layer.
    pub attention_heads: usize,
    /// Width of the feed-forward network.
    pub intermediate: usize,
    /// Rows of the word embedding.
    pub vocabulary: usize,
    /// Rows of the position embedding: the maximum tokens of a text.
    pub positions: usize,
    /// Rows of the token-type embedding. A text always has the first type.
    pub token_types: usize,
    /// Added to the variance in each layer norm.
    pub layer_norm_epsilon: f32,
    /// Activation of the feed-forward network.
    pub activation: Activation,
    /// How token vectors become the vector of a text.
    pub pooling: Pooling,
    /// Whether that vector is scaled to Euclidean length 1.
    pub normalize: bool,
}

impl From<&ModelDescription> for PackedShape {
    fn from(description: &ModelDescription) -> Self {
        let bert = &description.bert;
        PackedShape {
            hidden: bert.hidden,
            layers: bert.layers,
            attention_heads: bert.heads,
            intermediate: bert.intermediate,
            vocabulary: bert.vocab_size,
            positions: bert.max_positions,
            token_types: bert.token_types,
            layer_norm_epsilon: bert.layer_norm_eps as f32,
            activation: bert.activation,
            pooling: description.pooling,
            normalize: description.normalize,
        }
    }
}

/// Why a model cannot be packed, or a batch cannot run.
#[derive(Debug, Clone, PartialEq)]
pub enum PackedError {
    /// The sizes of the shape contradict each other.
    Shape(&'static str),
    /// The checkpoint lacks a tensor.
    MissingTensor(String),
    /// A tensor does not have the size of the shape.
    TensorSize {
        /// Name in the checkpoint.
        name: String,
        /// Number of values by the shape.
        expected: usize,
        /// Number of values in the checkpoint.
        found: usize,
    },
    /// Allocating the weights failed.
    WeightMemory(AllocationError),
    /// Allocating the workspace of a batch failed. A smaller batch may fit.
    OutOfMemory {
        /// Tokens of the batch.
        tokens: usize,
        /// Bytes of the allocation.
        bytes: usize,
    },
    /// A text has no tokens. Even an empty text has special tokens.
    NoTokens {
        /// Position in the batch.
        row: usize,
    },
    /// A text has more tokens than the model has positions.
    TooLong {
        /// Position in the batch.
        row: usize,
        /// Tokens of the text.
        tokens: usize,
        /// Positions of the model.
        positions: usize,
    },
    /// A token id is not in the vocabulary.
    UnknownToken {
        /// Position in the batch.
        row: usize,
        /// The id.
        token: u32,
    },
    /// The output slice does not have `rows × hidden` values.
    OutputSize {
        /// Number of values of the batch.
        expected: usize,
        /// Length of the output slice.
        found: usize,
    },
}

#[cfg(test)]
impl PackedShape {
    /// A small shape with odd sizes: no multiple of 16, and heads of 24.
    pub(crate) fn small() -> Self {
        PackedShape {
            hidden: 72,
            layers: 3,
            attention_heads: 3,
            intermediate: 149,
            vocabulary: 101,
            positions: 70,
            token_types: 2,
            layer_norm_epsilon: 1e-12,
            activation: Activation::Gelu,
            pooling: Pooling::Mean,
            normalize: true,
        }
    }
}

impl PackedShape {
    /// The division of a token vector into attention heads.
    pub fn heads(&self) -> Heads {
        Heads { count: self.attention_heads, size: self.hidden / self.attention_heads.max(1) }
    }

    pub(super) fn check(&self) -> Result<(), PackedError> {
        let sizes = [self.hidden, self.attention_heads, self.intermediate, self.vocabulary];
        if sizes.contains(&0) || self.positions == 0 || self.token_types == 0 {
            return Err(PackedError::Shape("a size is zero"));
        }
        if !self.hidden.is_multiple_of(self.attention_heads) {
            return Err(PackedError::Shape("the hidden size is not a multiple of the heads"));
        }
        Ok(())
    }
}

impl From<AllocationError> for PackedError {
    fn from(error: AllocationError) -> Self {
        PackedError::WeightMemory(error)
    }
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(why) => write!(f, "invalid shape of a BERT model: {why}"),
            Self::MissingTensor(name) => write!(f, "the checkpoint has no tensor `{name}`"),
            Self::TensorSize { name, expected, found } => {
                write!(f, "tensor `{name}` has {found} values, expected {expected}")
            }
            Self::WeightMemory(error) => write!(f, "the weights do not fit in memory: {error}"),
            Self::OutOfMemory { tokens, bytes } => {
                write!(f, "{tokens} tokens need {bytes} bytes: the allocation failed")
            }
            Self::NoTokens { row } => write!(f, "text {row} of the batch has no tokens"),
            Self::TooLong { row, tokens, positions } => write!(
                f,
                "text {row} of the batch has {tokens} tokens, but the model has {positions} positions"
            ),
            Self::UnknownToken { row, token } => {
                write!(
                    f,
                    "text {row} of the batch has token {token}, which is not in the vocabulary"
                )
            }
            Self::OutputSize { expected, found } => {
                write!(f, "the output has {found} values, expected {expected}")
            }
        }
    }
}

impl std::error::Error for PackedError {}
