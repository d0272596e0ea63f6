//! `kmsctl audit query`.

use std::collections::VecDeque;

use super::table::Table;
use super::{Selection, Stop, say};
use crate::{Outcome, Output};
use kms_audit::{Item, read_log};

/// Most records of `--limit`: they are in memory until the last one is known.
const MAX_LIMIT: u64 = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Only the last NUMBER of them.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Stop> {
    let mut query = arguments.selection.query();
    let directories = arguments.selection.directories();
    let table = Table::of_terminal();
    let limit = arguments.limit.and_then(|limit| usize::try_from(limit).ok());
    let json = output.json;
    let mut kept = VecDeque::new();
    let (mut whole, mut heading, mut stop) = (true, !json, None);
    let mut write = |line: &str, out: &mut dyn std::io::Write| {
        if std::mem::take(&mut heading) {
            say(out, &table.heading())?;
        }
        say(out, line)
    };
    let day = query.first_day();
    read_log(&directories, day.as_deref(), &mut |item| {
        let record = match item {
            Item::Record(record) => record,
            Item::Gap(text) => {
                eprintln!("kmsctl: {text}");
                whole = false;
                return true;
            }
        };
        if !query.takes(&record) {
            return true;
        }
        let line = if json { record.to_string() } else { table.row(&record) };
        match limit {
            Some(limit) => {
                if kept.len() == limit {
                    kept.pop_front();
                }
                kept.push_back(line);
                true
            }
            None => match write(&line, output.out) {
                Ok(()) => true,
                Err(error) => {
                    stop = Some(error);
                    false
                }
            },
        }
    })?;
    if let Some(stop) = stop {
        return Err(stop);
    }
    kept.iter().try_for_each(|line| write(line, output.out))?;
    Ok(if whole { Outcome::Good } else { Outcome::Bad })
}
