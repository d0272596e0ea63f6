//! `kmsctl audit export`.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::{Filter, Stop, directories, say, time};
use crate::audit::export;
use crate::ctl::{Outcome, Output};

#[derive(Debug, clap::Args)]
pub(in crate::ctl) struct Arguments {
    /// Audit directories of one log.
    #[arg(required = true)]
    dir: Vec<PathBuf>,
    /// Where to: AWSLogs is made in it. What was written before for the same part of the log is
    /// replaced.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only records from this time on.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<OffsetDateTime>,
    /// Only records before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<OffsetDateTime>,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Stop> {
    let query = arguments.filter.query(arguments.since, arguments.until);
    let mut stop = None;
    let (json, out) = (output.json, &mut *output.out);
    export(&directories(&arguments.dir), &arguments.to, query, &mut |file| {
        let line = match json {
            true => serde_json::to_string(&file).unwrap_or_default(),
            false => format!("{:>8} records  {}", file.records, file.file),
        };
        // The files are written even if nobody reads which.
        stop = stop.take().or(say(out, &line).err());
    })?;
    stop.map_or(Ok(Outcome::Good), Err)
}
