//! `numpy.random.default_rng(seed).standard_normal()`, so that a fixture has the weights of its origin
//! without their bytes.
//!
//! PCG64 (O'Neill, 2014, <https://www.pcg-random.org>), begun from numpy's `SeedSequence`, and the ziggurat of
//! Marsaglia and Tsang (2000, <https://doi.org/10.18637/jss.v005.i08>) with 256 layers.

/// A generator of normally distributed numbers.
pub struct Normal {
    state: u128,
    increment: u128,
    layers: Ziggurat,
}

/// The layers of the ziggurat: the widths, the bounds of certain acceptance, and the heights.
struct Ziggurat {
    widths: [f64; LAYERS],
    bounds: [u64; LAYERS],
    heights: [f64; LAYERS],
}

const LAYERS: usize = 256;
/// Where the tail begins, and its inverse.
const TAIL: f64 = 3.654_152_885_361_009;
const INVERSE_TAIL: f64 = 0.273_661_237_329_758_3;
/// The area of a layer.
const AREA: f64 = 0.004_928_673_233_974_652;
const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

impl Normal {
    /// The generator of a seed.
    pub fn new(seed: u32) -> Self {
        let words = seed_words(seed);
        let wide = |at: usize| u128::from(words[at]) << 64 | u128::from(words[at + 1]);
        let increment = wide(2) << 1 | 1;
        let mut random = Normal { state: 0, increment, layers: Ziggurat::new() };
        random.step();
        random.state = random.state.wrapping_add(wide(0));
        random.step();
        random
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn bits(&mut self) -> u64 {
        self.step();
        let mixed = (self.state >> 64) as u64 ^ self.state as u64;
        mixed.rotate_right((self.state >> 122) as u32)
    }

    /// From 0 to 1.
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next number.
    pub fn next(&mut self) -> f64 {
        loop {
            let bits = self.bits();
            let layer = (bits & 0xff) as usize;
            let magnitude = (bits >> 9) & 0x000f_ffff_ffff_ffff;
            let sign = if bits & 0x100 != 0 { -1.0 } else { 1.0 };
            let x = sign * (magnitude as f64 * self.layers.widths[layer]);
            if magnitude < self.layers.bounds[layer] {
                return x;
            }
            if layer == 0 {
                let sign = if (magnitude >> 8) & 1 != 0 { -1.0 } else { 1.0 };
                return sign * self.beyond_the_tail();
            }
            let [below, above] = [layer - 1, layer].map(|layer| self.layers.heights[layer]);
            if (below - above) * self.uniform() + above < (-0.5 * x * x).exp() {
                return x;
            }
        }
    }

    fn beyond_the_tail(&mut self) -> f64 {
        loop {
            let x = -INVERSE_TAIL * (-self.uniform()).ln_1p();
            let y = -(-self.uniform()).ln_1p();
            if y + y > x * x {
                return TAIL + x;
            }
        }
    }
}

impl Ziggurat {
    fn new() -> Self {
        let unit = (1u64 << 52) as f64;
        let density = |x: f64| (-0.5 * x * x).exp();
        let (mut widths, mut bounds, mut heights) = ([0.0; LAYERS], [0; LAYERS], [1.0; LAYERS]);
        let mut x = TAIL;
        widths[LAYERS - 1] = x / unit;
        heights[LAYERS - 1] = density(x);
        bounds[0] = (x * density(x) / AREA * unit) as u64;
        widths[0] = AREA / density(x) / unit;
        for layer in (1..LAYERS - 1).rev() {
            let outer = x;
            x = (-2.0 * (AREA / outer + heights[layer + 1]).ln()).sqrt();
            bounds[layer + 1] = (x / outer * unit) as u64;
            widths[layer] = x / unit;
            heights[layer] = density(x);
        }
        bounds[1] = 0;
        Ziggurat { widths, bounds, heights }
    }
}

/// Four words from a seed of one: numpy's `SeedSequence`.
fn seed_words(seed: u32) -> [u64; 4] {
    let mut constant = 0x43b0_d7e5_u32;
    let mut hash = |value: u32| {
        let value = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(constant);
        value ^ value >> 16
    };
    let mut pool = [seed, 0, 0, 0].map(&mut hash);
    for from in 0..pool.len() {
        for to in (0..pool.len()).filter(|to| *to != from) {
            let hashed = hash(pool[from]);
            let mixed = 0xca01_f9dd_u32.wrapping_mul(pool[to]);
            let mixed = mixed.wrapping_sub(0x4973_f715_u32.wrapping_mul(hashed));
            pool[to] = mixed ^ mixed >> 16;
        }
    }
    let mut constant = 0x8b51_f9dd_u32;
    let mut word = |at: usize| {
        let value = pool[at % pool.len()] ^ constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        let value = value.wrapping_mul(constant);
        u64::from(value ^ value >> 16)
    };
    std::array::from_fn(|at| word(2 * at) | word(2 * at + 1) << 32)
}

/// CRC-32 (ISO 3309), as `zlib.crc32`.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_numpy() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mut random = Normal::new(12_345);
        let first: Vec<f32> = (0..4).map(|_| random.next() as f32).collect();
        // `numpy.random.default_rng(12345).standard_normal(4)` of numpy 2. Weights are f32; the last bit of a double
        // depends on the exponential function of the platform.
        assert_eq!(first, [-1.423_825, 1.263_728_5, -0.870_661_74, -0.259_173_24]);
    }
}
