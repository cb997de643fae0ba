use reembed_kernels::{Bf16Unit, Isa, Precision};
use sha2::{Digest, Sha256};

use super::*;
use crate::hash::hex;
use crate::model::spec::{Activation, PoolingSpec, TokenPooling};
use crate::model::tensor_names::TensorNames;

fn shapes() -> Vec<PackedShape> {
    let small = PackedShape::small;
    let sized = |hidden, heads, intermediate| {
        let mut spec = EncoderSpec::small();
        (spec.hidden, spec.embeddings.width, spec.feed_forward.width) =
            (hidden, hidden, intermediate);
        let size = hidden / heads;
        (spec.attention.heads, spec.attention.key_heads) = (heads, heads);
        (spec.attention.head_size, spec.attention.divisor) = (size, size as f64);
        PackedShape::unit_mean(spec)
    };
    let mut cls = small();
    cls.encoder.feed_forward.activation = Activation::GeluTanh;
    cls.pooling = PoolingSpec::one(TokenPooling::Cls);
    let mut relu = sized(72, 9, 149);
    relu.encoder.feed_forward.activation = Activation::Relu;
    let mut mini = sized(384, 12, 1536);
    (mini.encoder.layers, mini.encoder.layer_groups) = (2, 2);
    vec![cls, relu, sized(128, 2, 512), small(), mini]
}

fn names(shape: &PackedShape) -> EncoderTensors {
    let spec = &shape.encoder;
    EncoderTensors::new(spec, TensorNames::find(spec.architecture, |_| false).0)
}

/// A linear congruential generator, uniform in −1..1, with the same values on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Weights that depend on the name of the tensor alone, large enough that attention is not uniform.
fn tensor(shape: &PackedShape, name: &str) -> Vec<f32> {
    let shapes = names(shape).shapes();
    let sizes = shapes.into_iter().find(|(own, _)| own == name).map(|(_, sizes)| sizes);
    let len = sizes.expect("a tensor of the model").into_iter().product();
    let seed =
        name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = Random(seed);
    let centre = if name.contains("LayerNorm.weight") { 1.0 } else { 0.0 };
    let spread = if name.contains("embeddings") || name.contains("bias") { 0.3 } else { 0.12 };
    (0..len).map(|_| centre + spread * random.next()).collect()
}

fn model(isa: Isa, shape: &PackedShape) -> PackedModel {
    model_in(Arithmetic::f32(isa), shape)
}

fn model_in(arithmetic: Arithmetic, shape: &PackedShape) -> PackedModel {
    let tensor = |name: &str| Some(tensor(shape, name).into());
    PackedModel::new(arithmetic, shape.clone(), &names(shape), tensor).expect("the shape is valid")
}

fn texts(shape: &PackedShape, lengths: &[usize]) -> Vec<Vec<u32>> {
    let mut random = Random(lengths.len() as u64);
    let mut token = || ((random.next() + 1.0) * 0.5 * (shape.encoder.vocab_size - 1) as f32) as u32;
    lengths.iter().map(|length| (0..*length).map(|_| token()).collect()).collect()
}

/// The bits of the vectors. Compared as numbers, 0 and −0 are equal.
fn embed_bits(model: &PackedModel, texts: &[&[u32]]) -> Vec<u32> {
    embed(model, texts).into_iter().map(f32::to_bits).collect()
}

fn embed(model: &PackedModel, texts: &[&[u32]]) -> Vec<f32> {
    let mut vectors = vec![0.0; texts.len() * model.shape().dim];
    model.forward(&mut Workspace::new(), texts, 0, &mut vectors).expect("the batch is valid");
    vectors
}

/// The forward pass of the paper (Devlin et al., 2018) in f64, as a reference.
mod naive {
    use reembed_kernels::testing::reference;

    use super::*;

