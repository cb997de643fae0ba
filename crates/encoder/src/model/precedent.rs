//! The precision of vectors that exist already, which `compute.precision = "auto"` follows.
//!
//! What a CPU computes fastest differs from machine to machine; every CPU computes every precision.
//! So the vectors of one output do not depend on the machine of the night.

use std::fmt;

use reembed_kernels::Precision;

use super::description::ModelDescription;
use super::identity::ModelIdentity;
use super::source::ModelFiles;

/// The models that made the vectors that exist already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precedents {
    /// That of the existing output.
    pub output: Option<ModelIdentity>,
    /// Those that wrote to the vector cache, the last one first.
    pub cache: Vec<ModelIdentity>,
}

/// A precision that was chosen because vectors in it exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowedPrecision {
    /// The precision.
    pub precision: Precision,
    /// Where the vectors are.
    pub place: VectorPlace,
}

/// A place of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorPlace {
    /// The existing output.
    Output,
    /// The vector cache.
    Cache,
}

impl Precedents {
    /// The precision of the first model that is this one in everything but its precision, run by
    /// the packed engine.
    pub(super) fn precision_of(
        &self,
        files: &ModelFiles,
        description: &ModelDescription,
    ) -> Option<FollowedPrecision> {
        let output = self.output.iter().map(|model| (model, VectorPlace::Output));
        let cache = self.cache.iter().map(|model| (model, VectorPlace::Cache));
        output.chain(cache).find_map(|(model, place)| {
            let precision = model.packed_precision()?;
            let ours = ModelIdentity::new(files, description, precision, precision.numerics());
            (ours.fingerprint() == model.fingerprint())
                .then_some(FollowedPrecision { precision, place })
        })
    }
}

impl fmt::Display for VectorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VectorPlace::Output => "the existing output",
            VectorPlace::Cache => "the vector cache",
        })
    }
}

/// `precision bf16, as in the existing output`.
impl fmt::Display for FollowedPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "precision {}, as in {}", self.precision, self.place)
    }
}
