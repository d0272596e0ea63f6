//! The benchmark: `cargo xtask bench`.
//!
//! Two tables. Requests per second and latency at the daemon's HTTP port, as a client sees them;
//! and what a command costs the device: bytes on the wire and firmware instructions.

mod device;
mod load;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

const USAGE: &str = "usage: bench [--seconds N] [--only soft|qemu|device] [--record FILE] [--json]

  --seconds N   how long each operation runs, at 1 and at 32 connections (default 3)
  --only PART   requests on an in-process or a QEMU device, or what commands cost a device
  --record FILE append the device's instructions to a history, such as docs/instructions.jsonl
  --json        one JSON document instead of tables";

/// Connections of the two columns.
const CONNECTIONS: [usize; 2] = [1, 32];

struct Options {
    seconds: u64,
    parts: Vec<String>,
    record: Option<PathBuf>,
    json: bool,
}

/// The board whose commands are counted.
const BOARD: &str = "qemu_riscv32";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut report = serde_json::Map::new();
    for part in &options.parts {
        let measured = match part.as_str() {
            "device" => {
                eprintln!("counting instructions on an emulated device …");
                let costs = device::measure(BOARD);
                if let Some(history) = &options.record
                    && let Err(error) = costs.record(history)
                {
                    eprintln!("{}: {error}", history.display());
                    return ExitCode::FAILURE;
                }
                if !options.json {
                    device::print(&costs);
                }
                costs.to_json()
            }
            hsm => {
                eprintln!("measuring requests on {hsm} …");
                let rows = load::measure(hsm, &CONNECTIONS, Duration::from_secs(options.seconds));
                if !options.json {
                    load::print(hsm, &rows);
                }
                rows.iter().map(load::Row::to_json).collect()
            }
        };
        report.insert(part.clone(), measured);
    }
    if options.json {
        println!("{:#}", Value::Object(report));
    }
    ExitCode::SUCCESS
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { seconds: 3, parts: Vec::new(), record: None, json: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--seconds" => {
                let value = arguments.next().unwrap_or_default();
                let seconds = value.parse().ok().filter(|seconds| (1..=600).contains(seconds));
                options.seconds = seconds.ok_or("--seconds takes a number from 1 to 600")?;
            }
            "--only" => match arguments.next().as_deref() {
                Some(part @ ("soft" | "qemu" | "device")) => options.parts.push(part.to_owned()),
                _ => return Err("--only takes soft, qemu or device".to_owned()),
            },
            "--record" => {
                let file = arguments.next().ok_or("--record takes a file")?;
                options.record = Some(file.into());
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    if options.parts.is_empty() {
        options.parts = ["soft", "qemu", "device"].map(str::to_owned).into();
    }
    Ok(options)
}

/// A number as JSON, rounded to what the measurement is worth.
fn rounded(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}
