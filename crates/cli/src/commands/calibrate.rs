//! `reembed calibrate`: measures the ranges of components that int8 and uint8 vectors count in steps of.

use std::path::Path;

use anyhow::Result;
use reembed::config::{CalibrationConfig, Origin, RawConfig};
use reembed::figures::count;
use reembed::reader::{Decoded, Reader};
use reembed::vectors::{Ranges, RangesFile};
use reembed::{Error, ErrorKind, Event, Stop, calibrate as measuring, pipeline};
use reembed_encoder::model;

use super::config::{environment, load_file};
use crate::cli::{CalibrateArgs, Logging};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::text::{printable, printable_path, table};
use crate::{atomic_file, print};

/// `reembed calibrate`.
pub fn calibrate(args: &CalibrateArgs, logging: &Logging) -> Result<Exit> {
    let config = load(args)?;
    let output = args.output.as_deref().or(config.ranges.as_deref()).ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no file to write the ranges to")
            .advice("name one with --output, or set `vector.ranges`")
    })?;
    check_replaceable(output)?;
    let reader = Reader::open(&config.input, &config.text, Decoded::Text)?;
    let progress = Progress::new(logging);
    let on_progress = |event| progress.event(Event::Model(event));
    let precedents = pipeline::calibration_precedents(&config, &|event| progress.event(event))?;
    let model = model::load_until(&config.model, &precedents, &Stop::new(), &on_progress)?;
    progress.model_notes(&model.facts.notes);
    let sample = args.sample.get() as u64;
    progress.step(&format!("embedding {} rows", count(sample.min(reader.rows()))));
    let ranges = measuring::calibrate(&config, &reader, &model, sample);
    progress.finish();
    let ranges = ranges.map_err(|error| match error.place().file() {
        Some(_) => error,
        None => error.in_file(&config.input.path),
    })?;
    let text = ranges.to_json().map_err(|cause| {
        Error::new(ErrorKind::Internal, "the ranges cannot be written as JSON").caused_by(cause)
    })?;
    atomic_file::write(output, &text).map_err(|cause| {
        Error::new(ErrorKind::Target, "the ranges cannot be written")
            .in_file(output)
            .advice("name a file in a directory that exists and can be written to")
            .caused_by(cause)
    })?;
    // What a run will read, and its digest.
    let written = Ranges::read(output)?;
    print::result_or_warn(&summary(&ranges, &written, &reader, output));
    Ok(Exit::Done)
}

/// The configuration: the file, then the environment, the flags, and IN.
fn load(args: &CalibrateArgs) -> Result<CalibrationConfig> {
    let flags = |raw: &mut RawConfig| {
        let mut faults: Vec<Error> = args.flags.apply_to(raw).err().into_iter().collect();
        if let Some(path) = &args.input_path {
            faults.extend(raw.set_path("input.path", path, Origin::Flag("IN")).err());
        }
        Error::all(faults).map_or(Ok(()), Err)
    };
    let raw = load_file(&args.file, flags)?.raw;
    Ok(raw.check_calibration(&environment())?)
}

/// Refuses to replace a file that holds no ranges.
fn check_replaceable(output: &Path) -> reembed::Result<()> {
    if output.symlink_metadata().is_err() {
        return Ok(());
    }
    Ranges::read(output).map(drop).map_err(|cause| {
        Error::new(ErrorKind::Target, "the existing file is not replaced, because it has no ranges")
            .in_file(output)
            .advice("name another file with --output, or delete this one")
            .caused_by(cause)
    })
}

fn summary(ranges: &RangesFile, written: &Ranges, reader: &Reader, output: &Path) -> String {
    let scaled = if ranges.normalize { ", scaled to length 1" } else { "" };
    table(&[
        ("rows", format!("{} of {} embedded", count(ranges.rows), count(reader.rows()))),
        ("components", format!("{}{scaled}", ranges.dims)),
        ("model", format!("{}, fingerprint {:.12}", printable(&ranges.model), ranges.fingerprint)),
        ("precision", ranges.precision.clone()),
        ("ranges", printable_path(output)),
        ("SHA-256", written.sha256().to_owned()),
    ])
}