    pub fn embed(shape: &PackedShape, text: &[u32]) -> Vec<f64> {
        let get =
            |name: &str| -> Vec<f64> { tensor(shape, name).into_iter().map(f64::from).collect() };
        let linear = |name: &str, input: &[f64]| {
            let bias = get(&format!("{name}.bias"));
            reference::linear(input, &get(&format!("{name}.weight")), &bias)
        };
        let norm = |name: &str, rows: &mut [f64]| {
            let (weight, bias) = (get(&format!("{name}.weight")), get(&format!("{name}.bias")));
            reference::layer_norm(rows, &weight, &bias, shape.encoder.norm.epsilon);
        };
        let width = shape.encoder.hidden;
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
        for layer in 0..shape.encoder.layers {
            let name = |name: &str| format!("encoder.layer.{layer}.{name}");
            let query = linear(&name("attention.self.query"), &hidden);
            let key = linear(&name("attention.self.key"), &hidden);
            let value = linear(&name("attention.self.value"), &hidden);
            let context =
                reference::attention(&query, &key, &value, shape.encoder.attention_heads());
            let added = linear(&name("attention.output.dense"), &context);
            hidden.iter_mut().zip(added).for_each(|(hidden, added)| *hidden += added);
            norm(&name("attention.output.LayerNorm"), &mut hidden);
            let mut between = linear(&name("intermediate.dense"), &hidden);
            between.iter_mut().for_each(|x| {
                *x = reference::activation(shape.encoder.feed_forward.activation, *x)
            });
            let added = linear(&name("output.dense"), &between);
            hidden.iter_mut().zip(added).for_each(|(hidden, added)| *hidden += added);
            norm(&name("output.LayerNorm"), &mut hidden);
        }
        let mut vector = match shape.pooling.modes[..] {
            [TokenPooling::Cls] => hidden[..width].to_vec(),
            _ => (0..width)
                .map(|i| hidden.iter().skip(i).step_by(width).sum::<f64>() / text.len() as f64)
                .collect(),
        };
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }
}

#[test]
fn vectors_match_the_f64_reference_within_tolerance() {
    for (precision, tolerance) in [
        (Precision::F32, 1e-6),
        (Precision::Bf16x3, 1e-5),
        (Precision::Bf16, 1e-2),
        (Precision::Bf16Avx512, 1e-2),
        (Precision::Int16, 1e-2),
    ] {
        for shape in shapes() {
            let model = model_in(emulated(precision), &shape);
            for text in texts(&shape, &[1, 2, 7, 16, 33, 70]) {
                let vector = embed(&model, &[&text]);
                let expected = naive::embed(&shape, &text);
                let errors = vector.iter().zip(&expected).map(|(x, y)| (f64::from(*x) - y).abs());
                let worst = errors.fold(0.0, f64::max);
                let cosine: f64 =
                    vector.iter().zip(&expected).map(|(x, y)| f64::from(*x) * y).sum();
                let (hidden, tokens) = (shape.dim, text.len());
                println!(
                    "{precision}, hidden {hidden}, {:?}, {tokens} tokens: worst |error| {worst:.1e}, \
                     1 - cosine {:.1e}",
                    shape.encoder.feed_forward.activation,
                    1.0 - cosine
                );
                assert!(worst <= tolerance, "{precision}, {shape:?}, {tokens} tokens: {worst:e}");
                assert!(cosine >= 0.9999, "{precision}, {shape:?}, {tokens} tokens: {cosine}");
            }
        }
    }
}

/// A precision, emulated on the best instruction set of this machine.
fn emulated(precision: Precision) -> Arithmetic {
    Arithmetic::new(Isa::detect(), precision, Bf16Unit::EMULATED)
}

#[test]
fn vectors_have_the_same_bits_on_every_arithmetic() {
    for precision in Precision::ALL {
        for shape in shapes() {
            let texts = texts(&shape, &[5, 1, 31, 9]);
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let best = embed_bits(&model_in(emulated(precision), &shape), &texts);
            for arithmetic in reembed_kernels::testing::all_arithmetics(precision) {
                let vectors = embed_bits(&model_in(arithmetic, &shape), &texts);
                assert!(best == vectors, "{precision} on {arithmetic}, hidden {}", shape.dim);
            }
        }
    }
}

