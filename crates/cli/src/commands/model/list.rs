//! `reembed model list`: the architectures that reembed runs.

use anyhow::Result;
use reembed_encoder::model::architecture::Architecture;
use reembed_encoder::model::source::DEFAULT_ID;

use crate::exit::Exit;
use crate::print;

/// Texts per second in f32 and in int16, as BENCHMARKS.md reports them: the sample's task rows, of 59 tokens in the mean,
/// on 2 cores of an AMD EPYC (Zen 4).
const SPEEDS: [(&str, u16, u16); 4] = [
    ("all-MiniLM-L6-v2", 131, 246),
    ("e5-base", 18, 31),
    ("mpnet-base", 18, 33),
    ("gte-modernbert", 14, 26),
];

/// `reembed model list`.
pub fn list() -> Result<Exit> {
    let mut text = format!("{:<14}{:<20}{}\n", "model_type", "architecture", "such models");
    for architecture in Architecture::all() {
        text += &format!(
            "{:<14}{:<20}{}\n",
            architecture.model_type(),
            architecture.to_string(),
            architecture.examples().join(", ")
        );
    }
    text += &format!(
        "\nTried with real weights: {DEFAULT_ID}. The others are proven by shape, with small models: compare one of them \
         with sentence-transformers by `reembed model check`.\n\
         Only {DEFAULT_ID} runs in bf16 or int16 by default, and in f32 on ARM; the others run in f32 unless --precision says otherwise.\n"
    );
    text += &format!("\n{:<22}{:>12}{:>8}\n", "measured, texts/s", "f32", "int16");
    for (model, f32, int16) in SPEEDS {
        text += &format!("{model:<22}{f32:>12}{int16:>8}\n");
    }
    text += "Of some 60 tokens each, on 2 cores of an AMD EPYC (Zen 4). `reembed bench` measures this machine.\n";
    print::result(&text)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_of_the_benchmarks() {
        let benchmarks = include_str!("../../../../../BENCHMARKS.md");
        for (model, f32, int16) in SPEEDS {
            for (precision, listed) in [("f32", f32), ("int16", int16)] {
                // The default model has a table of its own.
                let name = match DEFAULT_ID.ends_with(model) {
                    true => String::new(),
                    false => format!("{model} | "),
                };
                let begins = format!("| {name}**reembed {precision}**, its own plan | ");
                let row = benchmarks.lines().find_map(|line| line.strip_prefix(&begins));
                let speed = row.and_then(|row| row.split(' ').next()).expect(&begins);
                let measured: f64 = speed.parse().expect(speed);
                assert_eq!(measured.round(), f64::from(listed), "{model}, {precision}");
            }
        }
    }
}
