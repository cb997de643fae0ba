//! What each stage did with its time.

use reembed::events::Stage;
use reembed::figures::{percent, seconds};

use super::Document;
use crate::page::{Cell, Form, Stack, Stacks, Table};
use crate::report::record::{RunRecord, StageRecord};

/// How each stage shared its time.
pub fn chart(record: &RunRecord) -> Stacks {
    let mut said = Vec::new();
    let bars = record
        .stages
        .iter()
        .map(|stage| {
            let own = stage.busy + stage.waiting_for_input + stage.waiting_for_output;
            // What is left of the bar is the time after the stage was done.
            let all = record.flow_seconds.unwrap_or(0.0).max(own);
            let share = percent(stage.busy / all.max(f64::MIN_POSITIVE));
            let name = name_of(stage.stage);
            said.push(format!("{name} busy {share}"));
            let title = |what: &str, time: f64| format!("{name}: {} {what}", seconds(time));
            Stack::new(
                name,
                format!("{share} busy"),
                all,
                &[
                    ("blue", stage.busy, title("busy", stage.busy)),
                    (
                        "sand",
                        stage.waiting_for_input,
                        title("waiting for input", stage.waiting_for_input),
                    ),
                    (
                        "mist",
                        stage.waiting_for_output,
                        title("waiting for the next stage", stage.waiting_for_output),
                    ),
                ],
            )
        })
        .collect();
    let legend =
        [("blue", "busy"), ("sand", "waiting for input"), ("mist", "waiting for the next stage")];
    Stacks {
        label: format!("Share of the time: {}.", said.join(", ")),
        bars,
        legend: legend.map(|(class, name)| (class.to_owned(), name.to_owned())).to_vec(),
    }
}

/// The same in seconds.
pub fn table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |(number, stage): (usize, &StageRecord)| {
        let time = |state| json.cell(&format!("/stages/{number}/{state}"), Form::Seconds);
        vec![
            Cell::text(name_of(stage.stage)),
            time("busy"),
            time("waiting_for_input"),
            time("waiting_for_output"),
        ]
    };
    let rows = record.stages.iter().enumerate().map(row).collect();
    let heads = ["stage", "busy", "waiting for input", "waiting for the next stage"];
    Table::new("Time of each stage", &heads, rows).folded()
}

fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Reader => "reader",
        Stage::Tokenizer => "tokenizer",
        Stage::Inference => "model",
        Stage::Writer => "writer",
    }
}
