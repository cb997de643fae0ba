//! BERT on the CPU over packed tokens, from token ids to vectors.
//!
//! The tokens of all texts of a batch lie one after the other, without padding. Linear layers see one matrix
//! of `(tokens, hidden)`; attention takes one text at a time. A text's vector has the same bits alone and in
//! any company, and on every instruction set: see [`crate::kernels`].
//!
//! A [`PackedModel`] is shared by all workers. A worker is a thread with a [`Workspace`] of its own; no
//! threads are started here.

use std::borrow::Cow;
use std::fmt;

use rayon::prelude::*;

use crate::kernels::{
    Activation, AlignedBuffer, AllocationError, Heads, Isa, LayerNorm, Linear, attention,
    l2_normalize, mean_of_rows,
};
use crate::model::description::{ModelDescription, Pooling};
use crate::model::workspace::{BLOCK, Buffers, Workspace};

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
        /// Texts of the batch.
        rows: usize,
        /// Tokens of the batch.
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

/// The weights of a BERT model, packed for the kernels.
#[derive(Debug)]
pub struct PackedModel {
    isa: Isa,
    shape: PackedShape,
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl PackedModel {
    /// Packs the weights that `tensor` gives by their names in the checkpoint, such as
    /// `encoder.layer.0.output.dense.weight`: row-major `(outputs, inputs)`, as torch stores them. Layers are
    /// packed in parallel, on the threads of the pool that this is called in.
    pub fn new<'t>(
        isa: Isa,
        shape: PackedShape,
        tensor: impl Fn(&str) -> Option<Cow<'t, [f32]>> + Sync,
    ) -> Result<Self, PackedError> {
        shape.check()?;
        let layer = |index| Layer::load(&shape, index, &mut Tensors { find: &tensor });
        let (embeddings, layers) = rayon::join(
            || Embeddings::load(&shape, &mut Tensors { find: &tensor }),
            || (0..shape.layers).into_par_iter().map(layer).collect::<Vec<_>>(),
        );
        let (embeddings, layers) = (embeddings?, layers.into_iter().collect::<Result<_, _>>()?);
        Ok(PackedModel { isa, shape, embeddings, layers })
    }

    /// Its architecture.
    pub fn shape(&self) -> &PackedShape {
        &self.shape
    }

    /// The instruction set that it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Embeds a batch of texts, each given as its token ids with the special tokens. `vectors` gets one row
    /// of `hidden` f32 for each text, in order. After an error its contents are of no use.
    pub fn forward(
        &self,
        workspace: &mut Workspace,
        texts: &[&[u32]],
        vectors: &mut [f32],
    ) -> Result<(), PackedError> {
        let tokens = self.check(texts, vectors)?;
        let mut buffers = workspace.buffers(&self.shape, texts.len(), tokens)?;
        self.embeddings.embed(self.isa, texts, buffers.hidden);
        for layer in &self.layers {
            layer.attend(self.isa, self.shape.heads(), texts, &mut buffers);
            layer.feed_forward(self.isa, self.shape.activation, &mut buffers);
        }
        self.pool(texts, buffers.hidden, vectors);
        Ok(())
    }

    /// Refuses a batch that cannot run, and counts its tokens.
    fn check(&self, texts: &[&[u32]], vectors: &[f32]) -> Result<usize, PackedError> {
        let expected = texts.len().saturating_mul(self.shape.hidden);
        if vectors.len() != expected {
            return Err(PackedError::OutputSize { expected, found: vectors.len() });
        }
        for (row, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(PackedError::NoTokens { row });
            }
            if text.len() > self.shape.positions {
                let positions = self.shape.positions;
                return Err(PackedError::TooLong { row, tokens: text.len(), positions });
            }
            let known = |token: &u32| (*token as usize) < self.shape.vocabulary;
            if let Some(token) = text.iter().copied().find(|token| !known(token)) {
                return Err(PackedError::UnknownToken { row, token });
            }
        }
        Ok(texts.iter().map(|text| text.len()).sum())
    }

    /// One vector from the token vectors of each text.
    fn pool(&self, texts: &[&[u32]], mut hidden: &[f32], vectors: &mut [f32]) {
        let width = self.shape.hidden;
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(width)) {
            let (tokens, rest) = hidden.split_at(text.len() * width);
            match self.shape.pooling {
                Pooling::Mean => mean_of_rows(tokens, vector),
                Pooling::Cls => vector.copy_from_slice(&tokens[..width]),
            }
            if self.shape.normalize {
                l2_normalize(self.isa, vector);
            }
            hidden = rest;
        }
    }
}

