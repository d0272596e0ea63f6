//! `kmsctl hsm`: devices, over their own lines.

use std::io::{self, Write};
use std::path::PathBuf;

use host_driver::device::{Device, Options};
use host_driver::endpoint::{Endpoint, Line};
use hsm_protocol::ModuleState;
use serde::Serialize;

use super::{Failure, Outcome, Output};
use crate::config::{Link, default_data};
use crate::daemon::DataDir;
use crate::devices::{Devices, DevicesConfig, Scope};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Ask devices who they are and how they do. Nothing in the answer is authenticated.
    Status {
        /// Lines to devices that are not in use: serial:PATH, tcp:HOST:PORT or unix:PATH.
        #[arg(required = true, value_name = "HSM")]
        lines: Vec<String>,
    },
    /// Set up devices for a data directory: first provisioner, host keys, domain. A device
    /// trusts whoever provisions it first; compare the printed id with what its owner sees.
    Provision {
        /// Lines to devices. The first fresh one makes a domain, the others join it; name a
        /// device that is in service along with one that is to join it.
        #[arg(required = true, value_name = "HSM")]
        lines: Vec<String>,
        /// Data directory of the daemon that will use them [default: as for kmsd].
        #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA")]
        data: Option<PathBuf>,
        /// Firmware image for qemu devices.
        #[arg(long, value_name = "FILE", env = "STRONGROOM_FIRMWARE")]
        firmware: Option<PathBuf>,
    },
}

pub(super) fn run(command: Command, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    match command {
        Command::Status { lines } => status(&lines, output),
        Command::Provision { lines, data, firmware } => provision(lines, data, firmware, output),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceStatus {
    line: String,
    device: String,
    board: String,
    firmware: String,
    key_specs: Vec<String>,
    state: ModuleState,
    error: Option<String>,
    boots: u64,
    audit_entries: u64,
    uptime_seconds: u64,
    sessions: u8,
    stack_peak_bytes: u32,
    storage_used_bytes: u32,
    storage_bytes: u32,
}

fn status(lines: &[String], output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let devices = lines.iter().map(|line| ask(line)).collect::<Result<Vec<_>, _>>()?;
    output.print(&devices, |out, devices| devices.iter().try_for_each(|d| print_status(out, d)))?;
    let good = devices.iter().all(|device| device.state == ModuleState::Operational);
    Ok(if good { Outcome::Good } else { Outcome::Bad })
}

fn ask(text: &str) -> Result<DeviceStatus, Failure> {
    let device = Device::open(&*line(text)?.connector(), None, Options::default())?;
    let (info, status) = (device.info(), device.status()?);
    Ok(DeviceStatus {
        line: text.to_owned(),
        device: device.id().to_string(),
        board: info.board.clone(),
        firmware: info.firmware.clone(),
        key_specs: info.specs.iter().map(|spec| format!("{spec:?}")).collect(),
        state: status.state,
        error: status.error.map(|error| error.to_string()),
        boots: status.epoch,
        audit_entries: status.audit_entries,
        uptime_seconds: status.uptime_us / 1_000_000,
        sessions: status.sessions,
        stack_peak_bytes: status.stack_peak,
        storage_used_bytes: status.storage_used,
        storage_bytes: status.storage_size,
    })
}

fn line(text: &str) -> Result<Line, Failure> {
    match text.parse()? {
        Endpoint::Line(line) => Ok(line),
        _ => Err(Failure(format!(
            "{text} devices run inside a daemon; `kmsctl status` shows those of a running one"
        ))),
    }
}

fn print_status(out: &mut dyn Write, device: &DeviceStatus) -> io::Result<()> {
    writeln!(out, "{}  {:?}", device.line, device.state)?;
    if let Some(error) = &device.error {
        writeln!(out, "  error     {error}")?;
    }
    writeln!(out, "  device    {}", device.device)?;
    writeln!(out, "  board     {}, firmware {}", device.board, device.firmware)?;
    writeln!(out, "  keys      {}", device.key_specs.join(", "))?;
    let (hours, rest) = (device.uptime_seconds / 3600, device.uptime_seconds % 3600);
    writeln!(out, "  up        {hours} h {} min, boot {}", rest / 60, device.boots)?;
    writeln!(out, "  audit     {} entries since boot", device.audit_entries)?;
    let (used, size) = (device.storage_used_bytes, device.storage_bytes);
    writeln!(out, "  storage   {used} of {size} bytes")?;
    writeln!(out, "  stack     {} bytes at most", device.stack_peak_bytes)
}

#[derive(Serialize)]
struct Provisioned {
    data: PathBuf,
    devices: Vec<String>,
}

fn provision(
    lines: Vec<String>,
    data: Option<PathBuf>,
    firmware: Option<PathBuf>,
    output: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let data = data.map_or_else(default_data, Ok)?;
    // A running daemon has the devices, and would miss what changes.
    let _lock = DataDir::open(&data)?;
    let config =
        DevicesConfig { data: data.clone(), hsms: lines.clone(), firmware, link: Link::default() };
    let mut devices = Devices::start(&config)?;
    // Steps go to standard error: they are progress, not the result.
    devices.prepare(Scope::All, &mut |line, step| eprintln!("{line}: {step}"))?;
    drop(devices);
    output.print(&Provisioned { data, devices: lines }, |out, done| {
        for line in &done.devices {
            writeln!(out, "{line} is in service for {}", done.data.display())?;
        }
        Ok(())
    })?;
    Ok(Outcome::Good)
}
