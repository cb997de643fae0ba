//! What an encoder is made of: the sizes and parts that its forward pass and its tensors follow from.

pub use reembed_kernels::{Activation, TokenPooling};
use reembed_kernels::{AttentionHeads, Heads};

use super::architecture::Architecture;

/// An encoder: embeddings, layers of attention and feed-forward network, and their norms.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSpec {
    /// Its family, which decides the names of its tensors.
    pub architecture: Architecture,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Components of a token vector.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of layers with weights of their own; the others share theirs.
    pub layer_groups: usize,
    /// The sum that a token starts with.
    pub embeddings: EmbeddingSpec,
    /// How tokens see each other.
    pub attention: AttentionSpec,
    /// What happens to each token alone.
    pub feed_forward: FeedForwardSpec,
    /// The norms of layers and embeddings.
    pub norm: NormSpec,
    /// Most tokens of a text.
    pub max_tokens: usize,
    /// The id of the padding token. Only engines that pad use it.
    pub pad_token: u32,
}

/// The sum that a token starts with: word embedding, and what else the model has.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingSpec {
    /// Components of an embedding. If they are not those of a token vector, or if
    /// [`EmbeddingSpec::is_projected`], a linear layer follows.
    pub width: usize,
    /// Whether a linear layer follows.
    pub is_projected: bool,
    /// The position embedding.
    pub positions: Positions,
    /// Rows of the token-type embedding, 0 for none. A text always has the first type.
    pub token_types: usize,
    /// The factor of the word embedding.
    pub scale: f64,
    /// Whether a norm follows.
    pub is_normalized: bool,
}

/// Which row of the position embedding a token gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// There is none.
    None,
    /// Rows 0, 1, 2, …
    FromZero {
        /// Rows of the embedding.
        rows: usize,
    },
    /// Rows `padding + 1`, `padding + 2`, …, as RoBERTa counts: a padding token, which a text may contain,
    /// has the row `padding` and does not count.
    AfterPadding {
        /// Rows of the embedding.
        rows: usize,
        /// The id of the padding token.
        padding: u32,
    },
}

/// How tokens see each other.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; a divisor of the heads of the queries.
    pub key_heads: usize,
    /// Components of a head.
    pub head_size: usize,
    /// The scores are divided by its root.
    pub divisor: f64,
    /// Whether its linear layers have biases.
    pub has_bias: bool,
    /// Whether queries and keys go through a norm, head by head.
    pub normalizes_heads: bool,
    /// Whether a bias by relative position is added to the scores, as in MPNet.
    pub is_relative: bool,
    /// What a layer sees.
    pub full: LayerAttention,
    /// What a local layer sees.
    pub local: LayerAttention,
    /// Which layers are local.
    pub local_layers: LocalLayers,
}

/// What the tokens of a layer see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerAttention {
    /// Tokens before and after itself that a token sees; `None`: all.
    pub seen: [Option<usize>; 2],
    /// θ of the rotary position embedding; `None`: there is none.
    pub theta: Option<f64>,
}

/// Which layers are local.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalLayers {
    /// None.
    None,
    /// One flag for each layer.
    Listed(Vec<bool>),
    /// All but every `period`-th, counted from layer `first`.
    AllBut {
        /// The number of the first layer that is not local.
        first: usize,
        /// Layers from one to the next.
        period: usize,
    },
}

/// What happens to each token alone.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForwardSpec {
    /// Its inner width.
    pub width: usize,
    /// Its activation.
    pub activation: Activation,
    /// Whether the activation is a gate for a second product.
    pub is_gated: bool,
    /// Whether its linear layers have biases.
    pub has_bias: bool,
}

/// The norms of layers and embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct NormSpec {
    /// What a norm computes.
    pub kind: NormKind,
    /// Added to the variance or to the mean square.
    pub epsilon: f64,
    /// Whether layer norms have biases.
    pub has_bias: bool,
    /// Where the norms of a layer are.
    pub place: NormPlace,
}