#[derive(Debug)]
struct Embeddings {
    /// `(vocabulary, hidden)`.
    word: AlignedBuffer,
    /// `(positions, hidden)`: position and first token type, added once for all.
    position: AlignedBuffer,
    norm: LayerNorm,
}

impl Embeddings {
    /// The sum of each token's word, position and token type, normalised.
    fn embed(&self, isa: Isa, texts: &[&[u32]], hidden: &mut [f32]) {
        let width = self.norm.width();
        let mut rows = hidden.chunks_exact_mut(width);
        for text in texts {
            let positions = self.position.chunks_exact(width);
            for ((token, position), sum) in text.iter().zip(positions).zip(&mut rows) {
                let word = &self.word[*token as usize * width..][..width];
                for ((sum, word), position) in sum.iter_mut().zip(word).zip(position) {
                    *sum = word + position;
                }
            }
        }
        self.norm.normalize(isa, hidden);
    }

    fn load(shape: &PackedShape, tensors: &mut Tensors) -> Result<Self, PackedError> {
        let width = shape.hidden;
        let name = |name: &str| format!("embeddings.{name}_embeddings.weight");
        let word = tensors.get(&name("word"), shape.vocabulary.saturating_mul(width))?;
        let token_type =
            tensors.get(&name("token_type"), shape.token_types.saturating_mul(width))?;
        let position = tensors.get(&name("position"), shape.positions.saturating_mul(width))?;
        let mut position = AlignedBuffer::copied(&position)?;
        for row in position.chunks_exact_mut(width) {
            for (position, token_type) in row.iter_mut().zip(&*token_type) {
                *position += token_type;
            }
        }
        let norm = tensors.layer_norm("embeddings.LayerNorm", shape)?;
        Ok(Embeddings { word: AlignedBuffer::copied(&word)?, position, norm })
    }
}

/// One layer of the encoder.
#[derive(Debug)]
struct Layer {
    /// Query, key and value of all heads, side by side.
    qkv: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    /// Multi-head attention, text by text, from the residual stream to the context.
    fn attend(&self, isa: Isa, heads: Heads, texts: &[&[u32]], buffers: &mut Buffers) {
        let width = heads.width();
        self.qkv.forward(isa, buffers.hidden, None, buffers.qkv);
        let mut first = 0;
        for text in texts {
            let last = first + text.len();
            let qkv = &buffers.qkv[first * 3 * width..last * 3 * width];
            let context = &mut buffers.context[first * width..last * width];
            attention(isa, qkv, heads, buffers.scratch, context);
            first = last;
        }
    }

    /// From the context back to the residual stream: the output projection, then the feed-forward network,
    /// each added to what came in and normalised. No token sees another here, so a block of them goes all the
    /// way while it is in the cache.
    fn feed_forward(&self, isa: Isa, activation: Activation, buffers: &mut Buffers) {
        let width = self.output.outputs();
        let blocks = buffers.hidden.chunks_mut(BLOCK * width);
        for (hidden, context) in blocks.zip(buffers.context.chunks(BLOCK * width)) {
            let projected = &mut buffers.projected[..hidden.len()];
            let intermediate =
                &mut buffers.intermediate[..hidden.len() / width * self.intermediate.outputs()];

            self.attention_output.forward(isa, context, None, projected);
            self.attention_norm.add_and_normalize(isa, projected, hidden);

            self.intermediate.forward(isa, hidden, Some(activation), intermediate);
            self.output.forward(isa, intermediate, None, projected);
            self.output_norm.add_and_normalize(isa, projected, hidden);
        }
    }

