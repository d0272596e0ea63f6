//! `kmsctl hsm forget`: frees the line of a lost device for another one.

use std::path::PathBuf;

use hsm_protocol::DeviceId;
use serde::Serialize;

use super::super::{Failure, Outcome, Output};
use kms_base::hex;
use kms_installation::data_dir::{DataDir, default_data};
use kms_installation::devices;

#[derive(Debug, clap::Args)]
pub(in super::super) struct Arguments {
    /// The line that led to it, as `kmsctl status` names it (soft-1, serial:/dev/ttyACM0), or its
    /// fingerprint.
    #[arg(value_name = "DEVICE")]
    device: String,
    /// Region that it served.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Data directory [default: as for kmsd].
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
struct Forgotten {
    device: String,
    lines: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let Arguments { device, region, data } = arguments;
    let data = data.clone().map_or_else(default_data, Ok)?;
    // A running daemon would go on with what it knows.
    let _lock = DataDir::open(&data)?;
    let known = devices::devices_of(&data, region)?;
    let wanted = known.iter().find(|(line, id)| line == device || id.eq_ignore_ascii_case(device));
    let Some((_, id)) = wanted else {
        let all: Vec<_> = known.iter().map(|(line, _)| line.as_str()).collect();
        return Err(Failure(format!(
            "no known line of {region} leads to {device}; the known ones are: {}",
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        )));
    };
    let lines = known.iter().filter(|(_, known)| known == id);
    let lines: Vec<String> = lines.map(|(line, _)| line.clone()).collect();
    let parsed = hex::decode(id).map(DeviceId);
    devices::forget(&data, parsed.ok_or_else(|| Failure(format!("{id} is not a device id")))?)?;
    output.print(&Forgotten { device: id.clone(), lines }, |out, done| {
        writeln!(out, "{}: device {} is forgotten", done.lines.join(", "), done.device)
    })?;
    Ok(Outcome::Good)
}
