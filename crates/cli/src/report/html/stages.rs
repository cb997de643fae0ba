//! How each stage spent its time.

use reembed::events::Stage;
use reembed::figures::{percent, seconds};

use super::super::record::{RunRecord, StageRecord};
use crate::page::{Cell, Document, NumberFormat, Stack, Stacks, Table};

/// The class of the colour and the name of each state.
const STATES: [(&str, &str); 3] =
    [("blue", "busy"), ("sand", "waiting for input"), ("mist", "waiting for the next stage")];

/// The share of each state, stage by stage.
pub fn chart(record: &RunRecord) -> Stacks {
    let mut shares = Vec::new();
    let bars = record
        .stages
        .iter()
        .map(|stage| {
            let times = [stage.busy, stage.waiting_for_input, stage.waiting_for_output];
            // The rest of the bar is the time after the stage ended.
            let whole = record.flow_seconds.unwrap_or(0.0).max(times.iter().sum());
            let share = percent(stage.busy / whole.max(f64::MIN_POSITIVE));
            let name = stage_name(stage.stage);
            shares.push(format!("{name} busy {share}"));
            let part = |((class, state), time): ((&'static str, &str), f64)| {
                (class, time, format!("{name}: {} {state}", seconds(time)))
            };
            let parts: Vec<_> = STATES.into_iter().zip(times).map(part).collect();
            Stack::new(name, format!("{share} busy"), whole, &parts)
        })
        .collect();
    Stacks {
        label: format!("Share of the time: {}.", shares.join(", ")),
        bars,
        legend: STATES.map(|(class, name)| (class.to_owned(), name.to_owned())).to_vec(),
    }
}

/// The time of each state in seconds.
pub fn table(record: &RunRecord, json: &Document) -> Table {
    let row = |(number, stage): (usize, &StageRecord)| {
        let time = |state| json.cell(&format!("/stages/{number}/{state}"), NumberFormat::Seconds);
        vec![
            Cell::text(stage_name(stage.stage)),
            time("busy"),
            time("waiting_for_input"),
            time("waiting_for_output"),
        ]
    };
    let rows = record.stages.iter().enumerate().map(row).collect();
    let heads = ["stage", STATES[0].1, STATES[1].1, STATES[2].1];
    Table::new("Time of each stage", &heads, rows).folded()
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Reader => "reader",
        Stage::Tokenizer => "tokenizer",
        Stage::Inference => "inference",
        Stage::Writer => "writer",
    }
}
