//! The encoder on candle-transformers' `BertModel`: the reference on the CPU, and the one that runs
//! on a GPU.
//!
//! A batch is padded to its longest text. Padding changes the order of additions, so this encoder
//! is not batch-invariant: on the CPU a component differs by less than 1e-6 between batches.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use candle_core::{DType, Device as CandleDevice, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, HiddenAct, PositionEmbeddingType};
use rayon::ThreadPool;

use super::architecture::Architecture;
use super::config::Device;
use super::description::ModelDescription;
use super::encoder::{EncodeError, Encoder};
use super::resources::start_threads;
use super::spec::{Activation, EncoderSpec, Step, TokenPooling};
use super::weights::ModelWeights;
use crate::batch::TokenBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::BatchShape;

/// A BERT encoder on candle.
pub struct CandleEncoder {
    bert: BertModel,
    pool: ThreadPool,
    device: CandleDevice,
    spec: EncoderSpec,
    pooling: TokenPooling,
    normalize: bool,
}

/// The pooling of a model that candle runs: BERT with mean or cls pooling, perhaps scaled to length 1.
///
/// # Errors
/// `Config` if it is any other model.
pub fn check(description: &ModelDescription) -> Result<TokenPooling> {
    let refuse = |what: String| {
        let message = format!("`compute.engine` is candle, which has no {what}");
        Err(Error::new(ErrorKind::Config, message).advice(
            "set `compute.engine` to \"packed\" and `compute.device` to \"cpu\", or remove both",
        ))
    };
    let architecture = description.encoder.architecture;
    if architecture != Architecture::Bert {
        return refuse(format!("{architecture}; it has BERT only"));
    }
    if hidden_act(description.encoder.feed_forward.activation).is_none() {
        return refuse(format!("activation {:?}", description.encoder.feed_forward.activation));
    }
    if description.excludes_prompt() {
        return refuse("pooling without the prompt".to_owned());
    }
    match (&description.pooling.modes[..], &description.steps[..]) {
        ([pooling @ (TokenPooling::Mean | TokenPooling::Cls)], [] | [Step::Normalize]) => {
            Ok(*pooling)
        }
        (_, [] | [Step::Normalize]) => refuse(format!("pooling {}", description.pooling.names())),
        _ => refuse("linear layers after the pooling".to_owned()),
    }
}

/// The numerics version on a device, as [`Encoder::numerics`].
pub fn numerics(device: Device) -> &'static str {
    match device {
        Device::Cpu => "candle-0.11-cpu-f32",
        Device::Cuda(_) => "candle-0.11-cuda-f32",
    }
}

/// The hardware that an encoder on a device uses, for people.
pub fn runs_on(device: Device, threads: NonZeroUsize) -> String {
    match device {
        Device::Cpu => format!("candle, {threads} threads"),
        Device::Cuda(_) => "candle, CUDA".to_owned(),
    }
}

impl CandleEncoder {
    /// Loads the weights onto the device.
    ///
    /// # Errors
    /// `Config` if the device is missing or not compiled in; `Model` if candle rejects the weights.
    pub fn new(
        weights: ModelWeights<'_>,
        description: &ModelDescription,
        device: Device,
        threads: NonZeroUsize,
    ) -> Result<Self> {
        let pooling = check(description)?;
        let device = open_device(device)?;
        // candle uses the rayon pool that it is called in.
        let pool = start_threads(threads, "the model")?;
        let refuse = |cause| {
            Error::new(ErrorKind::Model, "candle cannot load the weights")
                .caused_by(first_line(cause))
        };
        let tensors = weights
            .into_tensors()
            .into_iter()
            .map(|(name, tensor)| {
                Ok((name, Tensor::from_slice(&tensor.data, tensor.shape, &device)?))
            })
            .collect::<candle_core::Result<HashMap<_, _>>>()
            .map_err(refuse)?;
        let variables = VarBuilder::from_tensors(tensors, DType::F32, &device);
        let bert = BertModel::load(variables, &config(&description.encoder)).map_err(refuse)?;
        Ok(CandleEncoder {
            bert,
            pool,
            device,
            spec: description.encoder.clone(),
            pooling,
            normalize: description.normalizes(),
        })
    }