/// What a norm computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// A layer norm.
    Layer,
    /// An RMS norm.
    Rms,
    /// An RMS norm whose weights are stored less 1.
    RmsPlusOne,
}

/// Where the norms of a layer are. f is attention, then the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// `x = norm(x + f(x))`.
    After,
    /// `x += f(norm(x))`, and a last norm after all layers.
    Before {
        /// Whether the attention of the first layer has a norm too.
        first: bool,
        /// Whether another norm follows: `x += norm(f(norm(x)))`.
        and_after: bool,
    },
}

impl EncoderSpec {
    /// The heads of its attention.
    pub fn attention_heads(&self) -> AttentionHeads {
        let AttentionSpec { heads, key_heads, head_size, divisor, .. } = self.attention;
        AttentionHeads {
            queries: Heads { count: heads, size: head_size },
            keys: key_heads,
            divisor: divisor as f32,
        }
    }

    /// What a layer sees.
    pub fn layer_attention(&self, layer: usize) -> LayerAttention {
        let is_local = match &self.attention.local_layers {
            LocalLayers::None => false,
            LocalLayers::Listed(flags) => flags.get(layer).copied().unwrap_or(false),
            LocalLayers::AllBut { first, period } => layer % period != *first,
        };
        if is_local { self.attention.local } else { self.attention.full }
    }

    /// The group of layers whose weights a layer has.
    pub fn group_of_layer(&self, layer: usize) -> usize {
        layer * self.layer_groups / self.layers.max(1)
    }

    /// Floating point operations of a text of this many tokens: those of matrix products and attention.
    pub fn operations(&self, tokens: usize) -> f64 {
        let heads = self.attention_heads();
        let (queries, all) = (heads.queries.width() as f64, heads.qkv().width() as f64);
        let (hidden, inner) = (self.hidden as f64, self.feed_forward.width as f64);
        let gates = if self.feed_forward.is_gated { 2.0 } else { 1.0 };
        let products = 2.0 * hidden * (all + queries + (gates + 1.0) * inner);
        let attention = |layer| {
            let [before, after] = self.layer_attention(layer).seen;
            let side = |most: Option<usize>| most.map_or(tokens, |most| most.min(tokens));
            let seen = side(before).saturating_add(side(after)).saturating_add(1).min(tokens);
            4.0 * seen as f64 * queries
        };
        let layers = (0..self.layers).map(|layer| products + attention(layer));
        tokens as f64 * layers.sum::<f64>()
    }

    /// Whether norms come before what they feed.
    pub fn normalizes_before(&self) -> bool {
        matches!(self.norm.place, NormPlace::Before { .. })
    }
}

impl LayerAttention {
    /// Every token, without rotary embeddings.
    pub const ALL: LayerAttention = LayerAttention { seen: [None; 2], theta: None };
}

/// How the token vectors of a text become one vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolingSpec {
    /// At least one. The results of several lie side by side.
    pub modes: Vec<TokenPooling>,
    /// Whether the tokens of the prompt are pooled too.
    pub include_prompt: bool,
}

impl PoolingSpec {
    /// One pooling of all tokens.
    pub fn one(mode: TokenPooling) -> Self {
        PoolingSpec { modes: vec![mode], include_prompt: true }
    }

    /// The names of its modes, as [`name`], joined by `+`.
    pub fn names(&self) -> String {
        self.modes.iter().map(|mode| name(*mode)).collect::<Vec<_>>().join("+")
    }
}

/// The name of a pooling in the configuration of its module and in the footer of an output.
pub fn name(pooling: TokenPooling) -> &'static str {
    match pooling {
        TokenPooling::Cls => "cls",
        TokenPooling::Max => "max",
        TokenPooling::Mean => "mean",
        TokenPooling::MeanSqrtLen => "mean_sqrt_len_tokens",
        TokenPooling::WeightedMean => "weightedmean",
        TokenPooling::LastToken => "lasttoken",
    }
}

/// A step after the pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A linear layer and its activation.
    Dense(DenseSpec),
    /// The vector is scaled to Euclidean length 1.
    Normalize,
}

