//! Every architecture against sentence-transformers: small models, their token ids and their vectors.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reembed_kernels::testing::all_arithmetics;
use reembed_kernels::{Arithmetic, Bf16Unit, Isa, Precision};
use reembed_testing::golden_models::{self, GoldenModel, GoldenRow};

use super::config::{ModelConfig, TextOptions};
use super::description::{self, ModelDescription};
use super::packed::{PackedModel, PackedShape, Workspace};
use super::prompt::PromptChoice;
use super::source::{self, ModelFiles};
use super::tokenizer::TextTokenizer;
use super::weights::{self, ModelWeights};

/// Of a component, for a vector of length 1.
const TOLERANCE: f64 = 2e-5;

/// The rows of a model that have the same prompt, and the model with this prompt.
struct Group<'g> {
    rows: Vec<&'g GoldenRow>,
    files: ModelFiles,
    description: ModelDescription,
    tokenizer: TextTokenizer,
}

impl<'g> Group<'g> {
    fn all(model: &'g GoldenModel) -> Vec<Group<'g>> {
        let mut by_prompt: BTreeMap<&str, Vec<&GoldenRow>> = BTreeMap::new();
        for row in &model.rows {
            by_prompt.entry(row.prompt.as_deref().unwrap_or("")).or_default().push(row);
        }
        let config = ModelConfig::from_directory(model.path());
        let group = |(prompt, rows): (&str, Vec<&'g GoldenRow>)| {
            let files = source::resolve(&config.source, &|_| ()).expect("its files");
            let own = description::read(&files, &TextOptions::default()).expect("a description");
            let choice = match own.prompt.text == prompt {
                true => PromptChoice::ModelDefault,
                false => PromptChoice::Text(prompt.to_owned()),
            };
            let options = TextOptions { prompt: choice, ..TextOptions::default() };
            let description = description::read(&files, &options).expect("a description");
            let tokenizer = TextTokenizer::new(&files, &description).expect("a tokenizer");
            Group { rows, files, description, tokenizer }
        };
        by_prompt.into_iter().map(group).collect()
    }

    fn ids(&self) -> Vec<Vec<u32>> {
        let ids = |row: &&GoldenRow| self.tokenizer.tokenize(&row.text).expect("ids").ids;
        self.rows.iter().map(ids).collect()
    }

    fn weights(&self) -> ModelWeights<'_> {
        weights::read(&self.files, &self.description).expect("weights")
    }

    fn packed(&self, weights: &ModelWeights<'_>, arithmetic: Arithmetic) -> PackedModel {
        let shape = PackedShape::new(&self.description);
        let tensor = |name: &str| weights.get(name).map(Cow::Borrowed);
        PackedModel::new(arithmetic, shape, &weights.names, tensor).expect("a model")
    }

    fn embed(&self, model: &PackedModel, ids: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let dim = model.shape().dim;
        let mut vectors = vec![0.0; texts.len() * dim];
        let unpooled = self.tokenizer.unpooled();
        model.forward(&mut Workspace::new(), &texts, unpooled, &mut vectors).expect("vectors");
        vectors.chunks(dim).map(<[f32]>::to_vec).collect()
    }
}

