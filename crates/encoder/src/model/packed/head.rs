//! From the token vectors of a text to its vector: pooling, linear layers and scaling. It is f32 in every
//! precision.

use reembed_kernels::{Activation, F32Linear, Isa, l2_normalize};

use super::shape::{PackedError, PackedShape};
use super::tensors::Tensors;
use crate::model::spec::{Step, TokenPooling};
use crate::model::tensor_names::LinearTensors;

/// The pooling of a model and what follows it.
#[derive(Debug)]
pub(super) struct Head {
    poolings: Vec<TokenPooling>,
    /// Components of a token vector.
    hidden: usize,
    steps: Vec<PackedStep>,
}

#[derive(Debug)]
enum PackedStep {
    Dense(F32Linear, Option<Activation>),
    Normalize,
}

impl Head {
    /// Computes the vector of a text from its token vectors, `(tokens, hidden)`, of which the first `unpooled` are not
    /// pooled.
    pub fn apply(&self, isa: Isa, tokens: &[f32], unpooled: usize, vector: &mut [f32]) {
        let has_layers = self.steps.iter().any(|step| matches!(step, PackedStep::Dense(..)));
        if !has_layers {
            self.pool(tokens, unpooled, vector);
            for _ in &self.steps {
                l2_normalize(isa, vector);
            }
            return;
        }
        let mut current = vec![0.0; self.poolings.len() * self.hidden];
        self.pool(tokens, unpooled, &mut current);
        for step in &self.steps {
            match step {
                PackedStep::Dense(layer, activation) => {
                    let mut next = vec![0.0; layer.outputs()];
                    layer.forward(isa, &current, *activation, &mut next);
                    current = next;
                }
                PackedStep::Normalize => l2_normalize(isa, &mut current),
            }
        }
        vector.copy_from_slice(&current);
    }

    fn pool(&self, tokens: &[f32], unpooled: usize, vector: &mut [f32]) {
        for (pooling, part) in self.poolings.iter().zip(vector.chunks_exact_mut(self.hidden)) {
            pooling.pool(tokens, unpooled, part);
        }
    }

    pub fn load(shape: &PackedShape, tensors: &Tensors) -> Result<Self, PackedError> {
        let steps = shape.steps.iter().map(|step| {
            Ok(match (step, LinearTensors::of_step(step)) {
                (Step::Dense(dense), Some(layer)) => {
                    PackedStep::Dense(tensors.f32_linear(&layer)?, dense.activation)
                }
                _ => PackedStep::Normalize,
            })
        });
        Ok(Head {
            poolings: shape.pooling.modes.clone(),
            hidden: shape.encoder.hidden,
            steps: steps.collect::<Result<_, PackedError>>()?,
        })
    }
}