    fn load(shape: &PackedShape, index: usize, tensors: &mut Tensors) -> Result<Self, PackedError> {
        let (hidden, intermediate) = (shape.hidden, shape.intermediate);
        let name = |name: &str| format!("encoder.layer.{index}.{name}");
        let (query, key, value) = (
            name("attention.self.query"),
            name("attention.self.key"),
            name("attention.self.value"),
        );
        Ok(Layer {
            qkv: tensors.linear(&[&query, &key, &value], hidden, hidden)?,
            attention_output: tensors.linear(&[&name("attention.output.dense")], hidden, hidden)?,
            attention_norm: tensors.layer_norm(&name("attention.output.LayerNorm"), shape)?,
            intermediate: tensors.linear(&[&name("intermediate.dense")], hidden, intermediate)?,
            output: tensors.linear(&[&name("output.dense")], intermediate, hidden)?,
            output_norm: tensors.layer_norm(&name("output.LayerNorm"), shape)?,
        })
    }
}

impl PackedShape {
    /// How a token's vector is divided into heads.
    pub fn heads(&self) -> Heads {
        Heads { count: self.attention_heads, size: self.hidden / self.attention_heads.max(1) }
    }

    fn check(&self) -> Result<(), PackedError> {
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

/// The checkpoint, by name.
struct Tensors<'f, 't> {
    find: &'f dyn Fn(&str) -> Option<Cow<'t, [f32]>>,
}

impl<'t> Tensors<'_, 't> {
    fn get(&mut self, name: &str, expected: usize) -> Result<Cow<'t, [f32]>, PackedError> {
        let tensor =
            (self.find)(name).ok_or_else(|| PackedError::MissingTensor(name.to_owned()))?;
        if tensor.len() != expected {
            let found = tensor.len();
            return Err(PackedError::TensorSize { name: name.to_owned(), expected, found });
        }
        Ok(tensor)
    }

