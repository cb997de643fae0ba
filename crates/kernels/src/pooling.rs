//! How the token vectors of a text become one vector.

/// How the token vectors of a text become one vector, as the `Pooling` of sentence-transformers does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenPooling {
    /// The vector of the first token.
    Cls,
    /// The largest value of each component.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the root of the number of tokens.
    MeanSqrtLen,
    /// The mean with the weights 1, 2, 3, …, counted from the first token of the text.
    WeightedMean,
    /// The vector of the last token.
    LastToken,
}

impl TokenPooling {
    /// Pools the rows of `tokens`, `(rows, vector.len())`, from row `first` on into `vector`. Rows are summed
    /// in order.
    ///
    /// # Panics
    /// If the length of `tokens` is not a multiple of that of `vector`, or if there is no row from `first` on.
    pub fn pool(self, tokens: &[f32], first: usize, vector: &mut [f32]) {
        let width = vector.len();
        assert!(tokens.len().is_multiple_of(width.max(1)), "the rows are complete");
        let pooled = &tokens[first * width..];
        let count = pooled.len() / width.max(1);
        assert!(count > 0, "some row is pooled");
        match self {
            TokenPooling::Cls => vector.copy_from_slice(&pooled[..width]),
            TokenPooling::LastToken => vector.copy_from_slice(&pooled[pooled.len() - width..]),
            TokenPooling::Mean => mean_of_rows(pooled, vector),
            TokenPooling::MeanSqrtLen => {
                let root = (count as f32).sqrt();
                sum_of_rows(pooled, vector);
                vector.iter_mut().for_each(|sum| *sum /= root);
            }
            TokenPooling::Max => {
                vector.fill(f32::NEG_INFINITY);
                for row in pooled.chunks_exact(width) {
                    for (largest, value) in vector.iter_mut().zip(row) {
                        // A NaN stays, so that it is found.
                        let stays = *value <= *largest || largest.is_nan();
                        *largest = if stays { *largest } else { *value };
                    }
                }
            }
            TokenPooling::WeightedMean => {
                vector.fill(0.0);
                let mut weights = 0.0;
                for (number, row) in (first + 1..).zip(pooled.chunks_exact(width)) {
                    let weight = number as f32;
                    weights += weight;
                    for (sum, value) in vector.iter_mut().zip(row) {
                        *sum += weight * value;
                    }
                }
                vector.iter_mut().for_each(|sum| *sum /= weights);
            }
        }
    }
}

/// Mean pooling: writes the mean of the rows of `tokens`, `(rows, mean.len())`, to `mean`. Rows are summed in order.
///
/// # Panics
/// If the length of `tokens` is not a multiple of that of `mean`.
pub fn mean_of_rows(tokens: &[f32], mean: &mut [f32]) {
    assert!(tokens.len().is_multiple_of(mean.len().max(1)), "the rows are complete");
    sum_of_rows(tokens, mean);
    let count = (tokens.len() / mean.len().max(1)) as f32;
    for sum in mean {
        *sum /= count;
    }
}

/// Each column is a chain of its own, so the bits do not depend on how the compiler vectorises.
fn sum_of_rows(tokens: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for row in tokens.chunks_exact(sums.len().max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_matches_its_definition() {
        let tokens = [1.0, -8.0, 2.0, 4.0, 6.0, -2.0];
        let root = 3f32.sqrt();
        for (pooling, first, expected) in [
            (TokenPooling::Cls, 0, [1.0, -8.0]),
            (TokenPooling::Cls, 1, [2.0, 4.0]),
            (TokenPooling::LastToken, 1, [6.0, -2.0]),
            (TokenPooling::Max, 0, [6.0, 4.0]),
            (TokenPooling::Max, 2, [6.0, -2.0]),
            (TokenPooling::Mean, 0, [3.0, -2.0]),
            (TokenPooling::Mean, 1, [4.0, 1.0]),
            (TokenPooling::MeanSqrtLen, 0, [9.0 / root, -6.0 / root]),
            (TokenPooling::WeightedMean, 0, [23.0 / 6.0, -6.0 / 6.0]),
            (TokenPooling::WeightedMean, 1, [22.0 / 5.0, 2.0 / 5.0]),
        ] {
            let mut vector = [f32::NAN; 2];
            pooling.pool(&tokens, first, &mut vector);
            assert_eq!(vector, expected, "{pooling:?} from row {first}");
        }
        let mut vector = [0.0];
        TokenPooling::Max.pool(&[1.0, f32::NAN, 2.0], 0, &mut vector);
        assert!(vector[0].is_nan(), "a NaN is not lost");
    }
}