fn emulated(precision: Precision) -> Arithmetic {
    Arithmetic::new(Isa::detect(), precision, Bf16Unit::EMULATED)
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn f32_vectors_and_ids_are_those_of_sentence_transformers() {
    let names = golden_models::names();
    assert_eq!(names.len(), 33);
    let mut failures = Vec::new();
    for name in names {
        let model = golden_models::write(&name);
        let (mut worst, mut at) = (0.0f64, String::new());
        for group in Group::all(&model) {
            let ids = group.ids();
            for (row, ids) in group.rows.iter().zip(&ids) {
                if *ids != row.tokens {
                    failures.push(format!(
                        "{name}: ids of {:.40?}: {ids:?}, not {:?}",
                        row.text, row.tokens
                    ));
                }
            }
            let weights = group.weights();
            let vectors =
                group.embed(&group.packed(&weights, Arithmetic::f32(Isa::detect())), &ids);
            let kept = group.description.truncate_dim.map_or(usize::MAX, |dims| dims.get());
            for (row, vector) in group.rows.iter().zip(vectors) {
                let vector = &vector[..kept.min(vector.len())];
                if vector.len() != row.vector.len() {
                    failures.push(format!(
                        "{name}: {} components, not {}",
                        vector.len(),
                        row.vector.len()
                    ));
                    continue;
                }
                let scale = length(&row.vector).max(1.0);
                for (x, y) in vector.iter().zip(&row.vector) {
                    let error = (f64::from(*x) - y).abs() / scale;
                    if error > worst || error.is_nan() {
                        (worst, at) = (error, format!("{:.40?}", row.text));
                    }
                }
            }
        }
        println!("{name:24} {:3} rows, worst component {worst:.1e} at {at}", model.rows.len());
        if worst.is_nan() || worst > TOLERANCE {
            failures.push(format!("{name}: off by {worst:.1e} at {at}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn vectors_have_equal_bits_alone_together_and_on_every_unit() {
    for name in golden_models::names() {
        // The others differ from one of these in their files alone.
        if name.starts_with("bert-") && !["bert-concat", "bert-dense-tanh"].contains(&&*name) {
            continue;
        }
        let model = golden_models::write(&name);
        let groups = Group::all(&model);
        let Some(group) = groups.first() else { panic!("{name} has no rows") };
        let ids = group.ids();
        let weights = group.weights();
        let bits = |vectors: &[Vec<f32>]| -> Vec<u32> {
            vectors.iter().flatten().map(|x| x.to_bits()).collect()
        };
        for precision in Precision::ALL {
            let packed = group.packed(&weights, emulated(precision));
            let together = group.embed(&packed, &ids);
            for (ids, vector) in ids.iter().zip(&together).step_by(5) {
                let alone = group.embed(&packed, std::slice::from_ref(ids));
                assert_eq!(bits(&alone), bits(std::slice::from_ref(vector)), "{name}, {precision}");
            }
            let some: Vec<Vec<u32>> = ids.iter().step_by(7).cloned().collect();
            let expected = bits(&group.embed(&packed, &some));
            for arithmetic in all_arithmetics(precision) {
                let found = bits(&group.embed(&group.packed(&weights, arithmetic), &some));
                assert!(found == expected, "{name}, {precision} on {arithmetic}");
            }
        }
    }
}

/// The least cosine of any row in each precision but f32. docs/models.md has the table.
#[test]
fn narrow_precisions_stay_near_the_vectors_of_f32() {
    let mut failures = Vec::new();
    for name in golden_models::names() {
        let model = golden_models::write(&name);
        let mut least = [1.0f64; 5];
        let precisions = [
            Precision::Bf16x3,
            Precision::Bf16,
            Precision::Bf16Avx512,
            Precision::Int16,
            Precision::Int8,
        ];
        for group in Group::all(&model) {
            let (ids, weights) = (group.ids(), group.weights());
            for (precision, least) in precisions.into_iter().zip(&mut least) {
                let vectors = group.embed(&group.packed(&weights, emulated(precision)), &ids);
                for (row, vector) in group.rows.iter().zip(vectors) {
                    let vector: Vec<f64> = vector.into_iter().map(f64::from).collect();
                    let vector = &vector[..row.vector.len().min(vector.len())];
                    let dot: f64 = vector.iter().zip(&row.vector).map(|(x, y)| x * y).sum();
                    *least = least.min(dot / length(vector) / length(&row.vector));
                }
            }
        }
        let [bf16x3, others @ ..] = least;
        let others = others.map(|cosine| format!("{cosine:.4}")).join(" | ");
        println!("| `{name}` | {bf16x3:.6} | {others} |");
        for (floor, least) in [0.999_99, 0.998, 0.998, 0.998, 0.9].into_iter().zip(least) {
            if least.is_nan() || least < floor {
                failures.push(format!("{name}: a cosine of {least}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