/// SHA-256 over the bits of the vectors of [`numerics_versions_keep_their_bits`].
const BITS: [(&str, &str); 6] = [
    ("packed-1-f32", "a056ea4b71c6a97791506b82b252cf21ced6580aa7eacec1bae83de98a845a53"),
    ("packed-1-bf16", "66705f06869892c3eeadd686185794b3cd584aa713aaf267daa35ae1ec2a4d3b"),
    ("packed-1-bf16x3", "b7bdb176610621c4eb2ee179d60978c99392d77f62060c9744a5cd2955d4664f"),
    ("packed-1-bf16-avx512", "cef0afac3abd344e86126895f0199581b150917ca6d15ef2b01ec28104c85378"),
    ("packed-1-int16", "45d0496673ae8de23df01439b4e7dc4ba537446cd3b54eb6b6a516e8fdb6b3f0"),
    ("packed-1-int8", "b0f3ac64f437ca676b220041e5b310098f714fecbb217da88d4efab4a55dba52"),
];

/// Outputs and vector caches are reused under the name of their numerics version. This test alone
/// compares this build with earlier ones.
#[test]
fn numerics_versions_keep_their_bits() {
    let mut changed = Vec::new();
    for precision in Precision::ALL {
        for arithmetic in reembed_kernels::testing::all_arithmetics(precision) {
            let mut hash = Sha256::new();
            // The last shape is only larger than another one.
            for shape in &shapes()[..4] {
                let texts = texts(shape, &[5, 1, 33, 70, 16]);
                let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
                for bits in embed_bits(&model_in(arithmetic, shape), &texts) {
                    hash.update(bits.to_le_bytes());
                }
            }
            let found = hex(&hash.finalize());
            if !BITS.contains(&(precision.numerics(), &found)) {
                changed.push(format!("{} on {arithmetic}: {found}", precision.numerics()));
            }
        }
    }
    assert!(
        changed.is_empty(),
        "the bits changed: the precision needs a new numerics version\n{}",
        changed.join("\n")
    );
}

#[test]
fn vector_has_the_same_bits_in_any_batch() {
    let shape = PackedShape::small();
    let f32 = Isa::available().map(Arithmetic::f32);
    let others = Precision::ALL.into_iter().skip(1).map(emulated);
    for arithmetic in f32.chain(others) {
        let model = model_in(arithmetic, &shape);
        let lengths: Vec<usize> = (0..20).map(|i| 1 + (i * 37) % shape.max_tokens).collect();
        let texts = texts(&shape, &lengths);
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let alone: Vec<u32> = texts.iter().flat_map(|text| embed_bits(&model, &[text])).collect();
        for size in [2, 7, 20] {
            let packed: Vec<u32> =
                texts.chunks(size).flat_map(|texts| embed_bits(&model, texts)).collect();
            assert_eq!(alone, packed, "{size} texts a batch on {arithmetic}");
        }
        let reversed: Vec<&[u32]> = texts.iter().rev().copied().collect();
        let vectors = embed_bits(&model, &reversed);
        let back: Vec<u32> = vectors.chunks(shape.dim).rev().flatten().copied().collect();
        assert_eq!(alone, back, "reversed on {arithmetic}");
    }
}

#[test]
fn vectors_do_not_depend_on_the_number_of_blocks() {
    let shape = PackedShape::small();
    let texts = texts(&shape, &[70; 16]);
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for precision in Precision::ALL {
        let model = model_in(emulated(precision), &shape);
        let alone: Vec<u32> = texts.iter().flat_map(|text| embed_bits(&model, &[text])).collect();
        assert!(alone == embed_bits(&model, &texts), "{precision}");
    }
}

#[test]
fn used_workspace_gives_the_same_bits_as_a_new_one() {
    let shape = PackedShape::small();
    let models = Precision::ALL.map(|precision| model_in(emulated(precision), &shape));
    let texts = texts(&shape, &[70, 3, 50, 21]);
    // One workspace for all precisions: its previous content must not matter.
    let mut workspace = Workspace::new();
    for text in texts.iter().chain(texts.iter().rev()) {
        for model in &models {
            let mut vector = vec![0.0; shape.dim];
            model.forward(&mut workspace, &[text], 0, &mut vector).expect("the batch is valid");
            let vector: Vec<u32> = vector.into_iter().map(f32::to_bits).collect();
            assert_eq!(vector, embed_bits(model, &[text]));
        }
    }
}

