//! `kmsctl audit`: the audit log, offline.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Failure, Outcome, Output};
use crate::audit::{Report, verify};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Recompute the chains of the log and of the devices, and name the first record that was
    /// changed, removed or reordered.
    Verify {
        /// The audit directory, for example `DIR/audit` of the daemon's data directory.
        dir: PathBuf,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Verify { dir } => {
            let report = verify(&dir)?;
            output.print(&report, print)?;
            Ok(if report.fault.is_none() { Outcome::Good } else { Outcome::Bad })
        }
    }
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if let Some(fault) = &report.fault {
        writeln!(out, "NOT INTACT: {}:{}", fault.file.display(), fault.line)?;
        if let Some(event) = &fault.event_id {
            writeln!(out, "  event   {event}")?;
        }
        writeln!(out, "  reason  {}", fault.reason)?;
        return writeln!(out, "{} records before it are intact.", report.records);
    }
    writeln!(out, "intact: {} records in {} files", report.records, report.files)?;
    writeln!(out, "  last    {} {:?}", report.tip.sequence, report.tip.hash)?;
    if report.removed > 0 {
        let last = report.removed;
        writeln!(out, "  removed records 1 to {last}, as the log was to be kept; it says so")?;
    }
    if report.vouched > 0 {
        writeln!(out, "  signed  by a device up to record {}", report.vouched)?;
    }
    for chain in &report.devices {
        write!(out, "  device  {} boot {}: {} entries", chain.device, chain.epoch, chain.entries)?;
        match chain.lost {
            0 => writeln!(out)?,
            lost => writeln!(out, ", {lost} lost with the device")?,
        }
    }
    report.notes.iter().try_for_each(|note| writeln!(out, "  note    {note}"))
}
