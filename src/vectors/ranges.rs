//! The file with the ranges of components, which `reembed calibrate` writes and `vector.ranges` names.
//!
//! It is JSON: what the values come from, and the least and the greatest value of each component. Equal
//! ranges have equal bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::hash::hex;
use reembed_encoder::model::identity::ModelIdentity;
use reembed_kernels::Precision;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::components::Components;
use super::quantize::Steps;

/// The value of `format` in the file.
const FORMAT: &str = "reembed-ranges/1";

/// Largest size of the file in bytes. A larger file has no ranges.
const LARGEST_FILE: u64 = 64 << 20;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RangesFile {
    format: String,
    /// The fingerprint of the model that made the values.
    pub fingerprint: String,
    /// The name of the model, for people.
    pub model: String,
    /// The precision in which the model computed the values.
    pub precision: String,
    /// Number of components of a value.
    pub dims: usize,
    /// Whether the values were scaled to length 1.
    pub normalize: bool,
    /// Number of rows whose vectors were measured.
    pub rows: u64,
    /// The least value of each component.
    #[serde(deserialize_with = "exact_floats")]
    pub min: Vec<f32>,
    /// The greatest value of each component.
    #[serde(deserialize_with = "exact_floats")]
    pub max: Vec<f32>,
}

/// Ranges of components, read from their file.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    content: RangesFile,
    sha256: String,
}

/// The least and greatest value of each component so far.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeMeter {
    rows: u64,
    min: Vec<f32>,
    max: Vec<f32>,
}

impl RangeMeter {
    /// A meter of `dims` components.
    pub fn new(dims: usize) -> RangeMeter {
        RangeMeter { rows: 0, min: vec![f32::INFINITY; dims], max: vec![f32::NEG_INFINITY; dims] }
    }

    /// Adds the components of one row.
    pub fn add(&mut self, components: &[f32]) {
        self.rows += 1;
        for ((min, max), value) in self.min.iter_mut().zip(&mut self.max).zip(components) {
            // Adding 0 makes a negative zero positive, so that bytes do not depend on the order of rows.
            *min = min.min(*value + 0.0);
            *max = max.max(*value + 0.0);
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The content of the file. The values are `components` of this model.
    pub fn finish(self, model: &ModelIdentity, components: &Components) -> RangesFile {
        RangesFile {
            format: FORMAT.to_owned(),
            fingerprint: model.fingerprint(),
            model: model.id.clone(),
            precision: model.precision.clone(),
            dims: components.kept(),
            normalize: components.normalize(),
            rows: self.rows,
            min: self.min,
            max: self.max,
        }
    }
}

impl RangesFile {
    /// The bytes of the file, one line for each field.
    ///
    /// # Errors
    /// Those of JSON.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut text = String::from("{");
        let fields: [(&str, String); 9] = [
            ("format", serde_json::to_string(&self.format)?),
            ("fingerprint", serde_json::to_string(&self.fingerprint)?),
            ("model", serde_json::to_string(&self.model)?),
            ("precision", serde_json::to_string(&self.precision)?),
            ("dims", self.dims.to_string()),
            ("normalize", self.normalize.to_string()),
            ("rows", self.rows.to_string()),
            ("min", serde_json::to_string(&self.min)?),
            ("max", serde_json::to_string(&self.max)?),
        ];
        for (number, (name, value)) in fields.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            text.push_str(&format!("{comma}\n  \"{name}\": {value}"));
        }
        text.push_str("\n}\n");
        Ok(text)
    }

    fn parse(bytes: &[u8]) -> Result<RangesFile, String> {
        #[derive(Deserialize)]
        struct Named {
            format: String,
        }
        let no_ranges = |cause: serde_json::Error| format!("it is no file of ranges: {cause}");
        let Named { format } = serde_json::from_slice(bytes).map_err(no_ranges)?;
        if format != FORMAT {
            return Err(format!("its format is {format:.40?}; this version reads {FORMAT:?}"));
        }
        let content: RangesFile = serde_json::from_slice(bytes).map_err(no_ranges)?;
        let RangesFile { dims, min, max, .. } = &content;
        if *dims == 0 || min.len() != *dims || max.len() != *dims {
            let (min, max) = (min.len(), max.len());
            return Err(format!(
                "it has {min} least and {max} greatest values for {dims} components"
            ));
        }
        let is_range = |(min, max): (&f32, &f32)| min <= max && (max - min).is_finite();
        match min.iter().zip(max).position(|range| !is_range(range)) {
            Some(at) => Err(format!("component {at} has no range from {} to {}", min[at], max[at])),
            None => Ok(content),
        }
    }
}

