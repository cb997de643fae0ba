//! The tensors of a checkpoint, by their names.

use std::borrow::Cow;

use reembed_kernels::{
    AlignedBuffer, Arithmetic, Dense, F32Linear, Heads, Isa, LayerNorm, RmsNorm,
};

use super::shape::PackedError;
use crate::model::spec::{NormKind, NormSpec};
use crate::model::tensor_names::{LinearTensors, NormTensors, TableTensor};

/// The tensors of a checkpoint, and how they are packed.
pub(super) struct Tensors<'f, 't> {
    pub find: &'f (dyn Fn(&str) -> Option<Cow<'t, [f32]>> + Sync),
    pub arithmetic: Arithmetic,
    pub norm: &'f NormSpec,
}

/// A norm of either kind.
#[derive(Debug)]
pub(super) enum Norm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

impl Norm {
    /// Normalises each row in place.
    pub fn normalize(&self, isa: Isa, rows: &mut [f32]) {
        match self {
            Norm::Layer(norm) => norm.normalize(isa, rows),
            Norm::Rms(norm) => norm.normalize(isa, rows),
        }
    }
}

impl<'t> Tensors<'_, 't> {
    pub fn get(&self, name: &str, expected: usize) -> Result<Cow<'t, [f32]>, PackedError> {
        let tensor =
            (self.find)(name).ok_or_else(|| PackedError::MissingTensor(name.to_owned()))?;
        if tensor.len() != expected {
            let found = tensor.len();
            return Err(PackedError::TensorSize { name: name.to_owned(), expected, found });
        }
        Ok(tensor)
    }

    pub fn table(&self, table: &TableTensor) -> Result<AlignedBuffer, PackedError> {
        let tensor = self.get(&table.name, table.rows.saturating_mul(table.width))?;
        Ok(AlignedBuffer::from_slice(&tensor)?)
    }

    /// Packs linear layers with the same input as one. `outputs` are the heads of all outputs together.
    pub fn dense(
        &self,
        layers: &[LinearTensors],
        inputs: Heads,
        outputs: Heads,
    ) -> Result<Dense, PackedError> {
        let parts = layers.iter().map(|layer| self.linear(layer)).collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<_> = parts.iter().map(|(weight, bias)| (&**weight, &**bias)).collect();
        Ok(Dense::pack(self.arithmetic, inputs, outputs, &parts)?)
    }

    /// A linear layer that is f32 in every precision.
    pub fn f32_linear(&self, layer: &LinearTensors) -> Result<F32Linear, PackedError> {
        let (weight, bias) = self.linear(layer)?;
        Ok(F32Linear::pack(layer.inputs, &[(&weight, &bias)])?)
    }

    /// Weight and bias; a layer without a bias has one of zeros.
    #[expect(clippy::type_complexity, reason = "two tensors")]
    fn linear(
        &self,
        layer: &LinearTensors,
    ) -> Result<(Cow<'t, [f32]>, Cow<'t, [f32]>), PackedError> {
        let LinearTensors { name, outputs, inputs, has_bias } = layer;
        let weight = self.get(&format!("{name}.weight"), outputs.saturating_mul(*inputs))?;
        let bias = match has_bias {
            true => self.get(&format!("{name}.bias"), *outputs)?,
            false => Cow::Owned(vec![0.0; *outputs]),
        };
        Ok((weight, bias))
    }

    pub fn layer_norm(&self, norm: &NormTensors) -> Result<LayerNorm, PackedError> {
        let weight = self.get(&format!("{}.weight", norm.name), norm.width)?;
        let bias = match norm.has_bias {
            true => self.get(&format!("{}.bias", norm.name), norm.width)?,
            false => Cow::Owned(vec![0.0; norm.width]),
        };
        Ok(LayerNorm::new(&weight, &bias, self.norm.epsilon as f32)?)
    }

    pub fn rms_norm(&self, norm: &NormTensors) -> Result<RmsNorm, PackedError> {
        let mut weight = self.get(&format!("{}.weight", norm.name), norm.width)?;
        if self.norm.kind == NormKind::RmsPlusOne {
            weight.to_mut().iter_mut().for_each(|weight| *weight += 1.0);
        }
        Ok(RmsNorm::new(&weight, self.norm.epsilon as f32)?)
    }

    pub fn norm(&self, norm: &NormTensors) -> Result<Norm, PackedError> {
        Ok(match self.norm.kind {
            NormKind::Layer => Norm::Layer(self.layer_norm(norm)?),
            NormKind::Rms | NormKind::RmsPlusOne => Norm::Rms(self.rms_norm(norm)?),
        })
    }
}
