//! `kmsctl status`: a running daemon and its devices.

use std::io::{self, Write};
use std::time::Duration;

use hyper::{Request, Uri};
use serde_json::Value;

use super::daemon::Daemon;
use super::{Failure, Outcome, Output};
use crate::devices::DeviceReport;

/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<Outcome, Failure> {
    let daemon = &arguments.daemon;
    let request = Request::get("/readyz").header("host", daemon.host()?);
    let answer = daemon.ask(request.body(Default::default())?, PATIENCE)?;
    let ready = answer.status.is_success();
    let report: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure("that is no kmsd: its /readyz is no JSON".into()))?;
    output.print(&report, |out, report| print(out, &daemon.url, ready, report))?;
    Ok(if ready { Outcome::Good } else { Outcome::Bad })
}

fn print(out: &mut dyn Write, url: &Uri, ready: bool, report: &Value) -> io::Result<()> {
    writeln!(out, "kmsd at {url}: {}", if ready { "ready" } else { "NOT READY" })?;
    for (name, value) in report.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => writeln!(out, "  {name:<18}{text}")?,
            Value::Number(_) | Value::Bool(_) => writeln!(out, "  {name:<18}{value}")?,
            _ => {}
        }
    }
    for problem in report.get("problems").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "  ! {}", problem.as_str().unwrap_or_default())?;
    }
    let devices = report.get("devices").cloned().unwrap_or_default();
    let devices: Vec<DeviceReport> = serde_json::from_value(devices).unwrap_or_default();
    if devices.is_empty() {
        return Ok(());
    }
    let row = |out: &mut dyn Write, cells: [&str; 7]| {
        let [region, name, state, board, busy, answered, failed] = cells;
        write!(out, "{region:<14} {name:<16} {state:<13} {board:<13}")?;
        writeln!(out, " {busy:>4} {answered:>9} {failed:>6}")
    };
    writeln!(out)?;
    row(out, ["REGION", "DEVICE", "STATE", "BOARD", "BUSY", "ANSWERED", "FAILED"])?;
    for device in &devices {
        let board = device.board.as_deref().unwrap_or("-");
        let (busy, answered, failed) =
            (device.in_flight.to_string(), device.answered.to_string(), device.failed.to_string());
        let cells = [&device.region, &device.name, &device.state, board, &busy, &answered, &failed];
        row(out, cells)?;
    }
    Ok(())
}