impl Ranges {
    /// Reads a file.
    ///
    /// # Errors
    /// `Config`, naming the file, when it cannot be read or is not one of ranges.
    pub fn read(path: &Path) -> Result<Ranges> {
        let refuse = |message: String| {
            Error::new(ErrorKind::Config, message).in_file(path).advice(
                "write it with `reembed calibrate`, or name another file with `vector.ranges`",
            )
        };
        let unreadable =
            |cause| refuse("the ranges of components cannot be read".to_owned()).caused_by(cause);
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(refuse(format!(
                "the file is larger than {LARGEST_FILE} bytes and is no file of ranges"
            )));
        }
        let content = RangesFile::parse(&bytes).map_err(refuse)?;
        Ok(Ranges { content, sha256: hex(&Sha256::digest(&bytes)) })
    }

    /// SHA-256 of the file in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What the file says.
    pub fn content(&self) -> &RangesFile {
        &self.content
    }

    /// Checks that the ranges are those of `components` of this model.
    ///
    /// # Errors
    /// `Config`, without the file, saying what differs.
    pub fn check(&self, model: &ModelIdentity, components: &Components) -> Result<()> {
        let RangesFile { dims, normalize, fingerprint, .. } = &self.content;
        let scaled = |scaled: bool| if scaled { "scaled to length 1" } else { "not scaled" };
        let message = if let Some(measured) = self.other_precision(model) {
            let used = &model.precision;
            let message =
                format!("the ranges were measured in {measured}, and this run computes in {used}");
            return Err(Error::new(ErrorKind::Config, message).advice(format!(
                "measure them again with `reembed calibrate --precision {used}`, or set \
                 `compute.precision` to \"{measured}\"; a precision that is set is the same on every \
                 machine"
            )));
        } else if *fingerprint != model.fingerprint() {
            format!(
                "the ranges were measured with another model: {:.80?}, fingerprint {fingerprint:.12}; \
                 that of this run is {:.12}",
                self.content.model,
                model.fingerprint()
            )
        } else if *dims != components.kept() {
            format!("the ranges have {dims} components, but vectors have {}", components.kept())
        } else if *normalize != components.normalize() {
            let (measured, used) = (scaled(*normalize), scaled(components.normalize()));
            format!("the ranges are of vectors that are {measured}, but here they are {used}")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Config, message).advice(
            "measure them again with `reembed calibrate` under this configuration; a new file changes \
             all vectors of the output",
        ))
    }

    /// The precision of the ranges, if they are of `model` in everything but its precision.
    fn other_precision(&self, model: &ModelIdentity) -> Option<Precision> {
        let measured = Precision::parse(&self.content.precision)?;
        let there = ModelIdentity {
            precision: measured.as_str().to_owned(),
            numerics: measured.numerics().to_owned(),
            ..model.clone()
        };
        let is_it = model.packed_precision().is_some_and(|used| used != measured)
            && there.fingerprint() == self.content.fingerprint;
        is_it.then_some(measured)
    }

    /// The steps of each component.
    pub fn steps(&self) -> Vec<Steps> {
        let ranges = self.content.min.iter().zip(&self.content.max);
        ranges.map(|(min, max)| Steps::new(*min, *max)).collect()
    }
}