#[test]
fn invalid_batch_is_refused_with_its_row() {
    let shape = PackedShape::small();
    let model = model(Isa::detect(), &shape);
    let long = vec![1; 71];
    let cases: [(&[&[u32]], PackedError); 3] = [
        (&[&[1], &[]], PackedError::NoTokens { row: 1 }),
        (&[&long], PackedError::TooLong { row: 0, tokens: 71, max: 70 }),
        (&[&[1], &[5, 101]], PackedError::UnknownToken { row: 1, token: 101 }),
    ];
    for (texts, expected) in cases {
        let mut vectors = vec![0.0; texts.len() * shape.dim];
        let error = model.forward(&mut Workspace::new(), texts, 0, &mut vectors);
        assert_eq!(error, Err(expected));
    }
    let short = model.forward(&mut Workspace::new(), &[&[1]], 0, &mut [0.0; 5]);
    assert_eq!(short, Err(PackedError::OutputSize { expected: 72, found: 5 }));
    assert_eq!(model.forward(&mut Workspace::new(), &[], 0, &mut []), Ok(()));
}

#[test]
fn checkpoint_that_does_not_match_is_refused_with_the_tensor() {
    let shape = PackedShape::small();
    let arithmetic = Arithmetic::f32(Isa::detect());
    let load = |other: PackedShape, missing: &str| {
        let names = names(&other);
        PackedModel::new(arithmetic, other, &names, |name| {
            (name != missing).then(|| tensor(&shape, name).into())
        })
    };
    let name = "encoder.layer.2.output.LayerNorm.bias";
    let error = load(shape.clone(), name).err();
    assert_eq!(error, Some(PackedError::MissingTensor(name.to_owned())));
    let mut wide = shape.clone();
    wide.encoder.feed_forward.width = 150;
    assert!(matches!(load(wide, ""), Err(PackedError::TensorSize { expected: 10_800, .. })));
    let mut uneven = shape.clone();
    uneven.encoder.attention.key_heads = 2;
    assert!(matches!(load(uneven, ""), Err(PackedError::Shape(_))));
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn real_model_has_the_same_bits_on_amx_and_emulated() {
    use crate::ModelConfig;
    use crate::environment::Environment;
    use crate::model::config::TextOptions;
    use crate::model::tokenizer::TextTokenizer;
    use crate::model::{description, source, weights};

    let environment = Environment::new(std::env::vars());
    let config = ModelConfig::from_environment(&environment).expect("a model cache");
    let files = source::resolve(&config.source, &|_| ()).expect("the model");
    let description = description::read(&files, &TextOptions::default()).expect("a description");
    let tokenizer = TextTokenizer::new(&files, &description).expect("a tokenizer");
    let tensors = weights::read(&files, &description).expect("weights");
    let texts = ["Fix the login loop", "a", "Rotate the database credentials of CI"]
        .map(|text| tokenizer.tokenize(text).expect("ids").ids);
    let texts = texts.each_ref().map(Vec::as_slice);
    for precision in [Precision::Bf16, Precision::Bf16x3] {
        let embed = |arithmetic: Arithmetic| {
            let tensor = |name: &str| tensors.get(name).map(Cow::Borrowed);
            let shape = PackedShape::new(&description);
            let model = PackedModel::new(arithmetic, shape, &tensors.names, tensor);
            let model = model.expect("the shape is valid");
            embed_bits(&model, &texts)
        };
        let [first, .., amx] = &reembed_kernels::testing::all_arithmetics(precision)[..] else {
            panic!("there are several arithmetics");
        };
        assert_eq!(amx.to_string(), "amx");
        assert!(embed(*amx) == embed(*first), "{precision}");
    }
}

#[test]
fn buckets_are_those_of_mpnet() {
    for (distance, expected) in [
        (0, 0),
        (-7, 7),
        (-8, 8),
        (-11, 8),
        (-12, 9),
        (-45, 12),
        (-90, 14),
        (-91, 15),
        (-5000, 15),
        (1, 17),
        (8, 24),
        (91, 31),
        (600, 31),
    ] {
        assert_eq!(bucket(distance), expected, "{distance}");
    }
}
