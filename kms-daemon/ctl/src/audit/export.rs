//! `kmsctl audit export`.

use std::path::PathBuf;

use super::{Selection, Stop, say};
use crate::{Outcome, Output};
use kms_audit::export;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Target directory: AWSLogs is made in it. Files written before for the same part of the log
    /// are replaced.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Stop> {
    let query = arguments.selection.query();
    let mut stop = None;
    let (json, out) = (output.json, &mut *output.out);
    export(&arguments.selection.directories(), &arguments.to, query, &mut |file| {
        let line = match json {
            true => serde_json::to_string(&file).unwrap_or_default(),
            false => format!("{:>8} records  {}", file.records, file.file),
        };
        // The files are written even if nobody reads which.
        stop = stop.take().or(say(out, &line).err());
    })?;
    stop.map_or(Ok(Outcome::Good), Err)
}
