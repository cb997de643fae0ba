//! What the forward pass knows of a model's architecture, and why a model or a batch cannot run.

use std::fmt;

use reembed_kernels::{Activation, AllocationError, Heads};

use crate::model::description::{ModelDescription, Pooling};

/// What the forward pass has to know of a model's architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedShape {
    /// Width of a token's vector; a multiple of `attention_heads`.
    pub hidden: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads of each layer.
    pub attention_heads: usize,
    /// Width between the two feed-forward layers.
    pub intermediate: usize,
    /// Rows of the word embeddings.
    pub vocabulary: usize,
    /// Rows of the position embeddings: most tokens of a text.
    pub positions: usize,
    /// Rows of the token type embeddings. A text is always of the first type.
    pub token_types: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_epsilon: f32,
    /// Between the two feed-forward layers.
    pub activation: Activation,
    /// How the vectors of a text's tokens become one.
    pub pooling: Pooling,
    /// Whether that one is scaled to length 1.
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
    /// The shape contradicts itself.
    Shape(&'static str),
    /// The checkpoint lacks a tensor.
    MissingTensor(String),
    /// A tensor does not have the size that the shape asks for.
    TensorSize {
        /// Name in the checkpoint.
        name: String,
        /// Values that the shape asks for.
        expected: usize,
        /// Values that it has.
        found: usize,
    },
    /// The memory for the weights could not be had.
    WeightMemory(AllocationError),
    /// The memory for a batch could not be had. A smaller one may fit.
    OutOfMemory {
        /// Tokens that go through the model together.
        tokens: usize,
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// A text has no tokens; not even an empty one should, for special tokens are tokens.
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
    /// The place for the vectors is not `rows × hidden` long.
    OutputSize {
        /// Values that the batch gives.
        expected: usize,
        /// Values that there is room for.
        found: usize,
    },
}

impl PackedShape {
    /// How a token's vector is divided into heads.
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
            Self::Shape(why) => write!(f, "the model's shape is not one of BERT: {why}"),
            Self::MissingTensor(name) => write!(f, "the checkpoint has no tensor `{name}`"),
            Self::TensorSize { name, expected, found } => {
                write!(f, "tensor `{name}` has {found} values where the config asks for {expected}")
            }
            Self::WeightMemory(error) => write!(f, "the weights do not fit: {error}"),
            Self::OutOfMemory { tokens, bytes } => {
                write!(f, "{tokens} tokens need {bytes} bytes, which could not be had")
            }
            Self::NoTokens { row } => write!(f, "text {row} of the batch has no tokens"),
            Self::TooLong { row, tokens, positions } => write!(
                f,
                "text {row} of the batch has {tokens} tokens where the model has {positions} positions"
            ),
            Self::UnknownToken { row, token } => {
                write!(
                    f,
                    "text {row} of the batch has token {token}, which is not in the vocabulary"
                )
            }
            Self::OutputSize { expected, found } => {
                write!(f, "the batch gives {expected} values and there is room for {found}")
            }
        }
    }
}

impl std::error::Error for PackedError {}
