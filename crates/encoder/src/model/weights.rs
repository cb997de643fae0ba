//! The weights of an encoder from safetensors files: each tensor is present, finite and has its
//! expected shape.

mod checkpoint;
mod model2vec;

use std::collections::HashMap;

use rayon::prelude::*;

use super::architecture::Architecture;
use super::description::ModelDescription;
use super::source::ModelFiles;
use super::tensor_names::{EncoderTensors, LinearTensors, TensorNames};
use crate::error::{Error, ErrorKind, Result};
pub use checkpoint::Tensor;
use checkpoint::{Checkpoint, FILE, NOT_OURS};

/// The tensors of a model under their Hugging Face names, without what stands before every name.
#[derive(Debug)]
pub struct ModelWeights<'f> {
    /// Which tensors the encoder has, under which names.
    pub names: EncoderTensors,
    tensors: HashMap<String, Tensor<'f>>,
}

impl<'f> ModelWeights<'f> {
    /// The values of a tensor, row-major; `None` if there is no tensor of this name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(|tensor| &*tensor.data)
    }

    /// All tensors by their name.
    pub fn into_tensors(self) -> HashMap<String, Tensor<'f>> {
        self.tensors
    }
}

/// Reads and checks the tensors of a model. Other tensors of its files (a pooler, the head of a
/// language model) are ignored.
///
/// # Errors
/// `Model` or `OutOfMemory`, naming the file and the tensor.
pub fn read<'f>(files: &'f ModelFiles, description: &ModelDescription) -> Result<ModelWeights<'f>> {
    let spec = &description.encoder;
    let checkpoint = Checkpoint::open(files)?;
    let count = checkpoint.places.len();
    if spec.layer_groups > count {
        let layers = spec.layer_groups;
        return Err(Error::new(
            ErrorKind::Model,
            format!("has {count} tensors, too few for {layers} layers"),
        )
        .in_file(&checkpoint.path)
        .advice(NOT_OURS));
    }
    let (table, prefix) = TensorNames::find(spec.architecture, |name| checkpoint.contains(name));
    let names = EncoderTensors::new(spec, table);
    let folded = match spec.architecture {
        Architecture::StaticEmbedding
            if table.probe != TensorNames::word_embedding(spec.architecture) =>
        {
            model2vec::fold(&checkpoint, table.probe, [spec.vocab_size, spec.hidden])?
        }
        _ => None,
    };
    let of_file = if folded.is_some() { Vec::new() } else { names.shapes() };
    let encoder = of_file.into_iter().map(|(name, shape)| (&checkpoint, prefix, name, shape));

    let mut heads = Vec::new();
    for linear in description.steps.iter().filter_map(LinearTensors::of_step) {
        let mut shapes = Vec::new();
        linear.add_shapes(&mut shapes);
        let directory = linear.name.rsplit_once('/').map_or("", |(directory, _)| directory);
        heads.push((Checkpoint::open_file(files, &format!("{directory}/{FILE}"))?, shapes));
    }
    let others = heads.iter().flat_map(|(file, shapes)| {
        shapes.iter().map(move |(n, s)| (file, "", n.clone(), s.clone()))
    });

    let wanted: Vec<_> = encoder.chain(others).collect();
    // Collected in order, so that of several invalid tensors the first is named.
    let tensors: Vec<Result<(String, Tensor<'_>)>> = wanted
        .into_par_iter()
        .map(|(file, prefix, name, shape)| {
            // The tensors of a step are named after its directory, which its file does not know.
            let own = name.rsplit('/').next().unwrap_or(&name).to_owned();
            let tensor = file.read(prefix, &own, shape)?;
            Ok((name, tensor))
        })
        .collect();
    let mut tensors: HashMap<_, _> = tensors.into_iter().collect::<Result<_>>()?;
    tensors.extend(folded.map(|tensor| (table.probe.to_owned(), tensor)));
    Ok(ModelWeights { names, tensors })
}
