//! Which components of the model's vectors a column has, and their scale.

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::model::ModelFacts;

use super::expect::euclidean_length;
use crate::config::VectorValues;

/// The f32 values that a vector of the model becomes before it is converted to the type of the column:
/// the first components, scaled or not. It is the order of sentence-transformers: truncate, normalise,
/// quantise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Components {
    of_model: usize,
    kept: usize,
    normalize: bool,
}

impl Components {
    /// The values that the configuration asks for.
    ///
    /// # Errors
    /// `Config` when `vector.dims` is more than the model has, or the model was not trained for it.
    pub fn new(values: VectorValues, model: &ModelFacts) -> Result<Components> {
        let of_model = model.identity.dimension;
        let kept = values.dims.map_or(model.default_dims(), |dims| dims.get());
        let refuse = |message: String| Error::new(ErrorKind::Config, message);
        let id = &model.identity.id;
        if kept > of_model {
            let message =
                format!("`vector.dims` is {kept}, but the vectors of {id} have {of_model}");
            return Err(refuse(message).advice("set it to fewer components, or remove it"));
        }
        if !values.force_dims && !model.is_trained_for(kept) {
            let message = format!(
                "`vector.dims` is {kept}, but {id} is not known to be trained for vectors that are cut \
                 to {kept} of their {of_model} components"
            );
            return Err(refuse(message).advice(
                "remove it to keep all components, or set `vector.force_dims` to true if your own \
                 measurements show that the cut vectors are good enough",
            ));
        }
        Ok(Components { of_model, kept, normalize: values.normalize })
    }

    /// The first `kept` of `of_model` components.
    pub fn first(kept: usize, of_model: usize, normalize: bool) -> Components {
        Components { of_model, kept: kept.min(of_model), normalize }
    }

    /// Components of a vector of the model.
    pub fn of_model(&self) -> usize {
        self.of_model
    }

    /// Number of components that are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Whether they are scaled to length 1.
    pub fn normalize(&self) -> bool {
        self.normalize
    }

    /// Whether vectors stay as the model makes them.
    pub fn is_whole(&self) -> bool {
        self.kept == self.of_model && !self.normalize
    }

    /// The values of vectors of the model, row-major, in the memory of `vectors`.
    pub fn of_all(&self, mut vectors: Vec<f32>) -> Vec<f32> {
        if self.is_whole() {
            return vectors;
        }
        let mut scaled = Vec::new();
        let rows = vectors.len() / self.of_model.max(1);
        for row in 0..rows {
            let start = row * self.of_model;
            vectors.copy_within(start..start + self.kept, row * self.kept);
            if self.normalize {
                let vector = &mut vectors[row * self.kept..][..self.kept];
                self.of(vector, &mut scaled);
                vector.copy_from_slice(&scaled);
            }
        }
        vectors.truncate(rows * self.kept);
        vectors.shrink_to_fit();
        vectors
    }

    /// The values of one vector of the model. `scaled` is a buffer for them.
    pub fn of<'v>(&self, vector: &'v [f32], scaled: &'v mut Vec<f32>) -> &'v [f32] {
        let kept = &vector[..self.kept.min(vector.len())];
        if !self.normalize {
            return kept;
        }
        // A vector of zeros has no direction and stays, as in torch.
        let length = euclidean_length(kept).max(1e-12);
        scaled.clear();
        scaled.extend(kept.iter().map(|component| (f64::from(*component) / length) as f32));
        scaled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_cut_before_they_are_scaled() {
        let vector = [3.0, 4.0, 12.0];
        for (kept, normalize, expected) in [
            (3, false, &[3.0, 4.0, 12.0][..]),
            (2, false, &[3.0, 4.0]),
            (2, true, &[0.6, 0.8]),
            (1, true, &[1.0]),
        ] {
            let components = Components::first(kept, 3, normalize);
            assert_eq!(components.of(&vector, &mut Vec::new()), expected, "{kept}, {normalize}");
        }
        let all = [3.0, 4.0, 12.0, 5.0, 12.0, 1.0].to_vec();
        for (kept, normalize, expected) in
            [(3, false, &all[..]), (2, false, &[3.0, 4.0, 5.0, 12.0]), (1, true, &[1.0, 1.0])]
        {
            assert_eq!(Components::first(kept, 3, normalize).of_all(all.clone()), expected);
        }
        let zeros = Components::first(2, 2, true);
        assert_eq!(zeros.of(&[0.0, 0.0], &mut Vec::new()), [0.0, 0.0]);
    }
}
