//! `kmsctl link`: how daemons of other Regions know this one.

use std::path::PathBuf;

use serde::Serialize;

use super::{Failure, Outcome, Output};
use kms_base::durable;
use kms_installation::data_dir::default_data;
use kms_installation::link_identity::Identity;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the certificate of a data directory, made now if it does not exist. Give the file to
    /// the other daemon: kmsd --peer REGION=HOST:PORT,FILE.
    Certificate {
        /// Data directory [default: as for kmsd].
        #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
        data: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct Certificate {
    path: PathBuf,
    pem: String,
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Command::Certificate { data } = command;
    let data = data.map_or_else(default_data, Ok)?;
    durable::create_private_dir(&data)?;
    let identity = Identity::of_data(&data)?;
    let path = identity.path().to_owned();
    let pem = std::fs::read_to_string(&path)?;
    output
        .print(&Certificate { path, pem }, |out, certificate| write!(out, "{}", certificate.pem))?;
    Ok(Outcome::Good)
}
