//! Reference kernels in f64, as the papers define them, without regard for speed.

use crate::activation::Activation;
use crate::heads::AttentionHeads;

/// `input · weightᵀ + bias`: a linear layer with a `weight` of `(bias.len(), inputs)`.
pub fn linear(input: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let mut output = Vec::new();
    for row in input.chunks(inputs) {
        for (weight, bias) in weight.chunks(inputs).zip(bias) {
            output.push(bias + row.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>());
        }
    }
    output
}

/// Multi-head attention, from the queries, keys and values of each token.
pub fn attention(query: &[f64], key: &[f64], value: &[f64], heads: AttentionHeads) -> Vec<f64> {
    biased_attention(query, key, value, heads, |_, _| 0.0)
}

/// As [`attention`]. `bias`, of a head and the distance of a key from the query, is added to their score.
pub fn biased_attention(
    query: &[f64],
    key: &[f64],
    value: &[f64],
    heads: AttentionHeads,
    bias: impl Fn(usize, isize) -> f64,
) -> Vec<f64> {
    let AttentionHeads { queries: heads, keys, divisor } = heads;
    let width = heads.width();
    let length = query.len() / width;
    let mut context = vec![0.0; query.len()];
    for head in 0..heads.count {
        let part = |vectors: &[f64], token: usize| -> Vec<f64> {
            let count = vectors.len() / length / heads.size;
            let head = head / (heads.count / count);
            vectors[(token * count + head) * heads.size..][..heads.size].to_vec()
        };
        assert_eq!(key.len(), length * keys * heads.size, "keys have their heads");
        for at in 0..length {
            let query = part(query, at);
            let scores: Vec<f64> = (0..length)
                .map(|other| {
                    let dot: f64 = query.iter().zip(part(key, other)).map(|(q, k)| q * k).sum();
                    dot / f64::from(divisor).sqrt() + bias(head, other as isize - at as isize)
                })
                .collect();
            let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = scores.iter().map(|score| (score - maximum).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for (other, power) in powers.iter().enumerate() {
                for (i, value) in part(value, other).into_iter().enumerate() {
                    context[at * width + head * heads.size + i] += power / sum * value;
                }
            }
        }
    }
    context
}

/// Layer normalisation of `rows`, `(rows, weight.len())`, in place.
pub fn layer_norm(rows: &mut [f64], weight: &[f64], bias: &[f64], epsilon: f64) {
    for row in rows.chunks_mut(weight.len()) {
        let count = row.len() as f64;
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *x = (*x - mean) / (variance + epsilon).sqrt() * weight + bias;
        }
    }
}

/// The activation of one value.
pub fn activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Gelu => 0.5 * x * erfc(-x / std::f64::consts::SQRT_2),
        Activation::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + u.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

/// 1 − erf(x), by its series for |x| < 2 and by its continued fraction beyond.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        let mut term = x;
        let mut sum = x;
        for n in 1..60 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum;
    }
    let mut fraction = x;
    for n in (1..120).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    (-x * x).exp() / std::f64::consts::PI.sqrt() / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_matches_published_tables() {
        // Abramowitz and Stegun, table 7.1, and its complement.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (-1.0, 1.842_700_792_949_715),
        ] {
            assert!((erfc(x) - expected).abs() < 1e-14, "erfc({x}) = {}", erfc(x));
        }
    }
}