    /// Computes the pooled vectors of a batch, `(rows, hidden)`, row-major.
    fn forward(&self, batch: &TokenBatch) -> candle_core::Result<Vec<f32>> {
        let BatchShape { rows, longest, .. } = batch.shape();
        let mut ids = Vec::with_capacity(rows * longest);
        let mut real = Vec::with_capacity(rows * longest);
        for text in batch.texts() {
            let padding = longest - text.len();
            ids.extend_from_slice(text);
            ids.extend(std::iter::repeat_n(self.spec.pad_token, padding));
            real.extend(std::iter::repeat_n(1f32, text.len()));
            real.extend(std::iter::repeat_n(0f32, padding));
        }
        let ids = Tensor::from_vec(ids, (rows, longest), &self.device)?;
        let real = Tensor::from_vec(real, (rows, longest), &self.device)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&real))?;

        let pooled = match self.pooling {
            TokenPooling::Cls => hidden.narrow(1, 0, 1)?.squeeze(1)?,
            // [`check`] allows no other.
            _ => {
                let sum = hidden.broadcast_mul(&real.unsqueeze(2)?)?.sum(1)?;
                sum.broadcast_div(&real.sum_keepdim(1)?)?
            }
        };
        let vectors = if self.normalize {
            pooled.broadcast_div(&pooled.sqr()?.sum_keepdim(1)?.sqrt()?)?
        } else {
            pooled
        };
        vectors.flatten_all()?.to_vec1()
    }
}

impl Encoder for CandleEncoder {
    fn dim(&self) -> usize {
        self.spec.hidden
    }

    fn is_batch_invariant(&self) -> bool {
        false
    }

    fn pads(&self) -> bool {
        true
    }

    fn normalizes(&self) -> bool {
        self.normalize
    }

    fn numerics(&self) -> &'static str {
        numerics(match self.device.is_cpu() {
            true => Device::Cpu,
            false => Device::Cuda(0),
        })
    }

    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        self.device.is_cpu().then(|| bytes_for(&self.spec, shape))
    }

    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        if batch.is_empty() {
            return Ok(());
        }
        if batch.unpooled() > 0 {
            return Err(EncodeError::Failed(
                "this engine cannot leave a prompt out of the pooling".into(),
            ));
        }
        let encoded = self.pool.install(|| self.forward(batch)).map_err(|cause| {
            if is_out_of_memory(&cause) {
                EncodeError::OutOfMemory { shape: batch.shape(), cause: first_line(cause) }
            } else {
                EncodeError::Failed(first_line(cause))
            }
        })?;
        if encoded.len() != vectors.len() {
            let (found, expected) = (encoded.len(), vectors.len());
            return Err(EncodeError::Failed(
                format!("the model returned {found} components, expected {expected}").into(),
            ));
        }
        vectors.copy_from_slice(&encoded);
        Ok(())
    }
}

/// The peak memory of a forward pass of candle's `BertModel` on the CPU, in bytes.
///
/// For B texts of L tokens, with S = 4 · heads · B · L² (scores) and H = 4 · hidden · B · L (hidden
/// states): attention holds 5 S + 8 H, the feed-forward layer 3.5 H and two tensors of its own
/// width. Measured for all-MiniLM-L6-v2 at B = 32, L = 256: 605 MB; this formula: 604.
fn bytes_for(bert: &EncoderSpec, batch: BatchShape) -> u64 {
    let tokens = batch.padded_tokens() as u64;
    let scores = 4 * bert.attention.heads as u64 * tokens * batch.longest as u64;
    let hidden = 4 * bert.hidden as u64 * tokens;
    let wide = 4 * bert.feed_forward.width as u64 * tokens;
    (5 * scores + 8 * hidden).max(7 * hidden / 2 + 2 * wide)
}

/// The activation in candle; `None` if candle's BERT does not have it.
fn hidden_act(activation: Activation) -> Option<HiddenAct> {
    match activation {
        Activation::Gelu => Some(HiddenAct::Gelu),
        Activation::GeluTanh => Some(HiddenAct::GeluApproximate),
        Activation::Relu => Some(HiddenAct::Relu),
        Activation::Silu | Activation::Tanh => None,
    }
}