/// Floats as their text says: going through f64 would round twice.
fn exact_floats<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
    use serde::de::Error as _;
    let texts = Vec::<Box<serde_json::value::RawValue>>::deserialize(from)?;
    let parse =
        |text: &str| text.parse().map_err(|_| D::Error::custom(format!("{text:.40} is no number")));
    texts.iter().map(|text| parse(text.get())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footer::tests::footer;

    /// A model that the packed engine runs in this precision.
    fn model(precision: Precision, prompt: &str) -> ModelIdentity {
        ModelIdentity {
            id: "a/b".to_owned(),
            precision: precision.as_str().to_owned(),
            numerics: precision.numerics().to_owned(),
            prompt: prompt.to_owned(),
            ..footer().lineage.model
        }
    }

    fn measured(rows: &[[f32; 3]]) -> RangesFile {
        let mut meter = RangeMeter::new(3);
        rows.iter().for_each(|row| meter.add(row));
        meter.finish(&model(Precision::F32, ""), &Components::first(3, 4, false))
    }

    #[test]
    fn file_has_the_extremes_and_reads_back_as_it_was_written() {
        let ranges = measured(&[[0.1, -0.0, 3e-39], [-0.7, 0.0, 16_777_216.0]]);
        let text = ranges.to_json().expect("JSON");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[7..10],
            ["  \"rows\": 2,", "  \"min\": [-0.7,0.0,3e-39],", "  \"max\": [0.1,0.0,16777216.0]"]
        );
        assert_eq!(RangesFile::parse(text.as_bytes()), Ok(ranges));
    }

    #[test]
    fn every_float_reads_back_with_its_bits() {
        let bits = (0..300_000u32).map(|n| n.wrapping_mul(0x9e37_79b1));
        let values: Vec<f32> = bits.map(f32::from_bits).filter(|value| value.is_finite()).collect();
        let text = serde_json::to_string(&values).expect("JSON");
        let mut from = serde_json::Deserializer::from_str(&text);
        let read = exact_floats(&mut from).expect("floats");
        assert!(read.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn what_is_no_file_of_ranges_is_refused() {
        let good = measured(&[[0.0, 1.0, 2.0]]).to_json().expect("JSON");
        for (text, message) in [
            (String::new(), "it is no file of ranges"),
            ("{}".to_owned(), "missing field `format`"),
            (good.replace("ranges/1", "ranges/2"), "its format is \"reembed-ranges/2\""),
            (good.replace("\"dims\": 3", "\"dims\": 4"), "3 least and 3 greatest values for 4"),
            (
                good.replace("\"min\": [0.0", "\"min\": [7.0"),
                "component 0 has no range from 7 to 0",
            ),
            (good.replace("\"max\": [0.0", "\"max\": [1e99"), "component 0 has no range"),
            (good.replace("\"max\": [0.0", "\"max\": [null"), "null is no number"),
        ] {
            let refused = RangesFile::parse(text.as_bytes()).expect_err("not ranges");
            assert!(refused.contains(message), "{text}: {refused}");
        }
    }

    #[test]
    fn ranges_of_another_model_width_or_scale_are_refused() {
        let ranges = Ranges { content: measured(&[[0.0; 3]]), sha256: String::new() };
        let check = |model: &ModelIdentity, kept, normalize| {
            ranges.check(model, &Components::first(kept, 4, normalize))
        };
        let (same, other) = (model(Precision::F32, ""), model(Precision::F32, "query: "));
        assert!(check(&same, 3, false).is_ok());
        let another = format!("another model: \"a/b\", fingerprint {:.12}", same.fingerprint());
        for (model, kept, normalize, message) in [
            (&other, 3, false, another.as_str()),
            (&same, 4, false, "3 components, but vectors have 4"),
            (&same, 3, true, "that are not scaled, but here they are scaled to length 1"),
        ] {
            let error = check(model, kept, normalize).expect_err("other values");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn ranges_of_another_precision_say_how_to_pin_it() {
        let components = Components::first(3, 4, false);
        let candle = |precision| ModelIdentity {
            numerics: "candle-0.11-cpu-f32".to_owned(),
            ..model(precision, "")
        };
        let packed = |precision| model(precision, "");
        for (there, here, precisions) in [
            (packed(Precision::Bf16), packed(Precision::F32), Some(["bf16", "f32"])),
            (packed(Precision::F32), packed(Precision::Bf16), Some(["f32", "bf16"])),
            (packed(Precision::Bf16x3), packed(Precision::Bf16), Some(["bf16x3", "bf16"])),
            // Not only the precision differs.
            (packed(Precision::Bf16), model(Precision::F32, "query: "), None),
            (candle(Precision::F32), packed(Precision::F32), None),
            (candle(Precision::F32), packed(Precision::Bf16), None),
            (packed(Precision::F32), candle(Precision::F32), None),
            (packed(Precision::Bf16), candle(Precision::F32), None),
        ] {
            let mut meter = RangeMeter::new(3);
            meter.add(&[0.0; 3]);
            let content = meter.finish(&there, &components);
            let ranges = Ranges { content, sha256: String::new() };
            assert!(ranges.check(&there, &components).is_ok());
            let error = ranges.check(&here, &components).expect_err("other values");
            let (message, advice) = (error.to_string(), error.advice_text().unwrap_or(""));
            let Some([measured, used]) = precisions else {
                assert!(message.contains("another model"), "{message}");
                continue;
            };
            let expected = format!("measured in {measured}, and this run computes in {used}");
            assert!(message.contains(&expected), "{message}");
            for part in [
                format!("`reembed calibrate --precision {used}`"),
                format!("`compute.precision` to \"{measured}\""),
            ] {
                assert!(advice.contains(&part), "{advice}");
            }
        }
    }
}