    /// Linear layers of the same input, packed side by side.
    fn linear(
        &mut self,
        names: &[&str],
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, PackedError> {
        let mut parts = Vec::new();
        for name in names {
            let weight = self.get(&format!("{name}.weight"), outputs.saturating_mul(inputs))?;
            let bias = self.get(&format!("{name}.bias"), outputs)?;
            parts.push((weight, bias));
        }
        let parts: Vec<_> = parts.iter().map(|(weight, bias)| (&**weight, &**bias)).collect();
        Ok(Linear::pack(inputs, &parts)?)
    }

    fn layer_norm(&mut self, name: &str, shape: &PackedShape) -> Result<LayerNorm, PackedError> {
        let weight = self.get(&format!("{name}.weight"), shape.hidden)?;
        let bias = self.get(&format!("{name}.bias"), shape.hidden)?;
        Ok(LayerNorm::new(&weight, &bias, shape.layer_norm_epsilon)?)
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
            Self::OutOfMemory { rows, tokens, bytes } => write!(
                f,
                "a batch of {rows} texts and {tokens} tokens needs {bytes} bytes, which could not be had"
            ),
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Odd in every size: no multiple of 16, and heads of 24.
    pub fn small_shape() -> PackedShape {
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

    fn shapes() -> Vec<PackedShape> {
        let small = small_shape();
        let mini = PackedShape {
            hidden: 384,
            attention_heads: 12,
            intermediate: 1536,
            layers: 2,
            ..small_shape()
        };
        vec![
            PackedShape {
                activation: Activation::GeluTanh,
                pooling: Pooling::Cls,
                ..small.clone()
            },
            PackedShape { activation: Activation::Relu, attention_heads: 9, ..small.clone() },
            PackedShape { hidden: 128, attention_heads: 2, intermediate: 512, ..small.clone() },
            small,
            mini,
        ]
    }

    /// A cheap generator, the same on every machine: uniform in −1..1.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Weights that depend on the tensor's name alone, of a size that keeps attention from being uniform.
    fn tensor(shape: &PackedShape, name: &str) -> Vec<f32> {
        let PackedShape { hidden, intermediate, .. } = *shape;
        let len = match name {
            "embeddings.word_embeddings.weight" => shape.vocabulary * hidden,
            "embeddings.position_embeddings.weight" => shape.positions * hidden,
            "embeddings.token_type_embeddings.weight" => shape.token_types * hidden,
            _ if name.ends_with("intermediate.dense.bias") => intermediate,
            _ if name.ends_with("bias") || name.contains("LayerNorm") => hidden,
            _ if name.contains("attention") => hidden * hidden,
            _ => hidden * intermediate,
        };
        let seed = name
            .bytes()
            .fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut random = Random(seed);
        let centre = if name.contains("LayerNorm.weight") { 1.0 } else { 0.0 };
        let spread = if name.contains("embeddings") || name.contains("bias") { 0.3 } else { 0.12 };
        (0..len).map(|_| centre + spread * random.next()).collect()
    }

    fn model(isa: Isa, shape: &PackedShape) -> PackedModel {
        PackedModel::new(isa, shape.clone(), |name| Some(tensor(shape, name).into()))
            .expect("the shape is right")
    }

    fn texts(shape: &PackedShape, lengths: &[usize]) -> Vec<Vec<u32>> {
        let mut random = Random(lengths.len() as u64);
        let mut token = || ((random.next() + 1.0) * 0.5 * (shape.vocabulary - 1) as f32) as u32;
        lengths.iter().map(|length| (0..*length).map(|_| token()).collect()).collect()
    }

    fn embed(model: &PackedModel, texts: &[&[u32]]) -> Vec<f32> {
        let mut vectors = vec![0.0; texts.len() * model.shape().hidden];
        model.forward(&mut Workspace::new(), texts, &mut vectors).expect("the batch is right");
        vectors
    }

    /// The forward pass as the paper has it, in f64 and without any regard for speed.
    mod naive {
        use super::*;
        use crate::kernels::naive;

        pub fn embed(shape: &PackedShape, text: &[u32]) -> Vec<f64> {
            let get = |name: &str| -> Vec<f64> {
                tensor(shape, name).into_iter().map(f64::from).collect()
            };
            let linear = |name: &str, input: &[f64]| {
                let bias = get(&format!("{name}.bias"));
                naive::linear(input, &get(&format!("{name}.weight")), &bias)
            };
            let norm = |name: &str, rows: &mut [f64]| {
                let (weight, bias) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
                naive::layer_norm(rows, &weight, &bias, f64::from(shape.layer_norm_epsilon));
            };
            let width = shape.hidden;
            let word = get("embeddings.word_embeddings.weight");
            let position = get("embeddings.position_embeddings.weight");
            let token_type = get("embeddings.token_type_embeddings.weight");
            let mut hidden = Vec::new();
            for (at, token) in text.iter().enumerate() {
                for i in 0..width {
                    let word = word[*token as usize * width + i];
                    hidden.push(word + position[at * width + i] + token_type[i]);
                }
            }
            norm("embeddings.LayerNorm", &mut hidden);
            for layer in 0..shape.layers {
                let name = |name: &str| format!("encoder.layer.{layer}.{name}");
                let query = linear(&name("attention.self.query"), &hidden);
                let key = linear(&name("attention.self.key"), &hidden);
                let value = linear(&name("attention.self.value"), &hidden);
                let context = naive::attention(&query, &key, &value, shape.heads());
                let added = linear(&name("attention.output.dense"), &context);
                hidden.iter_mut().zip(added).for_each(|(hidden, added)| *hidden += added);
                norm(&name("attention.output.LayerNorm"), &mut hidden);
                let mut between = linear(&name("intermediate.dense"), &hidden);
                between.iter_mut().for_each(|x| *x = naive::activation(shape.activation, *x));
                let added = linear(&name("output.dense"), &between);
                hidden.iter_mut().zip(added).for_each(|(hidden, added)| *hidden += added);
                norm(&name("output.LayerNorm"), &mut hidden);
            }
            let mut vector = match shape.pooling {
                Pooling::Cls => hidden[..width].to_vec(),
                Pooling::Mean => (0..width)
                    .map(|i| hidden.iter().skip(i).step_by(width).sum::<f64>() / text.len() as f64)
                    .collect(),
            };
            let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            vector.iter_mut().for_each(|x| *x /= length);
            vector
        }
    }

    #[test]
    fn vectors_are_those_of_the_naive_twin_within_1e_6() {
        let isa = Isa::detect();
        for shape in shapes() {
            let model = model(isa, &shape);
            for text in texts(&shape, &[1, 2, 7, 16, 33, 70]) {
                let vector = embed(&model, &[&text]);
                let twin = naive::embed(&shape, &text);
                let pairs = vector.iter().zip(&twin).map(|(x, y)| (f64::from(*x) - y).abs());
                let worst = pairs.fold(0.0, f64::max);
                println!(
                    "hidden {}, {:?}, {} tokens: worst |error| {worst:.1e}",
                    shape.hidden,
                    shape.activation,
                    text.len()
                );
                assert!(worst <= 1e-6, "{shape:?}, {} tokens: {worst:e}", text.len());
            }
        }
    }

    #[test]
    fn vectors_have_the_same_bits_on_every_instruction_set() {
        for shape in shapes() {
            let texts = texts(&shape, &[5, 1, 31, 64, 17]);
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let best = embed(&model(Isa::detect(), &shape), &texts);
            for isa in Isa::available() {
                assert_eq!(best, embed(&model(isa, &shape), &texts), "{}", isa.name());
            }
        }
    }

    #[test]
    fn a_text_has_the_same_bits_in_any_company() {
        let shape = small_shape();
        for isa in Isa::available() {
            let model = model(isa, &shape);
            let lengths: Vec<usize> = (0..20).map(|i| 1 + (i * 37) % shape.positions).collect();
            let texts = texts(&shape, &lengths);
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let alone: Vec<f32> = texts.iter().flat_map(|text| embed(&model, &[text])).collect();
            for size in [2, 7, 20] {
                let packed: Vec<f32> =
                    texts.chunks(size).flat_map(|texts| embed(&model, texts)).collect();
                assert_eq!(alone, packed, "{size} texts a batch on {}", isa.name());
            }
            let reversed: Vec<&[u32]> = texts.iter().rev().copied().collect();
            let vectors = embed(&model, &reversed);
            let back: Vec<f32> = vectors.chunks(shape.hidden).rev().flatten().copied().collect();
            assert_eq!(alone, back, "reversed on {}", isa.name());
        }
    }

    #[test]
    fn a_used_workspace_gives_the_same_bits_as_a_new_one() {
        let shape = small_shape();
        let model = model(Isa::detect(), &shape);
        let texts = texts(&shape, &[70, 3, 50, 21]);
        let mut workspace = Workspace::new();
        for text in texts.iter().chain(texts.iter().rev()) {
            let mut vector = vec![0.0; shape.hidden];
            model.forward(&mut workspace, &[text], &mut vector).expect("the batch is right");
            assert_eq!(vector, embed(&model, &[text]));
        }
    }

    #[test]
    fn a_batch_that_cannot_run_is_refused_with_its_row() {
        let shape = small_shape();
        let model = model(Isa::detect(), &shape);
        let long = vec![1; 71];
        let cases: [(&[&[u32]], PackedError); 3] = [
            (&[&[1], &[]], PackedError::NoTokens { row: 1 }),
            (&[&long], PackedError::TooLong { row: 0, tokens: 71, positions: 70 }),
            (&[&[1], &[5, 101]], PackedError::UnknownToken { row: 1, token: 101 }),
        ];
        for (texts, expected) in cases {
            let mut vectors = vec![0.0; texts.len() * shape.hidden];
            let error = model.forward(&mut Workspace::new(), texts, &mut vectors);
            assert_eq!(error, Err(expected));
        }
        let short = model.forward(&mut Workspace::new(), &[&[1]], &mut [0.0; 5]);
        assert_eq!(short, Err(PackedError::OutputSize { expected: 72, found: 5 }));
        assert_eq!(model.forward(&mut Workspace::new(), &[], &mut []), Ok(()));
    }

    #[test]
    fn a_checkpoint_that_does_not_fit_is_refused_with_the_tensor() {
        let shape = small_shape();
        let without = |missing: &'static str| {
            PackedModel::new(Isa::detect(), shape.clone(), |name| {
                (name != missing).then(|| tensor(&shape, name).into())
            })
        };
        let name = "encoder.layer.2.output.LayerNorm.bias";
        assert_eq!(without(name).err(), Some(PackedError::MissingTensor(name.to_owned())));
        let wide = PackedShape { intermediate: 150, ..small_shape() };
        let error = PackedModel::new(Isa::detect(), wide, |name| Some(tensor(&shape, name).into()));
        assert!(matches!(error, Err(PackedError::TensorSize { expected: 10_800, .. })));
        let uneven = PackedShape { attention_heads: 7, ..small_shape() };
        let error =
            PackedModel::new(Isa::detect(), uneven, |name| Some(tensor(&shape, name).into()));
        assert!(matches!(error, Err(PackedError::Shape(_))));
    }
}
