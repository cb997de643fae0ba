//! What the forward pass needs of a description, and the errors of a model or a batch.

use std::fmt;

use reembed_kernels::AllocationError;

use crate::model::description::ModelDescription;
use crate::model::spec::{EncoderSpec, PoolingSpec, Step};

/// A model without its weights: what the forward pass needs of a description.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedShape {
    /// What computes token vectors.
    pub encoder: EncoderSpec,
    /// How they become the vector of a text.
    pub pooling: PoolingSpec,
    /// What happens to that vector afterwards.
    pub steps: Vec<Step>,
    /// Components of the result.
    pub dim: usize,
    /// Most tokens of a text.
    pub max_tokens: usize,
}

impl PackedShape {
    /// The shape of a model.
    pub fn new(description: &ModelDescription) -> Self {
        PackedShape {
            encoder: description.encoder.clone(),
            pooling: description.pooling.clone(),
            steps: description.steps.clone(),
            dim: description.dim(),
            max_tokens: description.max_seq_length.get(),
        }
    }

    /// Whether vectors are scaled to Euclidean length 1.
    pub fn normalizes(&self) -> bool {
        self.steps.last() == Some(&Step::Normalize)
    }

    pub(super) fn check(&self) -> Result<(), PackedError> {
        let EncoderSpec { hidden, layers, layer_groups, vocab_size, attention, .. } = &self.encoder;
        let sizes =
            [*hidden, *vocab_size, attention.heads, attention.key_heads, attention.head_size];
        // A static embedding has no layers.
        if (*layers == 0) != (*layer_groups == 0) {
            return Err(PackedError::Shape("layers have no weights, or weights no layers"));
        }
        let others = [self.encoder.feed_forward.width, self.max_tokens, self.dim];
        if sizes.contains(&0) || others.contains(&0) || self.pooling.modes.is_empty() {
            return Err(PackedError::Shape("a size is zero"));
        }
        if !attention.heads.is_multiple_of(attention.key_heads) {
            return Err(PackedError::Shape("the key heads do not divide the query heads"));
        }
        if self.max_tokens > self.encoder.max_tokens {
            return Err(PackedError::Shape("a text may be longer than the encoder allows"));
        }
        Ok(())
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
    /// A text has more tokens than the model takes.
    TooLong {
        /// Position in the batch.
        row: usize,
        /// Tokens of the text.
        tokens: usize,
        /// Most tokens of a text.
        max: usize,
    },
    /// A text has no tokens after the prompt, and those of the prompt are not pooled.
    NothingPooled {
        /// Position in the batch.
        row: usize,
    },
    /// A token id is not in the vocabulary.
    UnknownToken {
        /// Position in the batch.
        row: usize,
        /// The id.
        token: u32,
    },
    /// The output slice does not have `rows × dim` values.
    OutputSize {
        /// Number of values of the batch.
        expected: usize,
        /// Length of the output slice.
        found: usize,
    },
}

#[cfg(test)]
impl PackedShape {
    /// [`EncoderSpec::small`] with mean pooling and vectors of length 1.
    pub(crate) fn small() -> Self {
        Self::unit_mean(EncoderSpec::small())
    }

    /// An encoder with mean pooling and vectors of length 1.
    pub(crate) fn unit_mean(encoder: EncoderSpec) -> Self {
        PackedShape {
            pooling: PoolingSpec::one(crate::model::spec::TokenPooling::Mean),
            steps: vec![Step::Normalize],
            dim: encoder.hidden,
            max_tokens: encoder.max_tokens,
            encoder,
        }
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
            Self::Shape(why) => write!(f, "invalid shape of a model: {why}"),
            Self::MissingTensor(name) => write!(f, "the checkpoint has no tensor `{name}`"),
            Self::TensorSize { name, expected, found } => {
                write!(f, "tensor `{name}` has {found} values, expected {expected}")
            }
            Self::WeightMemory(error) => write!(f, "the weights do not fit in memory: {error}"),
            Self::OutOfMemory { tokens, bytes } => {
                write!(f, "{tokens} tokens need {bytes} bytes: the allocation failed")
            }
            Self::NoTokens { row } => write!(f, "text {row} of the batch has no tokens"),
            Self::TooLong { row, tokens, max } => {
                write!(f, "text {row} of the batch has {tokens} tokens, but the model takes {max}")
            }
            Self::NothingPooled { row } => {
                write!(
                    f,
                    "text {row} of the batch has no tokens after the prompt, which is not pooled"
                )
            }
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
