//! The modules of a model: the transformer, the pooling and the steps after it.

use serde::Deserialize;

use crate::error::Result;
use crate::model::json::{DAMAGED, json, quote, refuse, required_json};
use crate::model::module_class::{self, ModuleClass};
use crate::model::source::ModelFiles;
use crate::model::spec::{Activation, DenseSpec, Step};

const FILE: &str = "modules.json";

#[derive(Deserialize)]
pub(super) struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// The modules after the transformer.
pub(super) struct Modules {
    /// The directory of the pooling module; `None` means the mean, as in sentence-transformers.
    pub pooling: Option<String>,
    /// Those after the pooling, in this order.
    pub after: Vec<Module>,
}

/// Reads the list of modules.
pub(super) fn modules(files: &ModelFiles) -> Result<Modules> {
    let Some(mut list) = json::<Vec<Module>>(files, FILE)? else {
        return Ok(Modules { pooling: None, after: Vec::new() });
    };
    use ModuleClass::{Pooling, StaticEmbedding, Transformer};
    let refuse_list = |why: String| refuse(files, FILE, module_class::KEY).with(why);
    let classes = list.iter().map(|module| ModuleClass::judge(&module.kind).map_err(refuse_list));
    let classes: Vec<ModuleClass> = classes.collect::<Result<_>>()?;
    let follow = |after: &[ModuleClass]| {
        !after.iter().any(|class| [Transformer, StaticEmbedding, Pooling].contains(class))
    };
    match &classes[..] {
        [StaticEmbedding, after @ ..] if follow(after) => {
            return Ok(Modules { pooling: None, after: list.split_off(1) });
        }
        [Transformer, Pooling, after @ ..] if follow(after) => {}
        _ => {
            let names: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
            return Err(refuse_list(format!(
                "the modules are {names:?}; they must be Transformer, Pooling and perhaps others, in this \
                 order, or StaticEmbedding and perhaps others"
            )));
        }
    }
    let after = list.split_off(2);
    Ok(Modules { pooling: list.pop().map(|pooling| pooling.path), after })
}

#[derive(Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    bias: Option<bool>,
    activation_function: Option<String>,
    use_residual: Option<bool>,
    #[serde(flatten)]
    names: ComponentNames,
}

/// What a step after the pooling reads and writes.
#[derive(Deserialize, Default)]
struct ComponentNames {
    module_input_name: Option<String>,
    module_output_name: Option<String>,
}

impl ComponentNames {
    /// Refuses other values than the vector of a text.
    fn check(&self, files: &ModelFiles, file: &str) -> Result<()> {
        for (key, name) in [
            ("module_input_name", &self.module_input_name),
            ("module_output_name", &self.module_output_name),
        ] {
            if let Some(name) = name.as_ref().filter(|name| *name != "sentence_embedding") {
                return Err(refuse(files, file, key).with(format!(
                    "{} is not supported; only \"sentence_embedding\" is",
                    quote(name)
                )));
            }
        }
        Ok(())
    }
}

/// Reads the steps after a pooling whose vectors have `width` components.
pub(super) fn read(files: &ModelFiles, modules: &[Module], width: usize) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut width = width;
    for module in modules {
        match ModuleClass::judge(&module.kind) {
            Ok(ModuleClass::Dense) => {
                let dense = dense(files, &module.path, width)?;
                width = dense.outputs;
                steps.push(Step::Dense(dense));
            }
            Ok(ModuleClass::Normalize) => {
                let file = format!("{}/config.json", module.path);
                json::<ComponentNames>(files, &file)?.unwrap_or_default().check(files, &file)?;
                steps.push(Step::Normalize);
            }
            // Dropout changes nothing when a model is used; others are refused above.
            _ => {}
        }
    }
    Ok(steps)
}

/// A larger size means a damaged or hostile file.
const MAX_WIDTH: usize = 1 << 24;

fn dense(files: &ModelFiles, directory: &str, width: usize) -> Result<DenseSpec> {
    let file = format!("{directory}/config.json");
    let config: DenseConfig = required_json(files, &file)?;
    let damaged =
        |key: &str, message: String| Err(refuse(files, &file, key).with(message).advice(DAMAGED));
    if config.in_features != width {
        let found = config.in_features;
        return damaged("in_features", format!("is {found}, but {width} components come in"));
    }
    if !(1..=MAX_WIDTH).contains(&config.out_features) {
        let found = config.out_features;
        return damaged("out_features", format!("is {found}, out of range 1 to {MAX_WIDTH}"));
    }
    config.names.check(files, &file)?;
    if config.use_residual == Some(true) {
        return Err(refuse(files, &file, "use_residual")
            .with("is true: a sum with what comes in is not supported".to_owned()));
    }
    // The path of a class depends on the version of torch; its name does not. The default is that of
    // sentence-transformers, which also takes it for any class that is not of torch.
    let activation = config.activation_function.as_deref().unwrap_or("torch.nn.Tanh");
    let name = activation.strip_prefix("torch.").and_then(|path| path.rsplit('.').next());
    let activation = match name.unwrap_or("") {
        "Tanh" => Some(Activation::Tanh),
        "Identity" => None,
        "ReLU" => Some(Activation::Relu),
        "GELU" => Some(Activation::Gelu),
        "SiLU" => Some(Activation::Silu),
        _ => {
            return Err(refuse(files, &file, "activation_function").with(format!(
                "{} is not supported; Tanh, Identity, ReLU, GELU and SiLU of torch are",
                quote(activation)
            )));
        }
    };
    Ok(DenseSpec {
        directory: directory.to_owned(),
        inputs: width,
        outputs: config.out_features,
        has_bias: config.bias.unwrap_or(true),
        activation,
    })
}
