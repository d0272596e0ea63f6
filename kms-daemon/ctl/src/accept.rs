//! `kmsctl accept`: continues with parts that do not belong together.

use std::path::PathBuf;

use serde::Serialize;

use super::{Failure, Outcome, Output};
use kms_installation::consistency::Acceptance;
use kms_installation::data_dir::default_data;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The code that kmsd printed when it refused to start. It stands for exactly the problems at
    /// that time.
    #[arg(value_name = "CODE")]
    code: String,
    /// Data directory [default: as for kmsd].
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
struct Accepted {
    code: String,
    reason: String,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let data = arguments.data.clone().map_or_else(default_data, Ok)?;
    let code = arguments.code.to_ascii_lowercase();
    let reason = Acceptance::of_data(&data).give(&code)?;
    output.print(&Accepted { code, reason }, |out, done| {
        writeln!(out, "Accepted, and recorded in the audit log once kmsd has seen it:")?;
        writeln!(out, "{}", done.reason)?;
        writeln!(out, "If kmsd does not run, start it now.")
    })?;
    Ok(Outcome::Good)
}