/// A linear layer after the pooling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseSpec {
    /// The directory of its files.
    pub directory: String,
    /// Components that go in.
    pub inputs: usize,
    /// Components that come out.
    pub outputs: usize,
    /// Whether it has a bias.
    pub has_bias: bool,
    /// The activation; `None`: the identity.
    pub activation: Option<Activation>,
}

impl EmbeddingSpec {
    /// Word embeddings of this width with a norm, and nothing else.
    pub(crate) fn words(width: usize) -> Self {
        EmbeddingSpec {
            width,
            is_projected: false,
            positions: Positions::None,
            token_types: 0,
            scale: 1.0,
            is_normalized: true,
        }
    }
}

impl AttentionSpec {
    /// BERT's: every token sees all, by heads of this size with biases.
    pub(crate) fn full(heads: usize, head_size: usize) -> Self {
        AttentionSpec {
            heads,
            key_heads: heads,
            head_size,
            divisor: head_size as f64,
            has_bias: true,
            normalizes_heads: false,
            is_relative: false,
            full: LayerAttention::ALL,
            local: LayerAttention::ALL,
            local_layers: LocalLayers::None,
        }
    }
}

#[cfg(test)]
impl EncoderSpec {
    /// A small BERT with odd sizes: no multiple of 16, and heads of 24.
    pub(crate) fn small() -> Self {
        EncoderSpec {
            architecture: Architecture::Bert,
            vocab_size: 101,
            hidden: 72,
            layers: 3,
            layer_groups: 3,
            embeddings: EmbeddingSpec {
                positions: Positions::FromZero { rows: 70 },
                token_types: 2,
                ..EmbeddingSpec::words(72)
            },
            attention: AttentionSpec::full(3, 24),
            feed_forward: FeedForwardSpec {
                width: 149,
                activation: Activation::Gelu,
                is_gated: false,
                has_bias: true,
            },
            norm: NormSpec {
                kind: NormKind::Layer,
                epsilon: 1e-12,
                has_bias: true,
                place: NormPlace::After,
            },
            max_tokens: 70,
            pad_token: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_layers_follow_their_pattern() {
        for (pattern, expected) in [
            (LocalLayers::None, [false; 7]),
            (
                LocalLayers::Listed(vec![true, false]),
                [true, false, false, false, false, false, false],
            ),
            (
                LocalLayers::AllBut { first: 0, period: 3 },
                [false, true, true, false, true, true, false],
            ),
            (
                LocalLayers::AllBut { first: 2, period: 3 },
                [true, true, false, true, true, false, true],
            ),
        ] {
            let mut spec = EncoderSpec::small();
            spec.attention.local.theta = Some(7.0);
            spec.attention.local_layers = pattern;
            let found = std::array::from_fn(|layer| spec.layer_attention(layer).theta.is_some());
            assert_eq!(found, expected, "{:?}", spec.attention.local_layers);
        }
    }

    #[test]
    fn operations_follow_from_the_sizes() {
        // all-MiniLM-L6-v2: 21.2 million operations per token, and 9,216 per pair of tokens.
        let mut spec =
            EncoderSpec { hidden: 384, layers: 6, layer_groups: 6, ..EncoderSpec::small() };
        spec.feed_forward.width = 1536;
        (spec.attention.heads, spec.attention.key_heads, spec.attention.head_size) = (12, 12, 32);
        assert_eq!(spec.operations(1), 21_233_664.0 + 9216.0);
        assert_eq!(spec.operations(100), 100.0 * (21_233_664.0 + 921_600.0));
        spec.attention.full.seen = [Some(4); 2];
        assert_eq!(spec.operations(100), 100.0 * (21_233_664.0 + 9.0 * 9216.0));
    }

    #[test]
    fn layers_share_the_weights_of_their_group() {
        let spec = EncoderSpec { layers: 6, layer_groups: 2, ..EncoderSpec::small() };
        let groups: Vec<usize> = (0..6).map(|layer| spec.group_of_layer(layer)).collect();
        assert_eq!(groups, [0, 0, 0, 1, 1, 1]);
    }
}