fn config(bert: &EncoderSpec) -> Config {
    Config {
        vocab_size: bert.vocab_size,
        hidden_size: bert.hidden,
        num_hidden_layers: bert.layers,
        num_attention_heads: bert.attention.heads,
        intermediate_size: bert.feed_forward.width,
        // [`check`] allows no other.
        hidden_act: hidden_act(bert.feed_forward.activation).unwrap_or(HiddenAct::Gelu),
        hidden_dropout_prob: 0.0,
        max_position_embeddings: bert.max_tokens,
        type_vocab_size: bert.embeddings.token_types,
        initializer_range: 0.02,
        layer_norm_eps: bert.norm.epsilon,
        pad_token_id: bert.pad_token as usize,
        position_embedding_type: PositionEmbeddingType::Absolute,
        use_cache: false,
        classifier_dropout: None,
        model_type: None,
    }
}

#[cfg(feature = "cuda")]
fn open_device(device: Device) -> Result<CandleDevice> {
    match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda(index) => CandleDevice::new_cuda(index).map_err(|cause| {
            Error::new(
                ErrorKind::Config,
                format!("`compute.device`: cuda:{index} cannot be opened"),
            )
            .advice("check `nvidia-smi`, or set device = \"cpu\"")
            .caused_by(first_line(cause))
        }),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_device(device: Device) -> Result<CandleDevice> {
    match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda(index) => Err(Error::new(
            ErrorKind::Config,
            format!("`compute.device` is cuda:{index}, but this program was built without CUDA"),
        )
        .advice("build it with `cargo build --release --features cuda`, or set device = \"cpu\"")),
    }
}

/// Whether the GPU is out of memory. candle boxes the error of the driver, possibly inside other
/// errors.
#[cfg(feature = "cuda")]
fn is_out_of_memory(error: &candle_core::Error) -> bool {
    use candle_core::cuda_backend::CudaError;
    use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
    use candle_core::cuda_backend::cudarc::driver::{DriverError, sys::CUresult};

    let driver = |error: &DriverError| error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    match error {
        candle_core::Error::WithBacktrace { inner, .. }
        | candle_core::Error::Context { inner, .. }
        | candle_core::Error::WithPath { inner, .. } => is_out_of_memory(inner),
        candle_core::Error::Cuda(boxed) => match boxed.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(error)) => driver(error),
            Some(CudaError::Load { cuda, .. }) => driver(cuda),
            Some(CudaError::Cublas(error)) => error.0 == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED,
            Some(_) => false,
            None => boxed.downcast_ref::<DriverError>().is_some_and(driver),
        },
        _ => false,
    }
}

/// On the CPU a failed allocation ends the process. `bytes_for` is checked before a batch runs.
#[cfg(not(feature = "cuda"))]
fn is_out_of_memory(_: &candle_core::Error) -> bool {
    false
}

/// The first line of an error of candle. The rest is a backtrace.
fn first_line(error: candle_core::Error) -> Box<dyn std::error::Error + Send + Sync> {
    error.to_string().lines().next().unwrap_or_default().to_owned().into()
}

#[cfg(feature = "cuda")]
#[cfg(test)]
mod tests {
    use candle_core::cuda_backend::CudaError;
    use candle_core::cuda_backend::cudarc::cublas::{result::CublasError, sys::cublasStatus_t};
    use candle_core::cuda_backend::cudarc::driver::{DriverError, sys::CUresult};

    use super::*;

    #[test]
    fn out_of_memory_is_found_inside_errors_of_candle() {
        let driver = |code| CudaError::Cuda(DriverError(code));
        let load =
            |code| CudaError::Load { cuda: DriverError(code), module_name: "reduce".to_owned() };
        let cublas = |status| CudaError::Cublas(CublasError(status));
        // Their text is not compared: it comes from the driver, which a test machine lacks.
        let cases = [
            (driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY), true),
            (load(CUresult::CUDA_ERROR_OUT_OF_MEMORY), true),
            (cublas(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED), true),
            (driver(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS), false),
            (load(CUresult::CUDA_ERROR_NO_DEVICE), false),
            (cublas(cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED), false),
            (CudaError::InternalError("out of memory"), false),
        ];
        for (number, (error, is_memory)) in cases.into_iter().enumerate() {
            let error = candle_core::Error::Cuda(Box::new(error));
            let wrapped = error.context("while a layer ran").with_path("here").bt();
            assert_eq!(is_out_of_memory(&wrapped), is_memory, "case {number}");
        }
        let bare = DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert!(is_out_of_memory(&candle_core::Error::Cuda(Box::new(bare))));
        assert!(!is_out_of_memory(&candle_core::Error::Msg("out of memory".to_owned())));
    }
}
