//! Rotary position embeddings: components of queries and keys are rotated in pairs by an angle that
//! grows with the position.
//!
//! Su et al., 2021, <https://arxiv.org/abs/2104.09864>, in the form of `transformers`: component i of a
//! head is paired with component i + head / 2, and its angle is `position · θ^(−2i / head)`.

use crate::buffer::{AlignedBuffer, AllocationError};
use crate::isa::Isa;
use crate::simd::{Kernel, LANES, Simd};

/// The angles of each position.
#[derive(Debug)]
pub struct Rotary {
    /// Pairs of a head.
    pairs: usize,
    /// `(positions, pairs)`.
    cosines: AlignedBuffer,
    /// `(positions, pairs)`.
    sines: AlignedBuffer,
}

impl Rotary {
    /// The angles of `positions` positions, for heads of `size` values, an even number.
    ///
    /// # Errors
    /// If the memory for the angles cannot be allocated.
    pub fn new(size: usize, theta: f64, positions: usize) -> Result<Self, AllocationError> {
        let pairs = size / 2;
        let mut cosines = AlignedBuffer::zeroed(positions.saturating_mul(pairs))?;
        let mut sines = AlignedBuffer::zeroed(positions.saturating_mul(pairs))?;
        let step = inverse_root(theta, pairs);
        let rows = cosines.chunks_exact_mut(pairs.max(1)).zip(sines.chunks_exact_mut(pairs.max(1)));
        for (position, (cosines, sines)) in rows.enumerate() {
            let mut frequency = 1.0;
            for (cosine, sine) in cosines.iter_mut().zip(sines) {
                let (sin, cos) = sine_and_cosine(position as f64 * frequency);
                (*sine, *cosine) = (sin as f32, cos as f32);
                frequency *= step;
            }
        }
        Ok(Rotary { pairs, cosines, sines })
    }

    /// Rotates the heads of `heads`, whole ones, of the token at a position.
    ///
    /// # Panics
    /// If the position is beyond the table.
    pub fn rotate(&self, isa: Isa, position: usize, heads: &mut [f32]) {
        let angles = position * self.pairs..(position + 1) * self.pairs;
        let (cosines, sines) = (&self.cosines[angles.clone()], &self.sines[angles]);
        isa.run(RotateHeads { cosines, sines, heads });
    }
}

struct RotateHeads<'a> {
    cosines: &'a [f32],
    sines: &'a [f32],
    heads: &'a mut [f32],
}

impl Kernel for RotateHeads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let pairs = self.cosines.len();
        for head in self.heads.chunks_exact_mut(2 * pairs.max(1)) {
            let (first, second) = head.split_at_mut(pairs);
            let angles = self.cosines.chunks(LANES).zip(self.sines.chunks(LANES));
            let values = first.chunks_mut(LANES).zip(second.chunks_mut(LANES));
            for ((first, second), (cosine, sine)) in values.zip(angles) {
                let (a, b) = (simd.load_partial(first), simd.load_partial(second));
                let (cosine, sine) = (simd.load_partial(cosine), simd.load_partial(sine));
                let rotated = simd.neg_mul_add(b, sine, simd.mul(a, cosine));
                simd.store_partial(rotated, first);
                simd.store_partial(simd.mul_add(a, sine, simd.mul(b, cosine)), second);
            }
        }
    }
}

// The functions of the system's library differ between systems and CPUs in their last bits. These use
// correctly rounded operations only, so that every machine has the same angles.

/// `value^(−1 / n)`, by bisection to the last bit.
fn inverse_root(value: f64, n: usize) -> f64 {
    if n == 0 || value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let (mut low, mut high) = if value >= 1.0 { (0.0, 1.0) } else { (1.0, 1.0 / value) };
    for _ in 0..2000 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        // `middle^n · value` is 1 at the root, and grows.
        match power(middle, n) * value > 1.0 {
            true => high = middle,
            false => low = middle,
        }
    }
    0.5 * (low + high)
}

fn power(base: f64, exponent: usize) -> f64 {
    let (mut result, mut square, mut left) = (1.0, base, exponent);
    while left > 0 {
        if left % 2 == 1 {
            result *= square;
        }
        square *= square;
        left /= 2;
    }
    result
}

/// Of an angle from 0 to some millions.
fn sine_and_cosine(angle: f64) -> (f64, f64) {
    /// π / 2 in three parts, the first two with zeros at their end, so that multiples of them are exact.
    const PARTS: [f64; 3] =
        [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];
    let quarters = (angle * std::f64::consts::FRAC_2_PI).round();
    let rest = PARTS.into_iter().fold(angle, |rest, part| rest - quarters * part);
    // Taylor's series: on ±π/4 the terms that are left out are below 1e-17.
    let square = rest * rest;
    let series = |first: f64, start: u32| {
        let (mut term, mut sum, mut n) = (first, first, start);
        while n < start + 18 {
            term *= -square / f64::from((n + 1) * (n + 2));
            sum += term;
            n += 2;
        }
        sum
    };
    let (sine, cosine) = (series(rest, 1), series(1.0, 0));
    match quarters.rem_euclid(4.0) as u8 {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_match_the_functions_of_the_system() {
        for angle in (0..200_000).map(|n| f64::from(n) * 0.173) {
            let (sine, cosine) = sine_and_cosine(angle);
            let error = (sine - angle.sin()).abs().max((cosine - angle.cos()).abs());
            assert!(error < 4e-16, "{angle}: {error:e}");
        }
        for theta in [1000.0, 10_000.0, 160_000.0, 1e6, 0.5] {
            for pairs in [1, 4, 32, 64, 128] {
                let expected = f64::powf(theta, -1.0 / f64::from(pairs));
                let found = inverse_root(theta, pairs as usize);
                assert!((found / expected - 1.0).abs() < 1e-14, "{theta}, {pairs}: {found}");
            }
        }
    }

    #[test]
    fn heads_are_rotated_by_position() {
        let (size, theta) = (24, 10_000.0);
        let rotary = Rotary::new(size, theta, 50).expect("a small allocation");
        let before: Vec<f32> = (0..3 * size).map(|n| n as f32 * 0.1 - 3.0).collect();
        for position in [0, 1, 49] {
            let mut expected = None;
            for isa in Isa::available() {
                let mut heads = before.clone();
                rotary.rotate(isa, position, &mut heads);
                for (at, value) in heads.iter().enumerate() {
                    let (head, i) = (at / size * size, at % size);
                    let pair = i % (size / 2);
                    let angle = position as f64 * theta.powf(-2.0 * pair as f64 / size as f64);
                    let (a, b) = (before[head + pair], before[head + pair + size / 2]);
                    let (a, b) = (f64::from(a), f64::from(b));
                    let right = match i < size / 2 {
                        true => a * angle.cos() - b * angle.sin(),
                        false => b * angle.cos() + a * angle.sin(),
                    };
                    assert!((f64::from(*value) - right).abs() < 2e-6, "{position}, {at}");
                }
                assert_eq!(*expected.get_or_insert(heads.clone()), heads, "{}", isa.name());
            }
        }
    }
}
